import json

import pytest
from aac_llm.data.predictions import (
    Candidate,
    CaptionPart,
    Prediction,
    PredictionError,
    append_predictions,
    read_own_predictions,
    read_predictions,
    write_predictions,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# Surrogates of this range are what Python makes of file names that are no UTF-8.
texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
names = names.filter(bool)
seconds = st.floats(0, 1e6)
windows = st.builds(
    CaptionPart, seconds, seconds, texts, st.none() | st.floats(-50, 0), st.none() | st.floats(0, 1)
)
predictions = st.builds(
    Prediction,
    id=names,
    audio=st.none() | names,
    caption=texts,
    candidates=st.lists(st.builds(Candidate, texts, st.floats(-50, 0)), max_size=3).map(tuple),
    score=st.none() | st.floats(-50, 0),
    confidence=st.none() | st.floats(0, 1),
    parts=st.lists(windows, max_size=2).map(tuple),
    references=st.lists(texts, max_size=2).map(tuple),
    original=st.none() | texts,
    correction=st.none() | st.fixed_dictionaries({"accepted": st.booleans(), "reason": texts}),
)


@settings(max_examples=40, deadline=None)
@given(
    items=st.lists(predictions, max_size=5, unique_by=lambda prediction: prediction.id), parts=st.booleans()
)
def test_what_is_written_is_read_back(items, parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions") / "captions.jsonl"
    if parts:
        items = [
            Prediction(prediction.id, prediction.audio, prediction.caption, start=float(n), end=n + 1.5)
            for prediction in items
            for n in (0, 2)
        ]
    write_predictions(path, items)
    assert read_predictions(path) == items


def test_appending_goes_on_where_the_file_ends(tmp_path):
    path = tmp_path / "captions.jsonl"
    append_predictions(path, [Prediction("a", None, "rain")])
    append_predictions(path, [Prediction("b", "b.wav", "wind")])
    assert [prediction.id for prediction in read_predictions(path)] == ["a", "b"]


def test_a_line_cut_by_a_kill_is_left_out_of_our_own_files_alone(tmp_path):
    path = tmp_path / "captions.jsonl"
    write_predictions(path, [Prediction("a", None, "rain"), Prediction("b", None, "wind")])
    path.write_bytes(path.read_bytes()[:-9])
    assert [prediction.id for prediction in read_own_predictions(path)] == ["a"]
    with pytest.raises(PredictionError, match=r"captions\.jsonl:2: not JSON: .* at column"):
        read_predictions(path)


def test_a_file_without_a_last_line_end_is_read_whole(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text('{"id": "a", "caption": "rain"}\n\n{"id": "b", "caption": "wind", "note": 1}')
    assert [prediction.caption for prediction in read_predictions(path)] == ["rain", "wind"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"caption": "rain"}, "expected a text under 'id'"),
        ({"id": "a"}, "expected a text under 'caption'"),
        ({"id": "a", "caption": "rain", "start": "1"}, "expected seconds under 'start'"),
        ({"id": "a", "caption": "rain", "candidates": [{"caption": "rain"}]}, "under 'candidates'"),
        ({"id": "a", "caption": "rain", "score": True}, "expected a number under 'score'"),
        ({"id": "a", "caption": "rain", "confidence": 2}, "a number from 0 to 1 under 'confidence'"),
        ({"id": "a", "caption": "rain", "parts": [{"start": 0.0, "caption": "b"}]}, "under 'parts'"),
        ({"id": "a", "caption": "rain", "references": "rain"}, "expected a list under 'references'"),
        ({"id": "a", "caption": "rain", "correction": "yes"}, "expected an object under 'correction'"),
        (["a", "rain"], "expected a JSON object, got list"),
    ],
)
def test_a_wrong_line_is_named_with_its_file(row, message, tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text(f'{{"id": "first", "caption": "ok"}}\n{json.dumps(row)}\n')
    with pytest.raises(PredictionError, match=f"captions.jsonl:2: .*{message}"):
        read_predictions(path)


def test_two_captions_of_one_sound_are_an_error_but_two_parts_are_not(tmp_path):
    path = tmp_path / "captions.jsonl"
    write_predictions(
        path, [Prediction("a", None, "rain", start=0, end=5), Prediction("a", None, "rain", start=5, end=9)]
    )
    assert len(read_predictions(path)) == 2
    append_predictions(path, [Prediction("a", None, "hail", start=5, end=9)])
    with pytest.raises(PredictionError, match=r":3: a second caption of 'a', the first is in line 2"):
        read_predictions(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '"a\\ud83d"', '"a\\udcff"', "1e999", '{"a": 1, "a": 2}'])
def test_a_hostile_line_costs_itself_only(tmp_path, text):
    path, problems = tmp_path / "p.jsonl", []
    path.write_text(f'{{"id": "a", "caption": {text}}}\n{{"id": "bytes\\udcff", "caption": "x"}}\n')
    assert [one.id for one in read_predictions(path, problems=problems)] == ["bytes\udcff"]
    assert problems[0].startswith(f"{path}:1: ")
