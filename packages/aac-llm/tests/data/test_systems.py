"""Captions and references of other systems: what is read, how clips are named, and what is reported."""

import json
from pathlib import Path

import pytest
from aac_llm.data.predictions import Prediction, PredictionError
from aac_llm.data.systems import read_references, read_system


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_table_of_dcase_is_read_and_its_bad_rows_are_named(tmp_path: Path) -> None:
    rows = ["file_name,caption_predicted", "a b.wav,a dog barks", "c.wav,rain, wind", "d.wav,", "a b.wav,x"]
    path, problems = write(tmp_path / "p.csv", "\n".join(rows)), []
    found = read_system(path, problems)
    assert found == [Prediction("a b.wav", None, "a dog barks"), Prediction("d.wav", None, "")]
    assert sorted(problem.split(": ")[0] for problem in problems) == [f"{path}:3", f"{path}:5"]


def test_a_table_may_hold_its_references(tmp_path: Path) -> None:
    content = "file_name,caption_predicted,caption_reference_01,caption_reference_02\na.wav,x,one,two\n"
    (found,) = read_system(write(tmp_path / "p.csv", content), [])
    assert found.references == ("one", "two")


def test_results_of_coco_are_read_and_bad_entries_are_named(tmp_path: Path) -> None:
    rows = [{"image_id": 7, "caption": "a dog"}, {"image_id": 8}, {"image_id": 7, "caption": "a cat"}, 3]
    path, problems = write(tmp_path / "p.json", rows), []
    assert read_system(path, problems) == [Prediction("7", None, "a dog")]
    assert [problem.split(": ")[1] for problem in problems] == ["entry 2", "entry 3", "entry 4"]


def test_references_of_coco_are_joined_by_image(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 7, "file_name": "a.wav"}, {"id": 9}],
        "annotations": [
            {"image_id": 7, "id": 1, "caption": "a dog"},
            {"image_id": 7, "id": 2, "caption": "a hound"},
            {"image_id": 9, "caption": 3},
        ],
    }
    problems: list[str] = []
    found = read_references(write(tmp_path / "r.json", content), problems)
    assert found.texts == {"7": ("a dog", "a hound"), "9": ()}
    assert len(problems) == 1
    assert "annotation 3" in problems[0]


def test_captions_by_file_name_find_their_clips(tmp_path: Path) -> None:
    rows = [{"id": f"clip-{name}", "audio": f"{name}.wav", "captions": [name]} for name in "ab"]
    rows += [{"id": f"{place}-c", "audio": f"{place}/c.wav", "captions": ["c"]} for place in "xy"]
    path = write(tmp_path / "m.jsonl", "\n".join(map(json.dumps, rows)))
    references = read_references(path, [])
    given = [Prediction(name, None, "x") for name in ("a.wav", "b", "clip-b", "c.wav")]
    problems: list[str] = []
    named = references.name_alike(given, problems)
    # Two files are named c.wav, and a guess could be wrong.
    assert [one.id for one in named] == ["clip-a", "clip-b", "c.wav"]
    assert named[0].audio == str(tmp_path / "a.wav")
    assert problems == ["'clip-b': a second caption of the clip 'clip-b'; leave one of them"]


def test_a_path_to_a_file_is_the_clip_of_that_file(tmp_path: Path) -> None:
    table = "file_name,caption_1\na b.wav,a dog\nx/c.wav,rain\n"
    references = read_references(write(tmp_path / "r.csv", table), [])
    given = [Prediction(name, None, name) for name in ("evaluation/a b.wav", "data\\c.wav", "y/c.wav")]
    problems: list[str] = []
    assert [one.id for one in references.name_alike(given, problems)] == ["a b", "c"]
    assert problems == ["'y/c.wav': a second caption of the clip 'c'; leave one of them"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "file_name,text\na.wav,x\n", "expected the columns file_name and caption_predicted"),
        ("p.json", {"a": 1}, "expected a list of"),
        ("p.json", "[1,", r"p\.json: not JSON: .* at column"),
        ("p.json", [3], "entry 1: expected an image_id"),
        ("p.jsonl", '{"id": "a"}\n', "expected a text under 'caption'"),
        ("p.jsonl", "", "has no captions"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_an_error(
    tmp_path: Path, name: str, content: object, message: str
) -> None:
    with pytest.raises(PredictionError, match=message):
        read_system(write(tmp_path / name, content), [])


def test_a_row_without_a_name_or_with_an_impossible_number_costs_itself_only(tmp_path: Path) -> None:
    problems: list[str] = []
    table = write(tmp_path / "r.csv", "file_name,caption_1\n,lost\na.wav,A dog\n")
    assert list(read_references(table, problems).texts) == ["a"]
    big, huge = "9" * 400, "9" * 5000
    lines = [f'{{"id": "b", "caption": "x", "start": {number}}}' for number in (big, huge)]
    lines.append(f'{{"id": "c", "caption": "x", "candidates": [{{"caption": "x", "score": {big}}}]}}')
    found = read_system(
        write(tmp_path / "p.jsonl", "\n".join([*lines, '{"id": "a", "caption": "x"}'])), problems
    )
    assert [one.id for one in found] == ["a"]
    assert [problem.split(": ")[0].rpartition(":")[2] for problem in problems] == ["2", "1", "2", "3"]
    for content in ("[" * 100_000, f'[{{"image_id": {huge}}}]'):
        with pytest.raises(PredictionError, match=r"p\.json: not JSON"):
            read_system(write(tmp_path / "p.json", content), [])


def test_hostile_json_is_an_error_with_its_place(tmp_path: Path) -> None:
    for content in ("[" * 100_000, '[{"image_id": 1e999, "caption": "x"}]', '[{"a": 1, "a": 2}]'):
        path = write(tmp_path / "p.json", content)
        with pytest.raises(PredictionError, match=f"{path}: "):
            read_system(path, [])


def test_an_entry_with_half_a_text_costs_itself_only(tmp_path: Path) -> None:
    rows = r'[{"image_id": 1, "caption": "a\udcff"}, {"image_id": 2, "caption": "x"}]'
    path, problems = write(tmp_path / "p.json", rows), []
    assert [one.id for one in read_system(path, problems)] == ["2"]
    assert len(problems) == 1
