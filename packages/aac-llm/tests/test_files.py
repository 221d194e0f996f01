"""Files are written whole or not at all."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from aac_llm.files import to_json, to_plain, write_atomically, write_json
from aac_llm.models.entries import replace_entries


@dataclass(frozen=True)
class Example:
    path: Path
    scores: tuple[float, ...]


def test_numbers_that_json_lacks_become_null():
    assert to_plain({"a": math.nan, "b": (1.5, math.inf)}) == {"a": None, "b": [1.5, None]}


def test_dataclasses_become_objects(tmp_path):
    write_json(tmp_path / "new" / "x.json", Example(Path("a.wav"), (1.0, 2.0)))
    assert json.loads((tmp_path / "new" / "x.json").read_text()) == {"path": "a.wav", "scores": [1.0, 2.0]}


def test_a_dash_is_the_standard_output(capsys):
    write_json("-", {"score": 0.5})
    assert json.loads(capsys.readouterr().out) == {"score": 0.5}


def test_names_that_are_not_unicode_survive():
    assert json.loads(to_json({"id": "c\udce9.wav"})) == {"id": "c\udce9.wav"}
    assert to_json({"id": "cé.wav"}) == '{"id": "cé.wav"}'.encode()


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "x.json"
    write_atomically(target, b"old")

    def full(*_):
        raise OSError("full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="full"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_entries_are_replaced_together_and_others_stay(tmp_path):
    (tmp_path / "config.json").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")

    def stop_halfway():
        with replace_entries(tmp_path, last="config.json") as new:
            (new / "config.json").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert (tmp_path / "config.json").read_text() == "old"
    with replace_entries(tmp_path, last="config.json") as new:
        (new / "config.json").write_text("new")
        (new / "decoder").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "decoder", "notes.txt"]
    assert (tmp_path / "config.json").read_text() == "new"
