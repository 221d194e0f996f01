"""Measure items one after another on one device, inside a limit of time: one table, and JSON.

`real_size.py` of all packages uses this file, which is the same in them. An item is measured in the package's
way and, where there is one, in the naive way, in the same run. Arithmetic is counted by torch while the item
runs for the first time, which is not timed; its share of the peak is against the fastest matrix product of
the same number format, measured in the same run. Every row is in the file of JSON as soon as it is measured,
so that a machine which is taken away leaves what was done.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from torch.utils.flop_counter import FlopCounterMode

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LIMIT_SECONDS = 480.0
"""Eight minutes: what is not done by then is left out, and said."""


class OutOfTimeError(Exception):
    """The script has had its time."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run of an item takes."""

    seconds: float
    amount: float
    """Of `unit`, in one run."""
    unit: str
    """clips, tokens, questions ..."""
    flops: float | None = None
    """Multiplications and additions of one run, padding and recomputed activations included."""
    dtype: str = "bfloat16"
    """The number format of its matrix products."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    item: str
    way: str
    """ours, or the name of the other way."""
    measured: Measured | None = None
    tflops: float | None = None
    share_of_peak: float | None = None
    peak_gigabytes: float | None = None
    """Highest allocation of the GPU; None on a processor."""
    note: str = ""


def timed(
    run: Callable[[], object], *, times: int, amount: float, unit: str, dtype: str = "bfloat16"
) -> Measured:
    """Run once counting the arithmetic, then `times` times against the clock; return the mean of these."""
    with FlopCounterMode(display=False) as counter:
        run()
    synchronize()
    started = time.perf_counter()
    for _ in range(times):
        run()
    synchronize()
    seconds = (time.perf_counter() - started) / times
    return Measured(
        seconds=seconds, amount=amount, unit=unit, flops=counter.get_total_flops() or None, dtype=dtype
    )


class Sheet:
    """The rows of one script.

    Args:
        title: what is measured.
        options: the script's flags; `json` and `limit_seconds` are used here, all are written down.
    """

    def __init__(self, title: str, options: argparse.Namespace) -> None:
        self.title = title
        self.options = options
        self.rows: list[Row] = []
        self.facts: dict[str, object] = {}
        """What else a reader wants to know: parameters, say."""
        self.peaks: dict[str, float] = {}
        self.ends = time.monotonic() + options.limit_seconds

    def add(self, item: str, way: str, measure: Callable[[], Measured]) -> Row:
        """Measure, print and write one row; no memory and no time are told, and the next row comes."""
        reset_peak()
        try:
            with self._limit():
                row = self._row(Row(item=item, way=way, measured=measure()))
        except torch.OutOfMemoryError:
            row = Row(item=item, way=way, note="out of memory", peak_gigabytes=peak_gigabytes())
        except OutOfTimeError:
            row = Row(item=item, way=way, note=f"not done in {self.options.limit_seconds:.0f} s")
        self.rows.append(row)
        print(" | ".join(cells(row)), file=sys.stderr, flush=True)
        self.write()
        return row

    def _row(self, row: Row) -> Row:
        peak = peak_gigabytes()
        if row.measured is None or row.measured.flops is None:
            return replace(row, peak_gigabytes=peak)
        speed = row.measured.flops / row.measured.seconds / 1e12
        fastest = self._fastest(row.measured.dtype)
        return replace(row, peak_gigabytes=peak, tflops=speed, share_of_peak=speed / fastest)

    def _fastest(self, dtype: str) -> float:
        if dtype not in self.peaks:
            self.peaks[dtype] = matmul_tflops(dtype)
        return self.peaks[dtype]

    def _limit(self) -> _Alarm:
        return _Alarm(self.ends - time.monotonic())

    def ratios(self) -> dict[str, float]:
        """Return item and other way -> how many times as fast ours is."""
        ours = {row.item: row.measured for row in self.rows if row.way == "ours" and row.measured}
        return {
            f"{row.item}, against {row.way}": (row.measured.seconds / row.measured.amount)
            / (ours[row.item].seconds / ours[row.item].amount)
            for row in self.rows
            if row.way != "ours" and row.measured and row.item in ours
        }

    def as_dict(self) -> dict[str, object]:
        """Return all that was measured, as it is written."""
        return {
            "title": self.title,
            "device": device_name(),
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
            "options": {name: str(value) for name, value in vars(self.options).items()},
            **self.facts,
            "matmul_tflops": self.peaks,
            "rows": [asdict(row) for row in self.rows],
            "ratios": self.ratios(),
        }

    def write(self) -> None:
        """Write the file of JSON, if one was asked for."""
        if self.options.json:
            self.options.json.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")

    def finish(self) -> int:
        """Print the table; return 1 where a row of ours has no numbers, else 0."""
        self.write()
        facts = [device_name(), f"torch {torch.__version__}", time.strftime("%Y-%m-%d")]
        facts += [f"{name.replace('_', ' ')} {value}" for name, value in self.facts.items()]
        facts += [f"{dtype} products {speed:.2f} TFLOP/s" for dtype, speed in self.peaks.items()]
        print("\n" + "; ".join(facts) + "\n")
        head = ("item", "way", "seconds", "a second", "TFLOP/s", "share of peak", "peak GiB", "note")
        print("\n".join(table([head, *(cells(row) for row in self.rows)])))
        for name, ratio in self.ratios().items():
            print(f"{name}: {ratio:.2f} times as fast")
        return int(any(row.measured is None for row in self.rows if row.way == "ours"))


class _Alarm:
    """Raise `OutOfTimeError` in the block once the seconds have passed."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        if self.seconds <= 0:
            raise OutOfTimeError
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that all scripts have."""
    parser.add_argument("--tiny", action="store_true", help="a small model, on whatever device there is")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--limit_seconds", type=float, default=LIMIT_SECONDS, help="what is left is left out")


def matmul_tflops(dtype: str) -> float:
    """Measure the fastest matrix product of a number format, in 10^12 operations a second."""
    size = 8192 if DEVICE == "cuda" else 1024
    factors = [torch.randn(size, size, device=DEVICE, dtype=getattr(torch, dtype)) for _ in range(2)]
    best = float("inf")
    for _ in range(6):
        synchronize()
        started = time.perf_counter()
        torch.mm(*factors)
        synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e12


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as texts; what was not measured is a dash."""
    found = row.measured
    return (
        row.item,
        row.way,
        f"{found.seconds:.3g}" if found else "-",
        f"{found.amount / found.seconds:.3g} {found.unit}" if found else "-",
        f"{row.tflops:.3g}" if row.tflops else "-",
        f"{row.share_of_peak:.0%}" if row.share_of_peak else "-",
        f"{row.peak_gigabytes:.1f}" if row.peak_gigabytes else "-",
        row.note or "-",
    )


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Return a table of Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def device_name() -> str:
    """Return the card's name, or CPU."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"


def synchronize() -> None:
    """Wait for the card."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def reset_peak() -> None:
    """Begin to watch the card's memory anew."""
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gigabytes() -> float | None:
    """Return the highest allocation since `reset_peak`; None on a processor."""
    return torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else None
