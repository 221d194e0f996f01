"""What is printed: tables with all their text, and none of it in the way of JSON."""

from pathlib import Path

import pytest
from ml_clap.lock import BusyError, hold_outputs
from ml_clap.tables import print_skipped, print_table, show_progress, tables_beside_json


def test_tables_print_all_of_their_cells(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("A [title]", ["", "R@1"], [["[b]bold[/b]", "12.5"], ["x", "3.0"]], "and a note")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["A", "[title]"], ["R@1"], ["[b]bold[/b]", "12.5"], ["x", "3.0"], ["and", "a", "note"]]


def test_tables_leave_standard_output_to_json(capsys: pytest.CaptureFixture[str]) -> None:
    with tables_beside_json(Path("-")):
        print_table("Title", ["a name"], [["a"]])
    assert capsys.readouterr().out == ""
    with tables_beside_json(Path("results.json")):
        print_table("Title", ["a name"], [["a"]])
    assert "Title" in capsys.readouterr().out


def test_control_characters_in_tables_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("a\x1b[2J", ["b\x07"], [["c\u202e.wav"]], "d\x9b")
    print_skipped(["e\x1b]0;x is damaged"])
    printed = capsys.readouterr().out
    assert not set(printed) & set("\x1b\x07\u202e\x9b")
    assert r"c\u202e.wav" in printed


def test_outputs_are_held_and_cleared_of_what_a_kill_left(tmp_path: Path) -> None:
    path = tmp_path / "[a].json"
    (tmp_path / ".[a].json.77.tmp").touch()
    (tmp_path / ".other.json.77.tmp").touch()
    with hold_outputs(path, None, Path("-")):
        assert not (tmp_path / ".[a].json.77.tmp").exists()
        with pytest.raises(BusyError), hold_outputs(path):
            pass
    assert [file.name for file in tmp_path.iterdir()] == [".other.json.77.tmp"]


def test_some_skipped_files_are_named_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_skipped([f"{number}.wav is damaged" for number in range(7)], limit=2)
    printed = capsys.readouterr().out
    assert "7 sounds skipped" in printed
    assert "1.wav is damaged" in printed
    assert "2.wav" not in printed
    assert "5 more" in printed


def test_progress_takes_shares_of_clips(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("Indexing") as progress:
        progress(0.25, 3)
        progress(3.0, 3)
    assert capsys.readouterr().out == ""
