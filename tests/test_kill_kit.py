"""The kill kit itself: operations are numbered and disturbed, and differences of two folders are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kill_kit.compare import find_differences
from kill_kit.jobs import Point
from kill_kit.operations import Fault, Mode, Operation

PROGRAM = """
import json, os, sys
from pathlib import Path
from kill_kit.operations import Fault, Watch

folder, report, fault = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
watch = Watch(folder, report, fault and Fault(**fault))
watch.start()
(folder / "log").write_text("one two three four")
(folder / "log").read_text()
(folder / "there").mkdir(exist_ok=True)
(folder / "there").mkdir(exist_ok=True)
(folder.parent / "elsewhere").write_text("")
(folder / "log").rename(folder / "there" / f"log.{os.getpid()}")
(folder / "none").unlink(missing_ok=True)
watch.save()
"""
OPERATIONS = [
    ("open", "log", False),
    ("mkdir", "there", True),
    ("rename", "log -> there/log.PID", False),
]


def run(tmp_path: Path, fault: dict | None) -> tuple[int, list[Operation], Path, str]:
    folder, report = tmp_path / "out", tmp_path / "report.json"
    folder.mkdir()
    words = [sys.executable, "-c", PROGRAM, str(folder), str(report), json.dumps(fault)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    ended = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
    seen = [Operation(**one) for one in json.loads(report.read_text())] if report.exists() else []
    return ended.returncode, seen, folder, ended.stderr


def test_operations_below_the_folder_are_listed_once_each(tmp_path: Path) -> None:
    code, seen, _, _ = run(tmp_path, None)
    assert (code, [(one.kind, one.path, one.can_tear) for one in seen]) == (0, OPERATIONS)


@pytest.mark.parametrize(
    ("mode", "code", "left"),
    [
        ("kill", -9, {"log": "one two three four"}),
        ("torn", -9, {"log": "one two t"}),
        ("full", 1, {"log": "one two three four"}),
        ("interrupt", -2, {"log": "one two three four"}),
    ],
)
def test_an_operation_is_disturbed(tmp_path: Path, mode: Mode, code: int, left: dict[str, str]) -> None:
    ended, _, folder, errors = run(tmp_path, {"mode": mode, "number": 2})
    assert ended == code
    assert {path.name: path.read_text() for path in folder.iterdir()} == left
    assert ("No space left on device" in errors) == (mode == "full")


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_times_may_differ_and_nothing_else(tmp_path: Path) -> None:
    one = write(tmp_path / "1", log__jsonl='{"step": 1, "runtime": 2}\n', a__txt="a", gone__txt="")
    other = write(tmp_path / "2", log__jsonl='{"step": 1, "runtime": 3}\n', a__txt="b", extra__tmp="")
    assert find_differences(one, one) == []
    assert find_differences(one, other) == [
        "left behind: extra.tmp",
        "missing: gone.txt",
        "a.txt: b'b', not b'a'",
    ]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ('{"step": 1}\n{"step": 1}\n', "log.jsonl has 2 rows, not 1"),
        ('{"step": 2}\n', "log.jsonl row 1: step: 2, not 1"),
        ('{"st', "log.jsonl cannot be read: Unterminated string starting at: line 1 column 2 (char 1)"),
    ],
)
def test_rows_are_compared_by_value(tmp_path: Path, rows: str, told: str) -> None:
    one = write(tmp_path / "1", log__jsonl='{"step": 1}\n')
    assert find_differences(one, write(tmp_path / "2", log__jsonl=rows)) == [told]


def test_weights_are_compared_bit_by_bit(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    for name, value in (("1", 1.0), ("2", 1.0 + 2**-7)):
        (tmp_path / name).mkdir()
        save_file({"w": torch.tensor([value], dtype=torch.bfloat16)}, tmp_path / name / "m.safetensors")
    assert find_differences(tmp_path / "1", tmp_path / "1") == []
    assert find_differences(tmp_path / "1", tmp_path / "2") == ["m.safetensors: w: values has other values"]


def test_points_are_found_by_name() -> None:
    operations = [Operation(kind, path, can_tear) for kind, path, can_tear in OPERATIONS]
    assert Point("", "kill", "log", which="last").find(operations) == Fault("kill", 3)
    assert Point("", "torn", "there").find(operations) == Fault("torn", 2)
    with pytest.raises(LookupError, match="as best is written: no operation on best"):
        Point("as best is written", "kill", "best").find(operations)
