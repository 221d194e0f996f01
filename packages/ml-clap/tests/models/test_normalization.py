import doctest
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.models import normalization as text_module
from ml_clap.models.normalization import normalize_text

CASES = json.loads((Path(__file__).parent.parent / "golden/text_preprocess.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[f"{case['lang']}-{i}" for i, case in enumerate(CASES)])
def test_reference_rule_gives_the_authors_strings(case: dict[str, str]) -> None:
    assert normalize_text(case["input"], "reference") == case["output"]


def test_docstring_examples_hold() -> None:
    result = doctest.testmod(text_module)
    assert result.attempted >= 5
    assert result.failed == 0


@pytest.mark.parametrize("text", [case["input"] for case in CASES])
def test_standard_rule_removes_punctuation_of_every_script(text: str) -> None:
    normalized = normalize_text(text)
    words = normalized.replace("'", "").replace("l·l", "")
    assert not [char for char in words if unicodedata.category(char)[0] in "PS"]
    assert normalized == " ".join(normalized.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's a man's voice", "it's a man's voice"),
        ("L’EAU", "l'eau"),
        ("l´eau", "l'eau"),
        ("Een hond blaft, 's avonds laat.", "een hond blaft s avonds laat"),
        ("'quoted'", "quoted"),
        ("the dogs' barks", "the dogs barks"),
        ("2:1, 3.5 kHz", "2 1 3 5 khz"),
        ("犬が吠えて、車が通る。", "犬が吠えて 車が通る"),
        ("スペース・カタカナ", "スペース カタカナ"),
        ("एक मेंढक|", "एक मेंढक"),
        ("कुत्ता भौंकता है।", "कुत्ता भौंकता है"),
        ("می‌رود، سگ!", "می‌رود سگ"),
        ("bell 🔔️ rings", "bell rings"),
        ("snake_case", "snake case"),
        ("\ttab\nnewline\x00nul", "tab newline nul"),
        ("... !!! ???", ""),
        ("", ""),
    ],
)
def test_standard_rule_on_known_texts(text: str, expected: str) -> None:
    assert normalize_text(text) == expected


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_standard_rule_is_idempotent(text: str) -> None:
    once = normalize_text(text)
    assert normalize_text(once) == once


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="aé犬'·-.,!?；。「」 l", max_size=30))
def test_full_width_and_half_width_marks_give_the_same_text(text: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if c in "'-.,!?" else c for c in text)
    assert normalize_text(wide) == normalize_text(text)


def test_none_keeps_the_text_as_it_is() -> None:
    assert normalize_text("  As it IS. ", "none") == "  As it IS. "


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="standard, reference or none, got 'strict'"):
        normalize_text("x", "strict")  # type: ignore[arg-type]
