"""Whether a sound has the same samples however it is read: the table of `docs/audio-formats.md`.

    uv run --package audio-common --extra av python packages/audio-common/benchmarks/formats.py

Reads each file of `tests/encoded` (made by sox, ffmpeg, lame, opus-tools, vorbis-tools and flac), those that
libsndfile writes here, and damaged ones. What is compared with the whole file, read by its path: its bytes, a
file object that stood elsewhere, a pipe; segments, each by path, bytes and file object; the stream of blocks;
the same without PyAV; the length that is told. Prints one line of a table for each file.
`tests/test_audio_formats.py` asks the same of every file.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from audio_common.audio import AudioError, audio_info, load_audio, measure_audio, stream_audio
from torch import Tensor

ENCODED = Path(__file__).parents[1] / "tests" / "encoded"
SUFFIXES = (".mp3", ".mp2", ".ogg", ".opus", ".flac", ".wav", ".w64", ".caf", ".au", ".aiff", ".m4a", ".aac")
SUFFIXES += (".webm", ".mkv", ".wma")
WRITTEN = {
    "libsndfile.wav": ("WAV", "PCM_16", 16_000),
    "libsndfile-24.wav": ("WAV", "PCM_24", 44_100),
    "libsndfile-float.wav": ("WAV", "FLOAT", 22_050),
    "libsndfile-gsm.wav": ("WAV", "GSM610", 8_000),
    "libsndfile-rf64.wav": ("RF64", "PCM_16", 48_000),
    "libsndfile.w64": ("W64", "PCM_24", 16_000),
    "libsndfile.aiff": ("AIFF", "PCM_24", 16_000),
    "libsndfile.caf": ("CAF", "PCM_16", 16_000),
    "libsndfile-alaw.au": ("AU", "ALAW", 8_000),
    "libsndfile.flac": ("FLAC", "PCM_24", 44_100),
    "libsndfile.ogg": ("OGG", "VORBIS", 44_100),
    "libsndfile.opus": ("OGG", "OPUS", 48_000),
    "libsndfile.mp3": ("MP3", "MPEG_LAYER_III", 44_100),
    "libsndfile-8k.mp3": ("MP3", "MPEG_LAYER_III", 8_000),
}
"""Name -> format, kind of samples, rate."""
TOLERANCES = {"mp3": 1e-6, "matroska/opus": 1e-3, "mov/aac": 0.05}
"""Of segments, by the beginning of the format (aac: bands that are left to random numbers); others: none."""
SEGMENTS = 6


@dataclass(frozen=True)
class Outcome:
    """What comparing the ways of reading one file gave."""

    format: str
    num_samples: int
    is_exact: bool
    """Whether the header's length is."""
    faults: tuple[str, ...]
    """Ways that gave something else, in words."""
    needs_av: bool
    """Whether it is an error without PyAV."""


