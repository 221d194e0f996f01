"""Sounds a second and processor time from shards, against a folder of files, in one run.

    python packages/ml-clap/benchmarks/streaming.py --clips 600 --json streaming.json

Noises of 2 to 10 seconds with a caption each, once as recordings are published (44.1 kHz, stereo, wav), once
as flac at 16 kHz, and packed into shards by `ml-clap prepare shards`. An epoch is read, decoded, cropped and
put into batches, as training does it; no model runs and nothing is kept between epochs. The sources take
turns, epoch by epoch, so that a busy machine slows all of them; the fastest epoch of each counts. The files
are in the system's cache: what a disk or a network adds is not in it, unless `--open_ms` says how long it
takes to open a file there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from audio_common.audio import load_audio
from ml_clap.config.shards import PrepareShardsConfig
from ml_clap.data import dataset
from ml_clap.data.enhancement import Sample, epoch_captions
from ml_clap.data.loader import CaptionLoader, make_loader, make_stream_loader
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.data.shards import reading
from ml_clap.data.shards.packing import prepare_shards
from ml_clap.data.sources import Sources, read_sources
from ml_clap.models.tokenizer import TextBatch, pad_tokens

BATCH = 32
SECONDS = (2.0, 10.0)


@dataclass(frozen=True)
class Row:
    """One source."""

    source: str
    megabytes: float
    num_files: int
    samples_per_second: float
    """Of the fastest epoch."""
    cpu_ms_per_sample: float
    """Processor time, which other programs hardly change."""
    first_batch_seconds: float
    """Until the first batch of an epoch."""


def make_files(folder: Path, count: int) -> tuple[Path, Path]:
    """Write the recordings and their copies in flac; return the two manifests."""
    generator = np.random.default_rng(0)
    clips = []
    for number, seconds in enumerate(generator.uniform(*SECONDS, count)):
        path = folder / "wav" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        noise = np.cumsum(generator.standard_normal((round(seconds * 44_100), 2)), axis=0)
        soundfile.write(path, 0.5 * noise / np.abs(noise).max(), 44_100)
        clips.append(Clip(f"{number}", path, {"eng_Latn": (f"noise {number}",)}, duration=float(seconds)))
    small = []
    for clip in clips:
        path = folder / "flac" / f"{clip.audio.stem}.flac"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, load_audio(clip.audio).numpy(), 16_000)
        small.append(replace(clip, audio=path))
    manifests = folder / "wav.jsonl", folder / "flac.jsonl"
    write_manifest(manifests[0], clips)
    write_manifest(manifests[1], small)
    return manifests


def tokenize(texts: Sequence[str], languages: Sequence[str]) -> TextBatch:
    """Bytes: the tokenizer is not what is measured."""
    return pad_tokens([list(text.encode()) for text in texts], 0)


def samples_of_epoch(clips: Sequence[Clip], epoch: int) -> list[Sample]:
    return epoch_captions(clips, epoch=epoch)


def loader_of(sources: Sources, num_workers: int) -> CaptionLoader:
    samples = partial(samples_of_epoch, sources.clips)
    if sources.places:
        return make_stream_loader(
            sources.clips,
            sources.places,
            samples,
            tokenize,
            batch_size=BATCH,
            streams=2,
            buffer=8 * BATCH,
            cache_gigabytes=0,
            num_workers=num_workers,
        )
    return make_loader(
        sources.clips, samples, tokenize, batch_size=BATCH, cache_gigabytes=0, num_workers=num_workers
    )


class Source:
    """A loader and what was measured of it."""

    def __init__(self, name: str, place: Path | str, files: Sequence[Path], num_workers: int) -> None:
        self.name, self.files = name, files
        self.loader = loader_of(read_sources([Path(place)], ()), num_workers)
        self.speeds: list[float] = []
        self.cpu: list[float] = []
        self.first: list[float] = []

    def run_epoch(self, epoch: int, measured: bool) -> None:
        self.loader.set_epoch(epoch)
        began, cpu_began, count, first = time.perf_counter(), time.process_time(), 0, None
        for batch in self.loader:
            first = first or time.perf_counter() - began
            count += len(batch)
        if measured:
            self.speeds.append(count / (time.perf_counter() - began))
            self.cpu.append(1000 * (time.process_time() - cpu_began) / count)
            self.first.append(first or 0.0)

    def row(self) -> Row:
        megabytes = sum(path.stat().st_size for path in self.files) / 1e6
        return Row(self.name, megabytes, len(self.files), max(self.speeds), min(self.cpu), min(self.first))


def make_sources(folder: Path, arguments: argparse.Namespace) -> list[Source]:
    recordings, small = make_files(folder, arguments.clips)
    workers = arguments.num_workers
    sources = [
        Source("wav files, 44.1 kHz stereo", recordings, sorted((folder / "wav").iterdir()), workers),
        Source("flac files, 16 kHz", small, sorted((folder / "flac").iterdir()), workers),
    ]
    for name, out, compress, as_url in (
        ("shards (.tar)", "tar", False, False),
        ("shards (.tar) by fsspec", "tar", False, True),
        ("shards (.tar.gz)", "gz", True, False),
    ):
        settings = PrepareShardsConfig(
            source=recordings, out=folder / out, max_samples=arguments.clips // 6, compress=compress
        )
        prepare_shards(settings)
        shards = [path for path in sorted((folder / out).iterdir()) if path.name.endswith((".tar", ".gz"))]
        sources.append(Source(name, f"file://{folder / out}" if as_url else folder / out, shards, workers))
    return sources


def slow_down(seconds: float) -> None:
    """Let every file take so long to open."""

    def slowly(function: Callable[..., Any]) -> Callable[..., Any]:
        def opened(*arguments: Any, **named: Any) -> Any:
            time.sleep(seconds)
            return function(*arguments, **named)

        return opened

    dataset.load_audio = slowly(dataset.load_audio)
    reading.open_read = slowly(reading.open_read)


def print_rows(rows: Sequence[Row]) -> None:
    """A table in Markdown; ratios are to the files as they are published."""
    print("| source | MB | files | sounds/s | x | CPU ms a sound | x | first batch s |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        speed = row.samples_per_second / rows[0].samples_per_second
        cpu = rows[0].cpu_ms_per_sample / row.cpu_ms_per_sample
        print(
            f"| {row.source} | {row.megabytes:.0f} | {row.num_files} | {row.samples_per_second:.0f} | "
            f"{speed:.1f} | {row.cpu_ms_per_sample:.2f} | {cpu:.1f} | {row.first_batch_seconds:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--num_workers", type=int, default=0, help="processor time is then the parent's alone"
    )
    parser.add_argument("--open_ms", type=float, default=0.0, help="what a network adds to opening a file")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sources = make_sources(Path(name), arguments)
        if arguments.open_ms:
            slow_down(arguments.open_ms / 1000)
        for epoch in range(arguments.epochs + 1):  # the first one warms up
            for source in sources:
                source.run_epoch(epoch, measured=epoch > 0)
        rows = [source.row() for source in sources]
    print_rows(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
