"""A worker of a bulk job: does blocks with what it loaded once, and writes each one's part.

An error of one row costs that row. So does a row that ends the process (a crash of a library, a machine out
of memory): the block is begun again elsewhere, once more whole, then row by row with a mark on each, so that
the next worker knows on which row the last one ended, and leaves it out.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from audio_common.strict_json import parse_json

from r1_aqa.bulk.blocks import Block, Row
from r1_aqa.bulk.parts import Parts
from r1_aqa.files import to_json

WHOLE_TRIES = 2
"""Workers that a block may cost before its rows are done one by one: machines are lost, too."""


class RowWorker(Protocol):
    """Does the rows of a verb; made once in each worker process, where it loads its model."""

    def work(self, rows: Sequence[Row]) -> list[Row]:
        """Return the results of some rows, any number of them, in JSON's types (or bytes, for Parquet)."""

    def give_up(self, row: Row, why: str) -> list[Row]:
        """Return what stands in the results for a row that could not be worked on."""


class BlockError(RuntimeError):
    """No row of a block can be worked on: the fault is not the rows'."""


def do_block(worker: RowWorker, block: Block, parts: Parts) -> tuple[int, int]:
    """Do a block and write its part.

    Args:
        worker: does the rows.
        block: the rows.
        parts: where the part goes; a part that is there is not made again.

    Returns:
        The number of results, and how many workers the block has cost before.

    Raises:
        BlockError: each of its rows raises an error.
    """
    if parts.is_done(block):
        return parts.count(block), 0
    marks = parts.list_marks(block)
    tries = sum(mark.startswith("try-") for mark in marks)
    parts.mark(block, f"try-{tries + 1}")
    if tries < WHOLE_TRIES:
        try:
            results = worker.work(block.rows)
        except Exception:  # of which row it is shows below
            results = _one_by_one(worker, block, parts, marks)
    else:
        results = _one_by_one(worker, block, parts, marks)
    parts.write(block, results)
    parts.forget(block)
    return len(results), tries


def _one_by_one(worker: RowWorker, block: Block, parts: Parts, marks: set[str]) -> list[Row]:
    results: list[Row] = []
    errors: list[str] = []
    for place, row in enumerate(block.rows):
        mark = f"row-{place}"
        if mark in marks:
            results += worker.give_up(row, "the process that worked on it ended")
            continue
        parts.mark(block, mark)
        try:
            results += worker.work([row])
        except Exception as error:
            errors.append("".join(traceback.format_exception(error)))
            results += worker.give_up(row, f"{type(error).__name__}: {error}")
        parts.unmark(block, mark)
    if len(errors) == len(block.rows):
        raise BlockError(f"none of {len(errors)} rows can be worked on; the first one's error:\n{errors[0]}")
    return results


class RayWorker:
    """What Ray Data makes in each process and calls with a block.

    An error is told as a result: raised, it would reach the other side in Ray's words instead of its own.

    Args:
        make_worker: makes the verb's worker, loading its model.
        parts: where parts go.
    """

    def __init__(self, make_worker: Callable[[], RowWorker], parts: Parts) -> None:
        self.parts = parts
        self.error = ""
        try:
            self.worker = make_worker()
        except Exception:
            self.error = f"a worker cannot be made:\n{traceback.format_exc()}"

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Do the one block of a batch; return what is told of it, for the results are in its part."""
        began = time.monotonic()
        block = from_record({name: values[0] for name, values in batch.items()})
        count, tries, error = 0, 0, self.error
        if not error:
            try:
                count, tries = do_block(self.worker, block, self.parts)
            except BlockError as e:
                error = str(e)
            except Exception:
                error = traceback.format_exc()
        return {
            "number": [block.number],
            "count": [count],
            "tries": [tries],
            "pid": [os.getpid()],
            "seconds": [time.monotonic() - began],
            "error": [error],
        }


def to_record(block: Block) -> dict[str, Any]:
    """Return a block as a row of Ray Data; its rows as JSON, for their fields differ."""
    return {
        "number": block.number,
        "key": block.key,
        "rows": to_json(block.rows),
        "sound": block.seconds,
    }


def from_record(record: dict[str, Any]) -> Block:
    """Return the block that `to_record` was given."""
    rows = tuple(parse_json(bytes(record["rows"]), "rows of a block"))
    return Block(int(record["number"]), str(record["key"]), rows, float(record["sound"]))
