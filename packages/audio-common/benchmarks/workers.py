"""Decoding in bulk: `decode_ahead` in the threads of one process, and in processes with limits.

    uv run --package audio-common python packages/audio-common/benchmarks/workers.py

Some hundred clips of 10 s, mono at 16 kHz and stereo at 44.1 kHz, are decoded to mono float32 at 16 kHz. The
two ways take turns, with as many threads as processes, which have started; their start, once a job, is
printed apart. Printed are, for every kind of file and for all together, the medians of the turns' time and of
their ratio; time is that of the clock, and that of all processors, which other load changes less. The row
`job` is what a command does: a few clips of every kind are decoded and encoded by CED-tiny (random weights).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from audio_common import (
    CED,
    BatchLimits,
    DecodeLimits,
    DecodePool,
    decode_ahead,
    pad_waveforms,
)

KINDS = {
    f"{suffix} {rate}": (suffix, subtype, rate)
    for suffix, subtype in (("wav", "PCM_16"), ("flac", "PCM_16"), ("mp3", "MPEG_LAYER_III"))
    for rate in (16_000, 44_100)
}
SECONDS = 10
JOB_CLIPS = 8

Times = tuple[float, float]
Row = dict[str, float]


def write_clips(folder: Path, number: int) -> dict[str, list[Path]]:
    """Tones and noise, a few different ones of each kind under many names."""
    generator = np.random.default_rng(0)
    paths: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for kind, (suffix, subtype, rate) in KINDS.items():
        moment = np.arange(SECONDS * rate) / rate
        for index in range(number):
            path = folder / f"{rate}_{index}.{suffix}"
            tone = 0.3 * np.sin(2 * np.pi * (200 + 30 * index + 50 * moment) * moment)
            noise = 0.02 * generator.standard_normal(len(moment))
            sound = tone + noise if rate == 16_000 else np.stack([tone + noise, 0.5 * tone - noise], 1)
            soundfile.write(path, sound, rate, subtype=subtype, format=suffix.upper())
            paths[kind].append(path)
    return paths


def cpu_seconds(processes: list[int]) -> float:
    """Return the processor time of this process and of running ones, so far."""
    ticks = 0
    for number in processes:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


@torch.inference_mode()
def decode(
    paths: list[Path], pool: DecodePool | None, num_workers: int, processes: list[int], encoder: CED | None
) -> Times:
    """Seconds by the clock and of the processors."""
    start, start_cpu = time.perf_counter(), cpu_seconds(processes)
    for _, waveforms in decode_ahead(paths, BatchLimits(), num_workers=num_workers, decode_limits=pool):
        if encoder is not None:
            encoder(*pad_waveforms(waveforms))
    return time.perf_counter() - start, cpu_seconds(processes) - start_cpu


def start_pool(num_workers: int) -> tuple[DecodePool, list[int]]:
    """Start all processes; return their numbers, too."""
    pool = DecodePool(DecodeLimits(), num_workers)
    workers = [pool._group.borrow() for _ in range(num_workers)]
    for worker in workers:
        pool._group.give_back(worker, is_ready=True)
    return pool, [worker._process.pid for worker in workers]


def measure(
    paths: list[Path],
    turns: int,
    num_workers: int,
    pool: DecodePool,
    processes: list[int],
    encoder: CED | None,
) -> Row:
    times: dict[str, list[Times]] = {"threads": [], "processes": []}
    for turn in range(turns + 1):
        for name, way in (("threads", None), ("processes", pool)):
            taken = decode(paths, way, num_workers, processes, encoder)
            if turn:  # the first one fills caches
                times[name].append(taken)
    row = {}
    for place, kind in enumerate(("clock", "cpu")):
        pairs = list(
            zip(*([taken[place] for taken in taken_all] for taken_all in times.values()), strict=True)
        )
        row[f"threads_{kind}"] = statistics.median(pair[0] for pair in pairs)
        row[f"processes_{kind}"] = statistics.median(pair[1] for pair in pairs)
        row[f"ratio_{kind}"] = statistics.median(pair[1] / pair[0] for pair in pairs)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=60, help="of clips of each kind")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--num_workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Row] = {}
    print(f"{'':<12}{'threads s':>11}{'processes s':>13}{'ratio':>8}{'CPU s':>11}{'CPU s':>13}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        paths = write_clips(Path(folder), arguments.number)
        sets = {"all": [path for kind in paths.values() for path in kind], **paths}
        sets["job"] = [path for kind in paths.values() for path in kind[:JOB_CLIPS]]
        encoder = CED.from_preset("ced-tiny").eval()
        start = time.perf_counter()
        pool, processes = start_pool(arguments.num_workers)
        started = time.perf_counter() - start, cpu_seconds(processes) - cpu_seconds([])
        for name, files in sets.items():
            model = encoder if name == "job" else None
            row = rows[name] = measure(files, arguments.turns, arguments.num_workers, pool, processes, model)
            print(
                f"{name:<12}{row['threads_clock']:11.2f}{row['processes_clock']:13.2f}{row['ratio_clock']:8.2f}"
                f"{row['threads_cpu']:11.2f}{row['processes_cpu']:13.2f}{row['ratio_cpu']:8.2f}",
                flush=True,
            )
        pool.close()
    print(f"start of {arguments.num_workers} processes: {started[0]:.2f} s, {started[1]:.2f} s of processors")
    if arguments.json:
        numbers = {"clips_of_each": arguments.number, "start_seconds": started, "rows": rows}
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
