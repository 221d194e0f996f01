"""What is said of the licences of weights and data."""

import logging
from pathlib import Path

import pytest
from r1_aqa.data.licences import say_licences_of_clips
from r1_aqa.models.licence import (
    CARD_FILE,
    SONAR,
    UNKNOWN,
    licence_of_card,
    licence_of_name,
    licence_of_parts,
    licence_of_weights,
)


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("license: mit", "mit (its card)"),
        ("license: other\nlicense_name: gemma", "gemma (its card)"),
        ("license:\n- mit\n- cc-by-4.0", "mit, cc-by-4.0 (its card)"),
        ("language: en", UNKNOWN),
        ("license: 3", UNKNOWN),
        (": [", UNKNOWN),
        ("- a", UNKNOWN),
    ],
)
def test_a_card_states_the_licence(tmp_path: Path, head: str, licence: str) -> None:
    assert licence_of_card(tmp_path) == UNKNOWN
    (tmp_path / CARD_FILE).write_text(f"---\n{head}\n---\n# x\n")
    assert licence_of_card(tmp_path) == licence
    (tmp_path / CARD_FILE).write_text("# no head")
    assert licence_of_card(tmp_path) == UNKNOWN


def test_the_card_beside_the_weights_is_believed_before_their_name(tmp_path: Path) -> None:
    assert licence_of_weights("openai/whisper-tiny", tmp_path) == "Apache-2.0 (Whisper)"
    (tmp_path / CARD_FILE).write_text("---\nlicense: mit\n---\n")
    assert licence_of_weights("openai/whisper-tiny", tmp_path) == "mit (its card)"
    assert licence_of_weights(None) == licence_of_name("owner/model") == UNKNOWN


def test_a_part_may_be_known_better_than_by_its_name() -> None:
    parts = {"audio": "mispeech/ced-base", "text": None}
    assert licence_of_parts(parts) == (
        "audio Apache-2.0 (CED); text unknown (begun from random or unnamed weights)"
    )
    assert licence_of_parts(parts, {"text": SONAR}).endswith(f"; text {SONAR}")


def test_licences_of_clips_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "r1_aqa")
    for _ in range(2):
        say_licences_of_clips(tmp_path, ["CC0-1.0", None, "CC0-1.0"])
    say_licences_of_clips(tmp_path, [])
    say_licences_of_clips(tmp_path / "none", [None, None])
    assert caplog.messages == [f"{tmp_path}: licences of the clips: CC0-1.0 (2), unknown (1)"]
