"""Files are written whole or not at all, and settings are compared by their dotted names."""

import json
from pathlib import Path

import pytest
from r1_aqa.config.changes import changes, flatten
from r1_aqa.files import remove_leftovers, write_atomically, write_json


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_atomically(path, "één")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("r1_aqa.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_goes_to_a_file_or_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / "a.json", {"text": "één"})
    write_json(Path("-"), {"text": "één"})
    assert capsys.readouterr().out == (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"text": "één"}


def test_changed_settings_are_named_by_their_flags() -> None:
    before = {"seed": 0, "model": {"dtype": "float32", "lora": {"rank": 4}}, "gone": 1}
    now = {"seed": 1, "model": {"dtype": "float32", "lora": {"rank": 8}}, "new": 1}
    assert changes(before, now) == ["seed: 0 -> 1", "model.lora.rank: 4 -> 8"]
    assert changes(before, now, free={"seed"}) == ["model.lora.rank: 4 -> 8"]
    assert flatten(now)["model.lora.rank"] == 8


def test_leftovers_are_ours_alone(tmp_path: Path) -> None:
    ours = (".log.jsonl.417.tmp", "best.partial", "checkpoint-12.partial", ".saving-x1")
    theirs = ("film.mkv.partial", ".notes.tmp", "best", "checkpoint-12", "a.417.tmp")
    for name in (*ours, *theirs):
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)
