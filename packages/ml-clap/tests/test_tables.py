"""What is printed: tables with all their text, and none of it in the way of JSON."""

from pathlib import Path

import pytest
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
