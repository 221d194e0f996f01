"""`ml-clap prepare shards MANIFEST --out FOLDER_OR_URL`: a manifest to WebDataset shards and their indexes.

No sound is cropped, whatever its length. One that cannot be decoded is named and left out. A shard appears
whole, and after it its index; the same command goes on after the last shard that has one. What it makes
follows from the manifest and the settings: a job that was killed makes the same bytes.
"""

from __future__ import annotations

import gzip
import os
import struct
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from tempfile import gettempdir
from typing import Any, BinaryIO

import numpy as np
from audio_common.audio import AudioError
from audio_common.workers import DecodeLimits, DecodePool

from ml_clap.bulk.places import exists, is_url, join, put, written
from ml_clap.config.shards import PrepareShardsConfig
from ml_clap.data.manifest import KEYS, BadRow, Clip, ManifestError, read_manifest
from ml_clap.data.shards.index import ENDING, index_shard, read_index, write_index
from ml_clap.files import TEMPORARY, remove_leftovers, to_json, write_json
from ml_clap.lock import hold_outputs, sole_writer
from ml_clap.output import printable
from ml_clap.tables import count_of, print_table, show_progress, tables_beside_json

SAMPLE_RATE = 16_000
"""Hz, of every model here."""
TOTALS_FILE = "shards.json"
"""Totals of a folder of shards; written last."""
SHOWN = 5


@dataclass(frozen=True)
class Shard:
    """A shard that was made."""

    name: str
    samples: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """A clip that is in no shard, or a line of the manifest that is no clip."""

    id: str
    reason: str


@dataclass(frozen=True)
class ShardsReport:
    """What was packed, and what was not."""

    out: str
    shards: tuple[Shard, ...]
    skipped: tuple[Skipped, ...]
    clipped: int = 0
    """Sounds beyond full scale, which the reference's layout cuts off."""

    @property
    def samples(self) -> int:
        """Sounds in all shards."""
        return sum(shard.samples for shard in self.shards)


@dataclass(frozen=True)
class _Packed:
    """A clip as it goes into a tar, or why it does not."""

    clip: Clip
    audio: bytes = b""
    ending: str = ""
    seconds: float = 0.0
    is_clipped: bool = False
    fault: str | None = None


def prepare_shards(config: PrepareShardsConfig) -> ShardsReport:
    """Pack a manifest; what an earlier call has finished is kept.

    Raises:
        ManifestError: the manifest has no usable clip, or `out` holds shards of something else.
        OSError: `out` cannot be written.
    """
    assert config.out is not None, "checked by PrepareShardsConfig"
    out = written(config.out)
    bad_rows: list[BadRow] = []
    clips = read_manifest(config.source, language=config.language, bad_rows=bad_rows)
    shards: list[Shard] = []
    skipped = [Skipped(row.where, row.message) for row in bad_rows]
    clipped = 0
    with ExitStack() as stack:
        pool = stack.enter_context(
            DecodePool(DecodeLimits(config.decode_seconds, config.decode_megabytes), config.num_workers)
        )
        progress = stack.enter_context(show_progress("Packing sounds"))
        all_series = _series(clips, config)
        total, before = sum(map(len, all_series.values())), 0
        for split, members in all_series.items():
            tell = partial(_tell, progress, before, total)
            for shard, left_out, cut, _ in _Series(config, out, split, members, pool, tell).shards():
                shards += [shard] if shard.samples else []
                skipped += left_out
                clipped += cut
            before += len(members)
    if not shards:
        raise ManifestError(f"{config.source}: not one sound can be packed; the first: {skipped[0].reason}")
    report = ShardsReport(out, tuple(shards), tuple(skipped), clipped)
    _write_totals(report)
    return report