def encode(sound: np.ndarray, format_: str, subtype: str, rate: int) -> bytes:
    """Encode a sound `(samples, channels)` by libsndfile."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, sound.shape[1], format=format_, subtype=subtype) as out:
        for start in range(0, len(sound), 1 << 15):  # libsndfile overflows its stack on long writes of vorbis
            out.write(sound[start : start + (1 << 15)])
    return file.getvalue()


def rising_tone(seconds: float, rate: int, num_channels: int = 1) -> np.ndarray:
    """A tone that rises, with noise, so that no stretch resembles another; (samples, channels) float32."""
    time = np.arange(round(seconds * rate)) / rate
    noise = 0.02 * np.random.default_rng(0).standard_normal((len(time), num_channels))
    tones = [np.sin(2 * np.pi * (200 + 30 * channel + 50 * time) * time) for channel in range(num_channels)]
    return (0.3 * np.stack(tones, axis=1) + noise).astype(np.float32)


def write_sounds(folder: Path, seconds: float = 3.0) -> list[Path]:
    """Write rising tones by libsndfile, and damaged copies of some."""
    paths = []
    for name, (format_, subtype, rate) in WRITTEN.items():
        (folder / name).write_bytes(encode(rising_tone(seconds, rate), format_, subtype, rate))
        paths.append(folder / name)
    return paths + [path for name in DAMAGED for path in _damaged_copies(folder, name)]


DAMAGED = ("libsndfile.flac", "libsndfile.ogg", "libsndfile.opus", "libsndfile.mp3", "libsndfile.wav")


def _damaged_copies(folder: Path, name: str) -> Iterator[Path]:
    content = (folder / name).read_bytes()
    middle, length = len(content) // 2, min(8000, len(content) // 4)
    stem, suffix = name.rsplit(".", 1)
    for kind, changed in {
        "zeros in it": content[:middle] + bytes(length) + content[middle + length :],
        "a hole in it": content[:middle] + content[middle + length :],
        "cut off": content[: middle + 7],
    }.items():
        path = folder / f"{stem}, {kind}.{suffix}"
        path.write_bytes(changed)
        yield path


def compare(path: Path, seed: int = 0) -> Outcome:
    """Read a file in every way, and compare."""
    whole_info = audio_info(path)
    rate = whole_info.sample_rate
    whole = load_audio(path, sample_rate=rate)
    faults = [f"whole by {way}: {fault}" for way, fault in _whole_faults(path, rate, whole)]
    tolerance = next((value for kind, value in TOLERANCES.items() if whole_info.format.startswith(kind)), 0.0)
    faults += [f"part by {fault}" for fault in _part_faults(path, rate, whole, tolerance, seed)]
    streamed = torch.cat(list(stream_audio(path, sample_rate=rate, block_seconds=0.1)))
    faults += [] if torch.equal(streamed, whole) else ["streamed"]
    measured = measure_audio(path)
    if measured.num_frames != len(whole) or not measured.is_exact:
        faults.append(f"measured: {measured.num_frames} of {len(whole)} samples")
    if whole_info.is_exact and whole_info.num_frames != len(whole):
        faults.append(f"declared as exact: {whole_info.num_frames} of {len(whole)} samples")
    needs_av = False
    with without_av():
        try:
            faults += [] if torch.equal(load_audio(path, sample_rate=rate), whole) else ["without PyAV"]
        except AudioError as error:
            needs_av = True
            faults += [] if "install PyAV" in str(error) else [f"without PyAV: {error}"]
    return Outcome(whole_info.format, len(whole), whole_info.is_exact, tuple(faults), needs_av)


def _whole_faults(path: Path, rate: int, whole: Tensor) -> Iterator[tuple[str, str]]:
    content = path.read_bytes()
    moved = io.BytesIO(content)
    moved.seek(len(content) // 3)
    with path.open("rb") as file, _pipe(content) as pipe:
        file.seek(100)
        for way, source in {"bytes": content, "file": file, "BytesIO": moved, "pipe": pipe}.items():
            samples = load_audio(source, sample_rate=rate)
            if not torch.equal(samples, whole):
                yield way, f"{len(samples)} of {len(whole)} samples"


def _part_faults(path: Path, rate: int, whole: Tensor, tolerance: float, seed: int) -> Iterator[str]:
    generator = np.random.default_rng(seed)
    content = path.read_bytes()
    starts = [0, 1, max(0, len(whole) - 50), *generator.integers(0, len(whole), SEGMENTS)]
    for start in map(int, starts):
        expected = whole[start : start + rate // 5]
        with path.open("rb") as file:
            for way, source in {"path": path, "bytes": content, "file": file}.items():
                part = load_audio(source, sample_rate=rate, offset=start / rate, duration=0.2)
                if len(part) != len(expected):
                    yield f"{way} from {start}: {len(part)} of {len(expected)} samples"
                elif (difference := (part - expected).abs().max().item()) > tolerance:
                    yield f"{way} from {start}: differs by {difference:.1e}"


@contextmanager
def _pipe(content: bytes) -> Iterator[io.BufferedReader]:
    read, write = os.pipe()

    def fill() -> None:
        with os.fdopen(write, "wb") as file:
            file.write(content)

    writer = threading.Thread(target=fill)
    writer.start()
    with os.fdopen(read, "rb") as file:
        yield file
    writer.join()


@contextmanager
def without_av() -> Iterator[None]:
    """As if PyAV were not installed."""
    loaded = sys.modules.get("av")
    sys.modules["av"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if loaded is None:
            del sys.modules["av"]
        else:
            sys.modules["av"] = loaded


def table_line(path: Path, outcome: Outcome) -> str:
    """One line of the table."""
    length = "exact" if outcome.is_exact else "estimated or none"
    without = "error that names the extra" if outcome.needs_av else "equal"
    ways = "equal" if not outcome.faults else "; ".join(outcome.faults)
    return f"| {path.name} | {outcome.format} | {outcome.num_samples} | {length} | {ways} | {without} |"


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    print("| file | format | samples | header's length | all ways of reading | without PyAV |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        encoded = sorted(path for path in ENCODED.iterdir() if path.suffix in SUFFIXES)
        for path in [*encoded, *write_sounds(Path(folder))]:
            print(table_line(path, compare(path)))


if __name__ == "__main__":
    main()
