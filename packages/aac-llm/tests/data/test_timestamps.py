"""Events with times: as text, in manifests and in predictions."""

from pathlib import Path

import pytest
from aac_llm.data.manifest import Clip, ManifestError, read_manifest, write_manifest
from aac_llm.data.predictions import Prediction, PredictionError, read_predictions, write_predictions
from aac_llm.data.timestamps import TimedEvent, count_marks, parse_timed, write_timed

EVENTS = (TimedEvent("a dog barks", 0.0, 1.5), TimedEvent("rain falls", 1.2, 4.0))


def test_text_of_events_is_read_back() -> None:
    assert tuple(parse_timed(write_timed(EVENTS))) == EVENTS


@pytest.mark.parametrize("joint", ["while ", "and ", "and then ", "then ", ", ", "as "])
def test_words_between_events_belong_to_none(joint: str) -> None:
    assert parse_timed(f"[0.0-1.5] a dog barks, [1.2-4.0] {joint}rain falls.") == list(EVENTS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a dog barks", []),
        ("[2.0-1.0] a dog barks, [1.2-4.0] rain falls", [EVENTS[1]]),
        ("[0.0-1.5], [1.2-4.0] rain falls", [EVENTS[1]]),
        ("[0.0-1.5] a dog barks, [1.2-", [EVENTS[0]]),
        ("[x-1.5] a dog barks [1.2-4.0] rain falls", [EVENTS[1]]),
    ],
)
def test_events_that_make_no_sense_are_left_out(text: str, found: list[TimedEvent]) -> None:
    assert parse_timed(text) == found
    assert count_marks(text) >= len(found)


def test_events_end_with_the_sound() -> None:
    assert parse_timed("[0.0-1.5] a dog barks, [3.0-4.0] rain falls", 1.0) == [
        TimedEvent("a dog barks", 0.0, 1.0)
    ]


def test_an_event_of_no_length_gets_the_shortest_that_the_text_can_say() -> None:
    assert write_timed([TimedEvent("a knock", 0.98, 1.01)]) == "[1.0-1.1] a knock"


def test_manifest_and_predictions_keep_timestamps(tmp_path: Path) -> None:
    clip = Clip(id="a", audio=tmp_path / "a.wav", captions=("a dog barks",), timestamps=EVENTS)
    write_manifest(tmp_path / "m.jsonl", [clip])
    assert read_manifest(tmp_path / "m.jsonl")[0].timestamps == EVENTS
    prediction = Prediction("a", None, "a dog barks", timestamps=EVENTS, confidence=0.5)
    write_predictions(tmp_path / "p.jsonl", [prediction])
    assert read_predictions(tmp_path / "p.jsonl") == [prediction]


@pytest.mark.parametrize(
    "events",
    [
        '"x"',
        '["dog"]',
        '[{"text": "dog", "onset": 2, "offset": 1}]',
        '[{"text": "", "onset": 0, "offset": 1}]',
    ],
)
def test_bad_timestamps_name_the_line(tmp_path: Path, events: str) -> None:
    (tmp_path / "m.jsonl").write_text(
        f'{{"id": "a", "audio": "a.wav", "captions": ["x y"], "timestamps": {events}}}\n'
    )
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: .*timestamps|m\.jsonl:1: .*event"):
        read_manifest(tmp_path / "m.jsonl")
    (tmp_path / "p.jsonl").write_text(f'{{"id": "a", "caption": "x", "timestamps": {events}}}\n')
    with pytest.raises(PredictionError, match=r"p\.jsonl:1: "):
        read_predictions(tmp_path / "p.jsonl")


@pytest.mark.parametrize("value", ["1.5", "-0.1", "true", '"high"'])
def test_confidence_is_a_share(tmp_path: Path, value: str) -> None:
    (tmp_path / "p.jsonl").write_text(f'{{"id": "a", "caption": "x", "confidence": {value}}}\n')
    with pytest.raises(PredictionError, match="confidence"):
        read_predictions(tmp_path / "p.jsonl")