def _tell(progress: Callable[[float, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


def prepare_shards_verb(config: PrepareShardsConfig) -> int:
    """Pack, print what was made, and return 1 if something had to be left out."""
    assert config.out is not None
    with ExitStack() as held:
        held.enter_context(hold_outputs(config.json))
        if not is_url(config.out):
            held.enter_context(sole_writer(config.out, folder=True))
            remove_leftovers(config.out)
        report = prepare_shards(config)
    if config.json is not None:
        write_json(config.json, report)
    with tables_beside_json(config.json):
        print_shards(report)
    return int(bool(report.skipped))


def print_shards(report: ShardsReport) -> None:
    """Print how much there is, and some of what was left out."""
    rows = [
        ["shards", f"{len(report.shards):,}"],
        ["sounds", f"{report.samples:,}"],
        ["hours", f"{sum(shard.seconds for shard in report.shards) / 3600:.2f}"],
        ["megabytes", f"{sum(shard.bytes for shard in report.shards) / 1e6:,.1f}"],
        ["left out", f"{len(report.skipped):,}"],
    ]
    print_table(report.out, ["", "number"], rows)
    for skipped in report.skipped[:SHOWN]:
        print(printable(f"left out: {skipped.id}: {skipped.reason}"))
    if len(report.skipped) > SHOWN:
        print(f"left out: {len(report.skipped) - SHOWN:,} more in {TOTALS_FILE}")
    if report.clipped:
        sounds = count_of(report.clipped, "sound")
        print(f"{sounds} beyond full scale cut off at it (--layout ours keeps them as they are)")


def _write_totals(report: ShardsReport) -> None:
    totals = {
        "samples": report.samples,
        "seconds": sum(shard.seconds for shard in report.shards),
        "bytes": sum(shard.bytes for shard in report.shards),
        "clipped": report.clipped,
        "shards": report.shards,
        "skipped": report.skipped,
    }
    if not is_url(report.out):
        write_json(Path(report.out) / TOTALS_FILE, totals)
        return
    with _temporary(report.out) as local:
        local.write_bytes(to_json(totals, indent=2) + b"\n")
        put(local, join(report.out, TOTALS_FILE))


def _series(clips: Sequence[Clip], config: PrepareShardsConfig) -> dict[str | None, list[Clip]]:
    """Return split -> its clips, in the order of packing."""
    found: dict[str | None, list[Clip]] = {}
    for clip in clips:
        found.setdefault(clip.split, []).append(clip)
    missing = [split for split in config.splits if split not in found]
    if missing:
        there = ", ".join(sorted(split or "(none)" for split in found))
        raise ManifestError(f"{config.source}: no clip is of {missing}; there are {there}")
    chosen = {split: found[split] for split in found if not config.splits or split in config.splits}
    if config.shuffle:
        for number, members in enumerate(chosen.values()):
            order = np.random.default_rng((config.seed, number)).permutation(len(members))
            members[:] = [members[place] for place in order]
    return chosen


class _Series:
    """The shards of one split, made one after the other."""

    def __init__(
        self,
        config: PrepareShardsConfig,
        out: str,
        split: str | None,
        clips: Sequence[Clip],
        pool: DecodePool,
        tell: Callable[[int], None],
    ) -> None:
        self.config = config
        self.out = out
        self.clips = clips
        self.pool = pool
        self.tell = tell
        self.name = _series_name(config, split)
        self.digest = _digest(config, clips)

    def shards(self) -> Iterator[tuple[Shard, list[Skipped], int, int]]:
        """Give each shard, what it leaves out, how many sounds it cuts off, and the clips done so far."""
        number, first = 0, 0
        while first < len(self.clips) and (kept := self._kept(number, first)):
            yield kept
            number, first = number + 1, kept[3]
            self.tell(first)
        packed = self._packed(first)
        while first < len(self.clips):
            made = self._make(number, first, packed)
            yield made
            number, first = number + 1, made[3]

    def _shard_name(self, number: int) -> str:
        ending = ".tar.gz" if self.config.compress else ".tar"
        return join(self.out, f"{self.name}{number:06d}{ending}")

    def _kept(self, number: int, first: int) -> tuple[Shard, list[Skipped], int, int] | None:
        """Return a shard that is there with its index; None where it has to be made."""
        shard = self._shard_name(number)
        if not exists(shard + ENDING) or not exists(shard):
            return None
        index = read_index(shard)
        source = index.source or {}
        if source.get("digest") != self.digest or source.get("first") != first:
            raise ManifestError(
                f"{shard} is of another manifest or of other settings; choose another --out, or remove it"
            )
        skipped = [Skipped(**item) for item in source["skipped"]]
        told = Shard(Path(shard).name, len(index.entries), index.num_bytes, index.seconds)
        return told, skipped, source["clipped"], source["last"]

    def _make(
        self, number: int, first: int, packed: Iterator[_Packed]
    ) -> tuple[Shard, list[Skipped], int, int]:
        shard = self._shard_name(number)
        skipped: list[Skipped] = []
        last, count, clipped = first, 0, 0
        with _temporary(self.out) as local:
            with local.open("wb") as file, _tar_writer(file, self.config.compress) as tar:
                for item in packed:
                    last += 1
                    self.tell(last)
                    if item.fault is not None:
                        skipped.append(Skipped(item.clip.id, item.fault))
                        continue
                    tar.write(_members(item, last - 1, self.config))
                    count, clipped = count + 1, clipped + item.is_clipped
                    if count == self.config.max_samples or file.tell() >= self.config.max_megabytes * 10**6:
                        break
            source = {"digest": self.digest, "first": first, "last": last, "clipped": clipped}
            source["skipped"] = [{"id": each.id, "reason": each.reason} for each in skipped]
            index = index_shard(shard, source=source, local=local)  # what is written must be readable
            if index.faults or len(index.entries) != count:
                raise ManifestError(f"{shard} cannot be read back: {index.faults[:1]}")
            put(local, shard)
        write_index(index)
        return Shard(Path(shard).name, count, index.num_bytes, index.seconds), skipped, clipped, last

    def _packed(self, first: int) -> Iterator[_Packed]:
        """Give the clips from `first` on, decoded ahead by threads, in order."""
        waiting: deque[Future[_Packed]] = deque()
        with ThreadPoolExecutor(self.config.num_workers) as threads:
            for clip in self.clips[first:]:
                waiting.append(threads.submit(_pack, clip, self.config, self.pool))
                if len(waiting) > 2 * self.config.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def _series_name(config: PrepareShardsConfig, split: str | None) -> str:
    """Return what the names of a split's shards begin with."""
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in split or "")
    if config.layout == "reference":
        return f"{config.source.stem}_{plain}_" if split else f"{config.source.stem}_"
    return f"{plain or 'clips'}-"


def _digest(config: PrepareShardsConfig, clips: Sequence[Clip]) -> str:
    """Return what tells the shards of these clips and settings from others."""
    names = ("layout", "compress", "audio", "max_samples", "max_megabytes", "channel")
    digest = blake2b(to_json({name: getattr(config, name) for name in names}), digest_size=16)
    for clip in clips:
        digest.update(to_json(clip))
    return digest.hexdigest()


def _pack(clip: Clip, config: PrepareShardsConfig, pool: DecodePool) -> _Packed:
    """Decode a clip whole; its bytes for the tar."""
    import soundfile

    try:
        waveform = pool.load_audio(clip.audio, sample_rate=SAMPLE_RATE, channel=config.channel).numpy()
        if config.audio == "original":
            ending = clip.audio.suffix.lower().removeprefix(".")
            return _Packed(clip, clip.audio.read_bytes(), ending, len(waveform) / SAMPLE_RATE)
        seconds = len(waveform) / SAMPLE_RATE
        is_loud = bool(np.abs(waveform).max() > 1.0)
        if is_loud and config.layout == "ours":
            # Flac has whole numbers only: what is beyond full scale would be cut off at it.
            return _Packed(clip, _float_wav(waveform), "wav", seconds)
        buffer = BytesIO()
        soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    except (AudioError, OSError, soundfile.LibsndfileError) as e:
        return _Packed(clip, fault=str(e))
    return _Packed(clip, buffer.getvalue(), "flac", seconds, is_loud)


def _float_wav(waveform: np.ndarray) -> bytes:
    """Return a wav file of floats; libsndfile's has the time of writing in it, and no two are equal."""
    data = waveform.astype("<f4").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, SAMPLE_RATE, 4 * SAMPLE_RATE, 4, 32)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE")
        + form
        + struct.pack("<4sI", b"data", len(data))
        + data
    )


