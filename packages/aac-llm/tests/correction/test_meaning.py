"""The guard of meaning: grammar may be mended, what is said may not change; 500 pairs of both, by rules."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aac_llm.config.correct import CorrectionConfig
from aac_llm.correction.corrector import Corrector
from aac_llm.correction.gate import Gate, rule_gate
from aac_llm.correction.llm import EXAMPLES, LLMError
from aac_llm.correction.meaning import changed_meaning
from aac_llm.metrics.clauses import read_clauses, without_dangling_end, without_repeats
from hypothesis import given, settings
from hypothesis import strategies as st

# Also read by benchmarks/correction.py; tests are no package.
spec = importlib.util.spec_from_file_location("adversarial", Path(__file__).with_name("adversarial.py"))
assert spec is not None
assert spec.loader is not None
adversarial = sys.modules["adversarial"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(adversarial)
CHANGED, PER_KIND, RIGHT = adversarial.CHANGED, adversarial.PER_KIND, adversarial.RIGHT
PAIRS = adversarial.adversarial_pairs()
WORDS = (
    *("a", "the", "dog", "men", "two", "yard", "barks", "do", "talk", "not", "loudly", "in"),
    *("and", "then", "while", ","),
)

REPAIRS = [
    ("a dog barks and a dog barks loudly", "a dog barks loudly"),
    ("birds chirp in the background birds chirp in the background", "birds chirp in the background"),
    (
        "rain falls and a dog barks and a man speaks and a dog barks",
        "rain falls and a dog barks and a man speaks",
    ),
    ("a man speaks a woman speaks", "a man speaks and a woman speaks"),
    ("a dog is and a man speaks", "a dog is barking and a man speaks"),
    ("a car drives by and a loud", "a car drives by"),
    ("a man speaks in the", "a man speaks"),
    ("people is talking", "people are talking"),
    ("two dog barks", "two dogs bark"),
    ("a goat bleat then drill are whirring", "a goat bleats, then a drill is whirring"),
    ("zebras brays", "zebras bray"),
    (
        "a dog barks loudly and then a man talks as a dog barks loudly",
        "a dog barks loudly and then a man talks",
    ),
    ("The sound of of water flowing.", "The sound of water flowing."),
    ("a dog doesn't doesn't bark", "a dog does not bark"),
]
LIES = [
    ("two dogs dogs bark", "a dog barks", "changes the number (two to nothing)"),
    ("a bird bird chirps", "birds chirp", "changes the number (bird)"),
    ("a dog dog barks", "a dog does not bark", "changes negation (nothing to not)"),
    ("a washing washing machine runs", "washing machines run", "changes the number (machin)"),
    ("a dog dog barks loudly", "a dog barks quietly", "changes loudness (loud to quiet)"),
    ("birds birds chirp indoors", "birds chirp outdoors", "changes the place (indoor to outdoor)"),
    ("a dog dog barks near a house", "a dog barks in a house", "changes the place (near to in)"),
    (
        "rain rain falls on a metal roof",
        "rain falls on a wooden roof",
        "changes the surface (metal to wooden)",
    ),
    ("a man man hits a drum slowly", "a man hits a drum quickly", "changes the manner (slow to quick)"),
    ("a dog dog bites a man", "a dog bit by a man", "changes "),
    ("a ball is is kicked", "a ball is kicking", "changes who does it (kick)"),
    ("a man is is being filmed", "a man is filming", "changes who does it (film)"),
    ("a man man speaks and a man laughs", "a man speaks and laughs", "changes the order of events or what"),
    ("a man man hits a dog", "a dog hits a man", "changes the order of events or what is said of which"),
    ("a radio radio is turned on", "a radio is turned off", "changes what is said (on to off)"),
    ("a dog dog barks before a man speaks", "a dog barks after a man speaks", "changes the order"),
    ("a dog dog barks and a man speaks", "a dog barks, then a man speaks", "changes the order"),
    ("a dog barks then a man speaks then a dog barks", "a dog barks then a man speaks", "changes the order"),
    ("a small dog dog chases a big cat", "a big dog chases a small cat", "changes the order"),
    ("a loud dog dog barks slowly", "a slow dog barks loudly", "changes the order"),
    ("two dogs dogs chase three cats", "three dogs chase two cats", "changes the order"),
    (
        "a man speaks loudly and a woman woman speaks loudly",
        "a man speaks loudly and a woman speaks",
        "changes",
    ),
    ("a man man speaks and another man speaks", "a man speaks", "changes the number (another to nothing)"),
    (
        "someone whispered a cock crows and someone writes writes",
        "someone whispered a cock crows and writes",
        "",
    ),
    ("a dog dog barks", "then a dog barks", "begins amid a sentence"),
    ("a dog dog barks", "a dog barks while", "ends nowhere"),
    ("a dog dog barks", "a dog barks and growls", "changes what is said (nothing to growl)"),
]


@pytest.mark.parametrize(("before", "after"), [*REPAIRS, *EXAMPLES])
def test_a_repair_of_grammar_keeps_the_meaning(before: str, after: str) -> None:
    assert changed_meaning(before, after) is None


@pytest.mark.parametrize(("before", "after", "reason"), LIES)
def test_a_changed_meaning_is_named(before: str, after: str, reason: str) -> None:
    found = changed_meaning(before, after)
    assert found is not None
    assert found.startswith(reason)


def test_lies_that_somebody_thought_of_are_refused() -> None:
    lines = Path(__file__).with_name("lies.tsv").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [line.split("\t") for line in lines]
    assert len(pairs) > 70
    assert [pair for pair in pairs if changed_meaning(*pair) is None] == []


def test_the_pairs_are_500_of_20_kinds_each_drawn_once() -> None:
    assert len(PAIRS) == len({(pair.before, pair.after) for pair in PAIRS}) == 500
    assert Counter(pair.kind for pair in PAIRS) == dict.fromkeys((*RIGHT, *CHANGED), PER_KIND)
    assert adversarial.adversarial_pairs(0) == PAIRS


def accepted(pairs: Sequence[Any], gate: Gate | None) -> list[bool]:
    """Return for each pair whether correction takes the proposal when a model makes it."""
    answers = {pair.before: pair.after for pair in pairs}
    assert len(answers) == len(pairs)

    def llm(captions: Sequence[str]) -> list[str | LLMError]:
        return [answers[caption] for caption in captions]

    results = Corrector(CorrectionConfig(llm="pairs"), llm=llm, gate=gate).correct(list(answers))
    return [result.accepted for result in results]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_changed_meaning_is_accepted_whatever_the_gate_says(seed: int) -> None:
    pairs = {pair.before: pair for pair in adversarial.adversarial_pairs(seed) if not pair.is_right}
    # The gate that a lie meets at worst: every caption is broken, and every proposal a full success.
    befores = set(pairs)
    gate = Gate("blind", 0.5, lambda captions: np.array([float(text in befores) for text in captions]))
    taken = [pair for pair, yes in zip(pairs.values(), accepted([*pairs.values()], gate), strict=True) if yes]
    assert taken == []


def test_with_the_rules_eight_of_ten_right_repairs_are_accepted_and_no_lie() -> None:
    pairs = [*{pair.before: pair for pair in PAIRS}.values()]
    found = accepted(pairs, rule_gate())
    counts = Counter(pair.kind for pair, yes in zip(pairs, found, strict=True) if yes)
    assert not set(counts) & set(CHANGED)
    right = sum(pair.is_right for pair in pairs)
    assert sum(counts.values()) >= 0.8 * right
    # FENSE's six kinds of error, each by itself.
    assert all(counts[kind] >= 0.4 * PER_KIND for kind in list(RIGHT)[:6])


def test_the_guard_itself_refuses_few_right_repairs() -> None:
    refused = [pair for pair in PAIRS if pair.is_right and changed_meaning(pair.before, pair.after)]
    assert len(refused) <= 0.05 * PER_KIND * len(RIGHT)


def test_a_caption_is_read_in_clauses() -> None:
    clauses = read_clauses("While two men are talking loudly, a dog barks and then")
    assert [(clause.relation, [str(item) for item in clause.items]) for clause in clauses] == [
        ("while", ["two", "man", "talk", "loud"]),
        ("", ["dog", "bark"]),
    ]
    assert [item.number for item in clauses[0].items] == [None, "plural", None, None]


def test_ends_that_belong_to_a_verb_stay() -> None:
    assert without_dangling_end(["a", "car", "drives", "by"]) == ["a", "car", "drives", "by"]
    assert without_dangling_end(["a", "car", "drives", "by", "a"]) == ["a", "car", "drives"]
    assert read_clauses("a bird sings once in a while") == read_clauses("a bird sings occasionally")


@given(st.lists(st.sampled_from(WORDS)))
@settings(max_examples=60, deadline=None)
def test_a_caption_says_what_it_says_and_repeats_say_nothing(words: list[str]) -> None:
    caption = " ".join(words)
    doubled = " ".join(word for word in words for _ in (0, 1))
    assert without_repeats(without_repeats(words)) == without_repeats(words)
    found = changed_meaning(doubled, " ".join(without_repeats(words)))
    if read_clauses(caption) and not (
        words[-1] in ("and", "then", "while", "a", "the", ",") or words[0] == ","
    ):
        assert found is None


def test_long_captions_take_little_time() -> None:
    text = "a dog barks and a man speaks " * 30
    began = time.process_time()
    changed_meaning(text, text + "loudly")
    changed_meaning("loudly " + "dog barks, " * 90, "a dog barks")
    assert time.process_time() - began < 5
