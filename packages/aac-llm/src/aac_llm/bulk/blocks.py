"""Rows of a bulk job cut into blocks: what a worker is given at once.

Blocks follow the order of the rows, so that files of one folder or shard stay together, and end where their
seconds of sound are reached, so that they take about equally long. A block is known by what is in it and by
the settings of the job: a job that is started again finds what it has done, and nothing of another job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from aac_llm.files import to_json

MAX_ROWS = 2_000
"""Rows of a block, however short they are."""

Row = dict[str, Any]
"""A row of a job, in JSON's types."""


@dataclass(frozen=True)
class Block:
    """Rows that are worked on together.

    Attributes:
        number: its place among the blocks.
        key: hash of its rows and of the job's settings.
        rows: what to work on.
        seconds: seconds of sound in it.
    """

    number: int
    key: str
    rows: tuple[Row, ...]
    seconds: float


def make_blocks(
    rows: Sequence[Row],
    seconds: Sequence[float],
    *,
    block_seconds: float,
    settings: Mapping[str, Any],
    max_rows: int = MAX_ROWS,
) -> list[Block]:
    """Cut rows into blocks, in their order.

    Args:
        rows: of the job, in JSON's types.
        seconds: seconds of sound of each row; an estimate does.
        block_seconds: a block ends before the row that would exceed these; a longer row is a block by itself.
        settings: what the results depend on besides the rows.
        max_rows: rows of a block at most.

    >>> [len(block.rows) for block in make_blocks([{}] * 5, [4, 4, 4, 90, 1], block_seconds=10, settings={})]
    [2, 1, 1, 1]
    """
    blocks: list[list[int]] = []
    total = 0.0
    for place, length in enumerate(seconds):
        if not blocks or total + length > block_seconds or len(blocks[-1]) == max_rows:
            blocks.append([])
            total = 0.0
        blocks[-1].append(place)
        total += length
    start = blake2b(to_json(settings), digest_size=16)
    return [
        Block(
            number,
            _key(start.digest(), [rows[place] for place in places]),
            tuple(rows[place] for place in places),
            float(sum(seconds[place] for place in places)),
        )
        for number, places in enumerate(blocks)
    ]


def longest_first(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks in the order to start them: a long one begun last would keep all workers waiting."""
    return sorted(blocks, key=lambda block: (-block.seconds, block.number))


def leave_out(
    blocks: Sequence[Block], is_done: Callable[[Row], bool], settings: Mapping[str, Any]
) -> list[Block]:
    """Return blocks without the rows that the output holds already; those without any row fall away.

    Cut of all rows and left out here, a block is the same after a kill unless its results are in the output:
    its part is found again by its key.

    Args:
        blocks: of all rows of the job.
        is_done: tells whether the output holds a row's results.
        settings: as `make_blocks` had them.
    """
    start = blake2b(to_json(settings), digest_size=16).digest()
    left = []
    for block in blocks:
        rows = tuple(row for row in block.rows if not is_done(row))
        if len(rows) == len(block.rows):
            left.append(block)
        elif rows:
            share = block.seconds * len(rows) / len(block.rows)
            left.append(replace(block, key=_key(start, rows), rows=rows, seconds=share))
    return left


def _key(settings: bytes, rows: Sequence[Row]) -> str:
    digest = blake2b(settings, digest_size=8)
    for row in rows:
        digest.update(to_json(row) + b"\n")
    return digest.hexdigest()