def _members(item: _Packed, number: int, config: PrepareShardsConfig) -> dict[str, Any]:
    """Return a sample as WebDataset's TarWriter takes it."""
    clip = item.clip
    captions = {language: list(texts) for language, texts in clip.captions.items()}
    if config.layout == "reference":
        # The authors draw the uuid; here it follows from the clip, so that a job can go on after a kill.
        name = clip.audio.stem.replace(".", "-")
        key = f"{name}_{uuid.uuid5(uuid.NAMESPACE_URL, f'{number}/{clip.id}')}"
        return {"__key__": key, "flac": item.audio, "json": to_json({"captions": captions})}
    told = {
        "id": clip.id,
        "captions": captions,
        "split": clip.split,
        "licence": clip.licence,
        "duration": item.seconds,
        "label": clip.label,
    }
    row = {key: value for key, value in told.items() if value is not None}
    row |= {key: value for key, value in clip.extra.items() if key not in KEYS}
    return {"__key__": f"{number:08d}", item.ending: item.audio, "json": to_json(row)}


@contextmanager
def _tar_writer(file: BinaryIO, compress: bool) -> Iterator[Any]:
    from webdataset import TarWriter

    # mtime, and gzip's own: a job that was killed makes the same bytes again. encoder: our bytes as they are.
    settings: dict[str, Any] = {"encoder": False, "compress": False, "mtime": 0.0, "format": "PAX_FORMAT"}
    if not compress:
        with TarWriter(file, **settings) as tar:
            yield tar
        return
    packed = gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0, compresslevel=1)  # flac is dense
    with packed, TarWriter(packed, **settings) as tar:
        yield tar


@contextmanager
def _temporary(out: str) -> Iterator[Path]:
    """Give the name of a local file that is removed unless it was moved away; in `out` if that is local."""
    folder = Path(gettempdir() if is_url(out) else out)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".shard.{os.getpid()}{TEMPORARY}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
