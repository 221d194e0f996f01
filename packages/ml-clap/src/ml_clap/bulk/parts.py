"""Results of blocks, a file each, in a folder or at a URL: written once, and found again by the next run.

A mark says that a block was begun. It tells how many workers a block has cost, and on which row the last one
ended.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

from audio_common.strict_json import parse_object

from ml_clap.bulk.blocks import Block, Row
from ml_clap.bulk.places import join, names_in, read_all, remove, write_all
from ml_clap.files import to_json

Kind = Literal["jsonl", "parquet"]


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

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def _read_parquet(content: bytes, path: str) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[Row] = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(
            f"{path} is damaged: {error}; remove it, and the same command makes it again"
        ) from error
    return rows
