"""Files appear whole or not at all; JSON is plain; `-` is standard output."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from ml_clap.files import is_stream, write_atomically, write_json
from ml_clap.lock import sole_writer


@dataclass(frozen=True)
class Record:
    path: Path
    values: tuple[float, ...]


def test_json_holds_dataclasses_paths_and_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    write_json(path, {"record": Record(Path("a/b.wav"), (1.5, float("nan"), float("inf"))), "text": "犬"})
    assert json.loads(path.read_text("utf-8")) == {
        "record": {"path": "a/b.wav", "values": [1.5, None, None]},
        "text": "犬",
    }
    assert "犬" in path.read_text("utf-8")


def test_json_holds_names_that_are_not_unicode(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad-\xff.wav")
    write_json(tmp_path / "a.json", {"path": Path(name)})
    assert json.loads((tmp_path / "a.json").read_text("ascii")) == {"path": name}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def half(target: Path) -> None:
        target.write_bytes(b"n")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, half)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"new", "new", lambda path: path.write_text("new")])
def test_bytes_text_and_functions_are_written(tmp_path: Path, content: object) -> None:
    write_atomically(tmp_path / "folder" / "a.txt", content)  # type: ignore[arg-type]
    assert (tmp_path / "folder" / "a.txt").read_text() == "new"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["a.txt"]


def test_a_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_json(Path("-"), {"text": "犬"})
    assert json.loads(capsys.readouterr().out) == {"text": "犬"}


def test_a_pipe_or_device_is_written_into_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with sole_writer(path):
        write_json(path, {"a": 1})
        assert [file.name for file in tmp_path.iterdir()] == ["pipe"]  # no lock beside /dev/null
    assert path.is_fifo()
    assert json.loads(os.read(reader, 100)) == {"a": 1}
    os.close(reader)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_other_names_of_the_standard_output_are_it(name: str) -> None:
    with sole_writer(name):
        assert is_stream(name)  # else the link itself would be replaced
