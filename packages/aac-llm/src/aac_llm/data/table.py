"""Tables of captions (CSV, TSV): every row is either whole, or reported by its line and left out.

A caption with an unquoted comma, or with a line break in its midst, makes a row of another number of cells
than the header. Python's `csv` fills up such a row or drops its end, and a model is trained on half captions.
Here a row has as many cells as the header, or it is a problem. Quotes, doubled quotes and line breaks within
quotes are read as `csv` does; spaces around cells do not count, and blank lines are nothing.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aac_llm.data.manifest import ManifestError

DELIMITERS = (",", "\t", ";")
"""Tried on the header in this order, where none is named."""
MAX_CELL_LINES = 10
"""A quoted cell of more lines is taken for a quote that nobody closed."""
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Row:
    """A row that has a cell for each column."""

    line: int
    """The line where it begins, from 1."""
    cells: dict[str, str]
    """Column -> text, without outer spaces; columns without a name are left out."""


@dataclass(frozen=True)
class RowProblem:
    """A row that is left out."""

    where: str
    """`FILE:LINE`."""
    message: str


@dataclass(frozen=True)
class Table:
    """What a file holds."""

    columns: tuple[str, ...]
    rows: list[Row]
    problems: list[RowProblem]


@dataclass(frozen=True)
class _Record:
    """The cells of a row, or why they cannot be told."""

    line: int
    cells: list[str]
    fault: str | None = None


def read_table(
    path: Path, required: Sequence[str], *, delimiter: str | None = None, encoding: str = "utf-8"
) -> Table:
    """Read a table whose first line names its columns.

    Args:
        path: the file.
        required: columns that must be there.
        delimiter: what stands between cells; None: that with which the header has the required columns.
        encoding: of a file without a byte order mark.

    Raises:
        ManifestError: it is not text, lacks a required column, names one twice, or has no row.
    """
    text = read_text(path, encoding)
    if not text.strip():
        raise ManifestError(f"{path}:1: the table is empty, expected a header with {', '.join(required)}")
    start = len(text) - len(text.lstrip("\n"))
    chosen = delimiter or _find_delimiter(text[start:].split("\n", 1)[0], required)
    header, end, _ = _cells_at(text, start, chosen)
    columns = [name.strip() for name in header]
    _check_columns(columns, required, f"{path}:{start + 1}")
    rows: list[Row] = []
    problems: list[RowProblem] = []
    before = _Record(0, [])
    for record in _records(text, end, chosen, len(columns)):
        fault = record.fault or _find_fault(record.cells, len(columns))
        if fault is None:
            rows.append(Row(record.line, dict(zip(columns, record.cells, strict=True))))
        else:
            if rows and rows[-1].line == before.line and _is_rest(record.cells, before.cells):
                rows.pop()
                message = f"its last cell seems to go on in line {record.line} (an unquoted line break?)"
                problems.append(RowProblem(f"{path}:{before.line}", message))
            problems.append(RowProblem(f"{path}:{record.line}", fault))
        before = record
    if not rows and not problems:
        raise ManifestError(f"{path}:{start + 1}: the table has a header and no rows")
    for row in rows:
        row.cells.pop("", None)
    return Table(tuple(filter(None, columns)), rows, problems)


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a text file, with line ends of every kind as `\\n`.

    Raises:
        ManifestError: it is not text in that encoding, nor has a byte order mark; the message names the line.
    """
    content = path.read_bytes()
    marked = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), encoding)
    try:
        text = content.decode(marked)
    except UnicodeDecodeError as e:
        line = content[: e.start].count(b"\n") + 1
        raise ManifestError(f"{path}:{line}: {_say_encoding(content, e)}") from e
    if "\0" in text.split("\n", 1)[0]:
        raise ManifestError(
            f"{path}:1: not text, there are NUL bytes in it (UTF-16 without its mark?): save it as UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _say_encoding(content: bytes, error: UnicodeDecodeError) -> str:
    # `error.object` is the content without a byte order mark, from which the place is counted.
    place = error.start + len(content) - len(error.object)
    found = f"not {error.encoding.upper()} text (byte 0x{content[place]:02x} at {place})"
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return f"{found}: save it as UTF-8"
    return f"{found}; it could be Windows-1252: `iconv -f WINDOWS-1252 -t UTF-8 FILE` makes it UTF-8"


def _find_delimiter(header: str, required: Sequence[str]) -> str:
    """Return the delimiter with which the header has most of the required columns, else that it has most."""

    def fit(delimiter: str) -> tuple[int, int]:
        names = {name.strip() for name in _cells_at(header, 0, delimiter)[0]}
        return len(names & set(required)), len(names)

    return max(DELIMITERS, key=fit)


def _check_columns(columns: Sequence[str], required: Sequence[str], where: str) -> None:
    missing = [name for name in required if name not in columns]
    if missing:
        raise ManifestError(
            f"{where}: no column {', '.join(missing)}; expected {', '.join(required)}, there are "
            f"{', '.join(columns)}"
        )
    doubled = [name for name, count in Counter(filter(None, columns)).items() if count > 1]
    if doubled:
        raise ManifestError(f"{where}: two columns are named {', '.join(doubled)}: give each its own name")


def _records(text: str, start: int, delimiter: str, num_columns: int) -> Iterator[_Record]:
    """Give the rows from `start` on; after a quote that is not closed, from the line after it."""
    position, line = start, 1 + text.count("\n", 0, start)
    while position < len(text):
        cells, end, opened = _cells_at(text, position, delimiter)
        lines = text[position:end].rstrip("\n").split("\n")
        if opened is None and len(lines) > 1 and _swallows_rows(lines, cells, delimiter, num_columns):
            opened = position
        if opened is not None:
            end = text.find("\n", opened) + 1 or len(text)
            yield _Record(line + text.count("\n", position, opened), [], "a quote opens and is not closed")
        elif any(cells):
            yield _Record(line, cells)
        line += text.count("\n", position, end)
        position = end


def _cells_at(text: str, start: int, delimiter: str) -> tuple[list[str], int, int | None]:
    """Return the cells of the row at `start`, where the next row begins, and where an open quote stands."""
    quoted, plain = _patterns(delimiter)
    cells: list[str] = []
    position = start
    while True:
        match = quoted.match(text, position) or plain.match(text, position)
        assert match is not None, "the plain pattern matches anything"
        is_quoted = match.re is quoted
        # Words after a closing quote belong to the cell (`"Woof" it says`), unless the quote was another
        # row's opening one, some lines further on.
        is_open = "\n" in match[1] and match[2].strip() if is_quoted else match[0].lstrip()[:1] == '"'
        if is_open:
            return cells, position, text.index('"', position)
        cell = match[1].replace('""', '"') + match[2] if is_quoted else match[0]
        cells.append(cell.strip())
        position = match.end()
        if text[position : position + 1] != delimiter:
            return cells, position + 1, None
        position += 1


@cache
def _patterns(delimiter: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds a quoted cell (its text, and what follows the quote), and any other."""
    other = rf"[^{re.escape(delimiter)}\n]*"
    return re.compile(rf' *"((?:[^"]++|"")*+)"({other})'), re.compile(other)


def _swallows_rows(lines: Sequence[str], cells: Sequence[str], delimiter: str, num_columns: int) -> bool:
    """Tell whether a row of several lines has others in it, so that a quote must have been left open."""
    further = [_cells_at(line, 0, delimiter)[0] for line in lines[1:]]
    rows = [
        found for found in further if len(found) == num_columns > 1 and _kind(found[0]) == _kind(cells[0])
    ]
    return bool(rows) or len(lines) > MAX_CELL_LINES


def _find_fault(cells: Sequence[str], num_columns: int) -> str | None:
    if len(cells) != num_columns:
        why = " (an unquoted comma?)" if len(cells) > num_columns else ""
        return f"expected {num_columns} cells, got {len(cells)}{why}"
    return "there is a NUL byte in it" if any("\0" in cell for cell in cells) else None


def _is_rest(cells: Sequence[str], before: Sequence[str]) -> bool:
    """Tell whether a short row is what an unquoted line break cut off the one before."""
    return 0 < len(cells) < len(before) and _kind(cells[0]) != _kind(before[0])


def _kind(cell: str) -> str:
    """Return what a cell is like: `number`, a file's suffix, `word` or `text`."""
    if re.fullmatch(r"[\d.]+", cell):
        return "number"
    suffix = re.search(r"\.\w{2,4}$", cell)
    return suffix[0].lower() if suffix else "text" if " " in cell else "word"
