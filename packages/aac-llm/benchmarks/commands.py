"""Run a package's commands on few and on many clips, and compare the peaks of their memory.

`memory.py` of ml-clap, aac-llm and r1-aqa uses this file, which is the same in them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
Jobs = Callable[[Path, int], dict[str, list[str]]]
"""Folder and number of clips -> name of a job -> the words of its command, in the order in which they run."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that all scripts have."""
    parser.add_argument("--clips", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--only", nargs="*", default=[], help="run only these jobs")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")


def make_sounds(folder: Path, count: int, seconds: float = 0.5) -> list[Path]:
    """Write so many noises, each another."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    paths = [folder / f"{number:06d}.wav" for number in range(count)]
    for path in paths:
        noise = chance.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
        soundfile.write(path, noise, RATE, subtype="PCM_16")
    return paths


def write_rows(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(words: list[str]) -> dict[str, float]:
    """Run a command; return its seconds, and the peak of memory of its largest process in MB."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):  # 1: some items could not be done
        raise SystemExit(f"exit code {code}: {' '.join(words)}")
    return {
        "seconds": time.perf_counter() - started,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 1024,
    }


def compare(folder: Path, jobs: Jobs, options: argparse.Namespace) -> None:
    """Run every job on every number of clips, and print one line a job."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for count in options.clips:
        for name, words in jobs(folder / str(count), count).items():
            if not options.only or name in options.only:
                found.setdefault(name, {})[count] = run(words)
                print(name, count, found[name][count], file=sys.stderr, flush=True)
    few, many = min(options.clips), max(options.clips)
    for name, rows in found.items():
        print(line(name, rows, few, many))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def line(name: str, rows: dict[int, dict[str, float]], few: int, many: int) -> str:
    """Describe a job: the two peaks, their ratio, and bytes of each clip more."""
    peaks = rows[few]["megabytes"], rows[many]["megabytes"]
    each = 1024 * (peaks[1] - peaks[0]) / max(1, many - few)
    return (
        f"{name}: peak {peaks[0]:.0f} MB at {few:,} clips, {peaks[1]:.0f} MB at {many:,}: "
        f"{peaks[1] / peaks[0]:.2f} times, {each:.1f} kB a clip; {rows[many]['processor_seconds']:.0f} CPU s"
    )
