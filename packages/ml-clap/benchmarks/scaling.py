"""Whether a bulk job on many workers takes what arithmetic says: Ray's real scheduler, workers that sleep.

    python packages/ml-clap/benchmarks/scaling.py --workers 64 --kill 4 --json scaling.json

Blocks of clips go through `ml_clap.bulk` to as many processes as asked for, each of which sleeps as long as a
model would compute (`--cost`: processor seconds of a second of sound; ced-base took 0.0576 on one core) and
writes its part. `--speedup` divides the sleep, not what Ray, the parts and the marks take, so that their
share is overstated by as much. Meanwhile `--kill` workers are ended by SIGKILL, one after another.

Printed are the seconds from the first block's start to the last one's end, those of a schedule without any
overhead (the longest block first to whichever worker is free, each worker from when it had its first block),
their ratio, and blocks a second of a few workers that do not sleep: the rate of the one driver, and so the
number of workers that it can keep busy.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ml_clap.bulk.blocks import Block, Row, longest_first, make_blocks
from ml_clap.bulk.parts import Parts
from ml_clap.bulk.run import Done, run_blocks
from ml_clap.config.ray import RayConfig

FEW = 8
"""Workers that do not sleep; more than the cores of a small machine do not ask for blocks any faster."""


class SleepingWorker:
    """Takes as long as a model, and finds nothing."""

    def __init__(self, cost: float) -> None:
        self.cost = cost

    def work(self, rows: Sequence[Row]) -> list[Row]:
        """Sleep for what the rows would take."""
        time.sleep(sum(row["seconds"] for row in rows) * self.cost)
        return [{"id": row["id"]} for row in rows]

    def give_up(self, row: Row, why: str) -> list[Row]:
        """Say what was not done."""
        return [{"id": row["id"], "error": why}]


def main() -> None:
    options = read_options()
    blocks = make_work(options)
    found = measure(blocks, options)
    print(
        f"{options.workers} workers, {len(blocks)} blocks of {options.block_seconds:g} s of sound, "
        f"{found['killed']} workers killed: {found['seconds']:.1f} s, {found['ideal_seconds']:.1f} s without "
        f"overhead: {found['ratio']:.3f} times; {found['parts']} parts, {found['rows']} rows"
    )
    print(
        f"the driver gives out {found['blocks_per_second']:.1f} blocks a second: enough for "
        f"{found['most_workers']:.0f} workers whose block takes {found['block_takes']:.1f} s"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10, help="blocks of each worker")
    parser.add_argument("--block_seconds", type=float, default=600.0, help="of sound")
    parser.add_argument("--cost", type=float, default=0.0576, help="seconds of work for a second of sound")
    parser.add_argument("--speedup", type=float, default=1.0, help="divides the work")
    parser.add_argument("--kill", type=int, default=0, help="workers to end in the middle")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def make_work(options: argparse.Namespace) -> list[Block]:
    """Return blocks of clips of 1 to 30 s."""
    chance = random.Random(0)
    rows: list[Row] = []
    total, wanted = 0.0, options.workers * options.rounds * options.block_seconds
    while total < wanted:
        rows.append({"id": len(rows), "seconds": chance.uniform(1, 30)})
        total += rows[-1]["seconds"]
    lengths = [row["seconds"] for row in rows]
    return make_blocks(rows, lengths, block_seconds=options.block_seconds, settings={})


def measure(blocks: list[Block], options: argparse.Namespace) -> dict[str, Any]:
    """Run the job twice: workers that sleep, and workers that do nothing."""
    cost = options.cost / options.speedup
    with tempfile.TemporaryDirectory() as folder:
        done, seconds, starts = run(blocks, cost, Path(folder, "sleep"), options.workers, options.kill)
        parts = Parts(str(Path(folder, "sleep")))
        rows = sum(len(parts.read(item.block)) for item in done)
        num_parts = len(list(Path(folder, "sleep").glob("part-*")))
        idle, idle_seconds, _ = run(blocks, 0.0, Path(folder, "idle"), min(options.workers, FEW), 0)
    ideal = schedule([block.seconds * cost for block in longest_first(blocks)], starts[: options.workers])
    rate = (len(idle) - 1) / idle_seconds
    block_takes = options.block_seconds * options.cost
    return {
        "options": {name: str(value) for name, value in vars(options).items()},
        "seconds": seconds,
        "ideal_seconds": ideal,
        "last_start": starts[: options.workers][-1],
        "ratio": seconds / ideal,
        "killed": options.kill,
        "blocks": len(done),
        "parts": num_parts,
        "rows": rows,
        "done_again": sum(item.tries > 0 for item in done),
        "blocks_per_second": rate,
        "block_takes": block_takes,
        "most_workers": rate * block_takes,
    }


def run(
    blocks: list[Block], cost: float, place: Path, workers: int, kill: int
) -> tuple[list[Done], float, list[float]]:
    """Do all blocks; return them, the seconds of it all, and when each worker had its first block."""
    done: list[Done] = []
    starts: dict[int | None, float] = {}
    for item in run_blocks(
        blocks, partial(SleepingWorker, cost), Parts(str(place)), RayConfig(num_workers=workers)
    ):
        starts.setdefault(item.pid, time.monotonic() - item.seconds)
        done.append(item)
        if item.pid and kill and len(done) > workers:
            os.kill(item.pid, signal.SIGKILL)
            kill -= 1
    ended, began = time.monotonic(), min(starts.values())
    return done, ended - began, sorted(start - began for start in starts.values())


def schedule(times: Sequence[float], starts: Sequence[float]) -> float:
    """Return when the last of some tasks ends, each given in order to whichever worker is free.

    >>> schedule([3.0, 2.0, 2.0, 1.0], starts=[0.0, 0.5])
    4.5
    """
    free = list(starts)
    heapq.heapify(free)
    for seconds in times:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


if __name__ == "__main__":
    main()
