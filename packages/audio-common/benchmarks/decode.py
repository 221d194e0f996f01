"""Decoding and resampling: `load_audio` beside soundfile + soxr in one go, torchaudio and librosa.

    uv run --package audio-common --group bench python packages/audio-common/benchmarks/decode.py

Each way makes mono float32 at 16 kHz from a 44.1 kHz stereo file (opus: 48 kHz) that is in the page cache.
The ways take turns on one thread. Printed is the median of the turns' CPU time in milliseconds, which other
load on the machine changes little, and its ratio to that of `load_audio`. torchaudio's own loader needs
torchcodec and a system FFmpeg, so its resampler follows soundfile; it is of lower quality than soxr's HQ,
which librosa uses too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from audio_common.audio import load_audio

FORMATS = {
    "wav": ("WAV", "PCM_16", 44_100),
    "flac": ("FLAC", "PCM_16", 44_100),
    "ogg": ("OGG", "VORBIS", 44_100),
    "mp3": ("MP3", "MPEG_LAYER_III", 44_100),
    "opus": ("OGG", "OPUS", 48_000),
}
RATE = 16_000
LONG, OFFSET, DURATION = 300, 200.0, 10.0

Way = Callable[[Path, float, float | None], object]


def write_sound(path: Path, format_: str, subtype: str, rate: int, seconds: int) -> None:
    """A rising tone, a steady one and noise; second by second, since libsndfile overflows on long vorbis."""
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate, 2, format=format_, subtype=subtype) as file:
        for second in range(seconds):
            moment = np.arange(rate) / rate
            left = 0.3 * np.sin(2 * np.pi * (200 + 20 * (second % 10) + 100 * moment) * moment)
            right = 0.2 * np.sin(2 * np.pi * 440 * moment)
            file.write(np.stack([left, right], 1) + 0.02 * generator.standard_normal((rate, 2)))


def with_audio_common(path: Path, offset: float, duration: float | None) -> object:
    return load_audio(path, offset=offset, duration=duration)


def read(path: Path, offset: float, duration: float | None) -> tuple[np.ndarray, int]:
    rate = soundfile.info(path).samplerate
    frames = -1 if duration is None else round(duration * rate)
    return soundfile.read(path, frames, round(offset * rate), dtype="float32", always_2d=True)


def with_soundfile(path: Path, offset: float, duration: float | None) -> object:
    samples, rate = read(path, offset, duration)
    return soxr.resample(samples.mean(axis=1), rate, RATE, quality="HQ")


def with_torchaudio(path: Path, offset: float, duration: float | None) -> object:
    import torchaudio

    samples, rate = read(path, offset, duration)
    return torchaudio.functional.resample(torch.from_numpy(samples.mean(axis=1)), rate, RATE)


def with_librosa(path: Path, offset: float, duration: float | None) -> object:
    import librosa

    return librosa.load(path, sr=RATE, mono=True, offset=offset, duration=duration)


def find_ways() -> dict[str, Way]:
    ways: dict[str, Way] = {"load_audio": with_audio_common, "soundfile + soxr": with_soundfile}
    for name, way in {"torchaudio": with_torchaudio, "librosa": with_librosa}.items():
        if find_spec(name) is None:
            print(f"{name} is not installed and left out")
        else:
            ways[name] = way
    return ways


def measure(
    ways: dict[str, Way], path: Path, offset: float, duration: float | None, turns: int
) -> dict[str, float]:
    """Median CPU milliseconds by way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            start = time.process_time()
            way(path, offset, duration)
            if turn:  # the first turn imports and fills caches
                times[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def print_row(title: str, medians: dict[str, float]) -> None:
    ours = medians["load_audio"]
    cells = (f"{value:9.1f} ({value / ours:4.1f}x)" for value in medians.values())
    print(f"{title:<26}" + " ".join(f"{cell:>18}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--turns", type=int, default=15, help="turns per file of 10 s; a fifth of it per file of 300 s"
    )
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways = find_ways()
    long_turns = max(1, arguments.turns // 5)
    rows: dict[str, dict[str, float]] = {}
    print(f"{'CPU ms (x load_audio)':<26}" + " ".join(f"{name:>18}" for name in ways))
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.formats:
            format_, subtype, rate = FORMATS[name]
            short, long = Path(folder, f"short.{name}"), Path(folder, f"long.{name}")
            write_sound(short, format_, subtype, rate, 10)
            write_sound(long, format_, subtype, rate, LONG)
            cases = {
                f"{name}, 10 s": (short, 0.0, None, arguments.turns),
                f"{name}, {LONG} s": (long, 0.0, None, long_turns),
                f"{name}, 10 s at 200 of {LONG} s": (long, OFFSET, DURATION, arguments.turns),
            }
            for title, (path, offset, duration, turns) in cases.items():
                rows[title] = measure(ways, path, offset, duration, turns)
                print_row(title, rows[title])
    if arguments.json:
        arguments.json.write_text(json.dumps({"unit": "CPU ms, median", "medians": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
