"""Output files are held while a command writes them."""

from pathlib import Path

import pytest
from aac_llm.lock import BusyError, hold_outputs


def test_a_held_file_is_refused_and_then_free(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    again = hold_outputs(tmp_path / "b.jsonl", path)
    with (
        hold_outputs(path, None, Path("-"), path),
        pytest.raises(BusyError, match=r"writing .*a\.jsonl"),
        again,
    ):
        pass
    with hold_outputs(path):
        pass
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_of_a_file_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = [".a.jsonl.12.tmp", ".a.jsonl.report.json.12.tmp", ".a.report.json.12.tmp"]
    others = [".ab.jsonl.12.tmp", ".a.json.12.tmp", "a.jsonl.report.json"]
    for name in left + others:
        (tmp_path / name).write_text("x")
    with hold_outputs(tmp_path / "a.jsonl"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
