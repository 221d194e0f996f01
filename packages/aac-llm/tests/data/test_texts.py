"""Captions without their sounds: every form of file, the test split left alone, bad rows named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aac_llm.data.manifest import ManifestError
from aac_llm.data.texts import read_scored, read_texts


def test_captions_of_a_clip_come_together_from_every_form_of_file(tmp_path: Path) -> None:
    manifest, table, coco, plain = (tmp_path / name for name in ("m.jsonl", "t.csv", "c.json", "p.txt"))
    rows = [
        {"id": "a", "audio": "a.wav", "captions": ["a dog", "one dog"], "split": "train"},
        {"id": "b", "audio": "b.wav", "captions": "rain", "split": "test"},
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table.write_text("file_name,caption_1,caption_2\nc.wav,a cat,the cat\n")
    coco.write_text(json.dumps({"annotations": [{"image_id": 1, "caption": "wind"}]}))
    plain.write_text("a bell\n\na car\n")
    problems: list[str] = []
    found = read_texts([manifest, table, coco, plain], problems)
    assert found == [("a dog", "one dog"), ("a cat", "the cat"), ("wind",), ("a bell",), ("a car",)]
    assert problems == []
    assert read_texts([manifest], problems, split="test") == [("rain",)]


def test_a_file_of_test_clips_alone_is_refused_and_a_bad_row_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "a", "audio": "a.wav", "captions": ["a dog"], "split": "test"}\n[]\n')
    problems: list[str] = []
    with pytest.raises(ManifestError, match="no captions, apart from any of the split test"):
        read_texts([path], problems)
    assert [problem.split(": ")[0] for problem in problems] == [f"{path}:2"]


def test_scored_captions_are_read_and_others_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    rows = [
        *('{"caption": "a dog", "error_probability": 0.25}', '{"caption": "a dog"}', "{", "[1]"),
        *('{"caption": "a cat", "error_probability": 2}', '{"caption": 5, "error_probability": true}'),
    ]
    path.write_text("\n".join(rows) + "\n")
    problems: list[str] = []
    assert read_scored(path, problems) == [("a dog", 0.25)]
    assert [int(problem.removeprefix(f"{path}:").split(":")[0]) for problem in problems] == [2, 3, 4, 5, 6]
    path.write_text("{}\n")
    with pytest.raises(ManifestError, match="expected a caption"):
        read_scored(path, [])
