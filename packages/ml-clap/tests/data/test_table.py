"""A table's rows are whole, or named by their line and left out: never half a caption."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.data.manifest import ManifestError
from ml_clap.data.table import Table, read_table

COLUMNS = ("file", "caption")


def read(folder: Path, content: str | bytes, required: tuple[str, ...] = COLUMNS) -> Table:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, required)


def captions(table: Table) -> list[str]:
    return [row.cells["caption"] for row in table.rows]


def faults(table: Table) -> list[str]:
    return [f"{problem.where.rpartition(':')[2]}: {problem.message}" for problem in table.problems]


def test_rows_of_another_number_of_cells_are_named_and_left_out(tmp_path: Path) -> None:
    content = "file,caption,licence\na.wav,A dog barks, then a bell,CC0\nb.wav,only one\nc.wav,A cat,CC0\n"
    table = read(tmp_path, content)
    assert captions(table) == ["A cat"]
    assert faults(table) == ["2: expected 3 cells, got 4 (an unquoted comma?)", "3: expected 3 cells, got 2"]


def test_a_caption_cut_by_an_unquoted_line_break_is_left_out_with_its_rest(tmp_path: Path) -> None:
    content = (
        "audiocap_id,file,start_time,caption\n39899,IAosP90cdsE,30,an engine with muffled\n"
        "speech in the background\n7994,2Cnv0FADwfo,30,a bell\n48170,NWZK4Mm3aNc,0,wind and loud\nbang\n"
    )
    table = read(tmp_path, content)
    assert captions(table) == ["a bell"]
    assert [fault.split(":")[0] for fault in faults(table)] == ["2", "3", "5", "6"]
    assert "seems to go on in line 3 (an unquoted line break?)" in faults(table)[0]


def test_a_short_row_after_a_good_one_does_not_take_that_along(tmp_path: Path) -> None:
    table = read(tmp_path, "file,caption\na.wav,A dog\nb.wav\n")
    assert (captions(table), faults(table)) == (["A dog"], ["3: expected 2 cells, got 1"])


@pytest.mark.parametrize("closed", ['b.wav,"A cat",y', "b.wav,A cat,y", 'b.wav,A cat",y'])
def test_a_quote_left_open_costs_its_own_row_alone(tmp_path: Path, closed: str) -> None:
    table = read(tmp_path, f'file,caption,x\na.wav,"A dog barks,x\n{closed}\nc.wav,Rain,z\n')
    assert [row.line for row in table.rows] == [3, 4]
    assert faults(table) == ["2: a quote opens and is not closed"]


def test_quotes_line_breaks_and_spaces_are_read_as_they_are_meant(tmp_path: Path) -> None:
    content = (
        'file, caption ,x\r\na.wav, "A dog, barking" , y\r\n\r\n'
        'b.wav,"""Woof"", it says",y\r\nc.wav,"Rain\r\nand wind, then more",y\r\nd.wav,A 6" pipe,y\r\n,,\r\n'
    )
    table = read(tmp_path, content)
    assert captions(table) == ["A dog, barking", '"Woof", it says', "Rain\nand wind, then more", 'A 6" pipe']
    assert [row.line for row in table.rows] == [2, 4, 5, 7]
    assert not table.problems


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.text(alphabet='ab ,"\né\t;', max_size=8)] * 3), min_size=1, max_size=6))
def test_what_csv_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["file", "caption", "x"], *(["0", *row[1:]] for row in rows)])
    table = read(tmp_path_factory.mktemp("csv"), file.getvalue())
    lines = {line.line: line for line in table.rows}
    expected = [row[1].strip() for row in rows]
    assert not table.problems
    assert len(lines) == len(rows)
    assert captions(table) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_say_the_encoding(tmp_path: Path, encoding: str) -> None:
    assert captions(read(tmp_path, "file,caption\na.wav,Café\n".encode(encoding))) == ["Café"]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_the_delimiter_is_found_by_the_header(tmp_path: Path, delimiter: str) -> None:
    table = read(tmp_path, f"file{delimiter}caption\na.wav{delimiter}A dog\n")
    assert captions(table) == ["A dog"]


def test_a_column_without_a_name_is_not_a_cell(tmp_path: Path) -> None:
    assert read(tmp_path, ",file,caption\n0,a.wav,A dog\n").rows[0].cells == {
        "file": "a.wav",
        "caption": "A dog",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"csv:1: the table is empty, expected a header with file, caption"),
        (b"file,caption\n\n", r"csv:1: the table has a header and no rows"),
        (b"file,text\na,b\n", r"csv:1: no column caption; expected file, caption, there are file, text"),
        (b"file,caption,caption\na,b,c\n", r"csv:1: two columns are named caption"),
        (
            b"file,caption\na,caf\xe9\n",
            r"csv:2: not UTF-8 text \(byte 0xe9 at 18\); it could be Windows-1252",
        ),
        ("file,caption\na,b\n".encode("utf-16-le"), r"csv:1: not text, there are NUL bytes in it"),
    ],
)
def test_what_is_no_table_is_refused_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(tmp_path, content)


def test_a_nul_byte_costs_its_row(tmp_path: Path) -> None:
    table = read(tmp_path, "file,caption\na,A d\0g\nb,A cat\n")
    assert (captions(table), faults(table)) == (["A cat"], ["2: there is a NUL byte in it"])


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_byte_that_is_not_utf8_is_named_with_and_without_a_mark(tmp_path: Path, mark: bytes) -> None:
    place = len(mark) + len(b"file,caption\na.wav,caf")
    with pytest.raises(ManifestError, match=rf":2: .*byte 0xe9 at {place}\)"):
        read(tmp_path, mark + b"file,caption\na.wav,caf\xe9\n")
