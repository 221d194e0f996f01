"""Results of blocks, a file each, in a folder or at a URL: written once, and found again by the next run.

A mark says that a block was begun. It tells how many workers a block has cost, and on which row the last one
ended.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import IO, Any, Literal

from audio_common.strict_json import parse_object

from r1_aqa.bulk.blocks import Block, Row
from r1_aqa.bulk.places import exists, join, names_in, open_read, read_all, remove, write_all
from r1_aqa.files import to_json

Kind = Literal["jsonl", "parquet"]

ESCAPED = b"bytes in texts are escaped"
"""Key in the metadata of a Parquet file, where it is so."""


class Parts:
    """The parts of a job.

    Args:
        place: folder or fsspec URL; made if it is not there.
        kind: lines of JSON, or Parquet, which also holds bytes.
    """

    def __init__(self, place: str, kind: Kind = "jsonl") -> None:
        self.place = place
        self.kind = kind

    def path_of(self, block: Block) -> str:
        """Return the path or URL of a block's part."""
        return join(self.place, f"part-{block.number:06d}-{block.key}.{self.kind}")

    def list_done(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks whose parts are there."""
        there = {name.rpartition("/")[2] for name in names_in(self.place)}
        return [block for block in blocks if self.path_of(block).rpartition("/")[2] in there]

    def is_done(self, block: Block) -> bool:
        """Tell whether a block's part is there: asks for one file, and lists no folder of many thousands."""
        return exists(self.path_of(block))

    def write(self, block: Block, rows: Sequence[Row]) -> None:
        """Write a block's part, which appears whole or not at all."""
        content = (
            _to_parquet(rows) if self.kind == "parquet" else b"".join(to_json(row) + b"\n" for row in rows)
        )
        write_all(self.path_of(block), content)

    def read(self, block: Block) -> list[Row]:
        """Return the rows of a block's part.

        Raises:
            ValueError: it is damaged.
        """
        path = self.path_of(block)
        content = read_all(path)
        if self.kind == "parquet":
            return _read_parquet(content, path)
        return [
            parse_object(line, f"{path}:{number}")
            for number, line in enumerate(content.splitlines(), start=1)
        ]

    def count(self, block: Block) -> int:
        """Return the number of rows of a block's part, which are not read: Parquet says it at its end.

        Raises:
            ValueError: it is damaged.
        """
        path = self.path_of(block)
        with open_read(path) as file:
            return _count_parquet(file, path) if self.kind == "parquet" else sum(1 for _ in file)

    def remove(self) -> None:
        """Remove all parts and marks, and the folder if nothing else is in it."""
        for name in names_in(self.place):
            if name.rpartition("/")[2].startswith(("part-", "begun")):
                remove(name)
        if not names_in(self.place):
            remove(self.place)

    def mark(self, block: Block, what: str) -> None:
        """Note that something of a block is begun."""
        write_all(join(self._marks(block), what), b"")

    def unmark(self, block: Block, what: str) -> None:
        """Note that it has ended well."""
        remove(join(self._marks(block), what))

    def list_marks(self, block: Block) -> set[str]:
        """Return what of a block was begun and did not end well."""
        return {name.rpartition("/")[2] for name in names_in(self._marks(block))}

    def forget(self, block: Block) -> None:
        """Remove the marks of a block that is done."""
        remove(self._marks(block))

    def _marks(self, block: Block) -> str:
        return join(self.place, f"begun/{block.key}")


def _to_parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.Table.from_pylist(list(rows))
    except UnicodeEncodeError:  # a file's name whose bytes are no UTF-8
        escaped = [_for_texts(row, _escape) for row in rows]
        table = pyarrow.Table.from_pylist(escaped).replace_schema_metadata({ESCAPED: b""})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _read_parquet(content: bytes, path: str) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content))
        rows: list[Row] = table.to_pylist()
    except pyarrow.ArrowException as error:
        raise _damaged(path, error) from error
    if ESCAPED in (table.schema.metadata or {}):
        rows = [_for_texts(row, _unescape) for row in rows]
    return rows


def _count_parquet(file: IO[bytes], path: str) -> int:
    import pyarrow
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.read_metadata(file).num_rows)
    except pyarrow.ArrowException as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged: {error}; remove it, and the same command makes it again")


def _for_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with all texts in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _for_texts(item, change) for name, item in value.items()}
    return [_for_texts(item, change) for item in value] if isinstance(value, list | tuple) else value


def _escape(text: str) -> str:
    """Write bytes that are no UTF-8, as Python has them in a file's name, and NUL, as NUL and two digits."""
    return re.sub("[\0\udc80-\udcff]", lambda found: f"\0{ord(found[0]) & 0xFF:02x}", text)


def _unescape(text: str) -> str:
    def read(found: re.Match[str]) -> str:
        byte = int(found[1], 16)
        return chr(0xDC00 | byte) if byte else "\0"

    return re.sub("\0([0-9a-f]{2})", read, text)
