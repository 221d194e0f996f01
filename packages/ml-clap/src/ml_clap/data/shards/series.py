"""The shards of one split, made one after the other.

A shard appears whole, and after it its index, which says what it was made of: a job that was killed goes on
after the last shard that has one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from audio_common.workers import DecodePool

from ml_clap.bulk.places import exists, join, put
from ml_clap.config.shards import PrepareShardsConfig
from ml_clap.data.manifest import Clip, ManifestError
from ml_clap.data.shards.index import ENDING, index_shard, read_index, write_index
from ml_clap.data.shards.packed_clip import PackedClip, members_of, pack_clip, tar_writer
from ml_clap.data.shards.places import temporary_file
from ml_clap.data.shards.report import Shard, Skipped
from ml_clap.files import to_json


@dataclass(frozen=True)
class Made:
    """A shard that is there, and what became of the clips that it was made of."""

    shard: Shard
    skipped: list[Skipped]
    clipped: int
    """Sounds that were cut off at full scale."""
    last: int
    """Clips of the split that are done with it, from the first one on."""


def _begin_name(config: PrepareShardsConfig, split: str | None) -> str:
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


class Series:
    """The shards of one split, made one after the other.

    Args:
        config: how they are made.
        out: their folder or URL.
        split: the split's name; None for clips without one.
        clips: its clips, in the order of packing.
        pool: decodes them.
        tell: called with the number of clips done.
    """

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
        self.name = _begin_name(config, split)
        self.digest = _digest(config, clips)

    def shards(self) -> Iterator[Made]:
        """Give each shard: those of earlier calls, then those that are made now."""
        number, first = 0, 0
        while first < len(self.clips) and (kept := self._kept(number, first)):
            yield kept
            number, first = number + 1, kept.last
            self.tell(first)
        packed = self._packed(first)
        while first < len(self.clips):
            made = self._make(number, first, packed)
            yield made
            number, first = number + 1, made.last

    def _shard_name(self, number: int) -> str:
        ending = ".tar.gz" if self.config.compress else ".tar"
        return join(self.out, f"{self.name}{number:06d}{ending}")

    def _kept(self, number: int, first: int) -> Made | None:
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
        return Made(told, skipped, source["clipped"], source["last"])

    def _make(self, number: int, first: int, packed: Iterator[PackedClip]) -> Made:
        name = self._shard_name(number)
        with temporary_file(self.out) as local:
            count, skipped, clipped, last = self._fill(local, first, packed)
            source = {"digest": self.digest, "first": first, "last": last, "clipped": clipped}
            source["skipped"] = [{"id": each.id, "reason": each.reason} for each in skipped]
            index = index_shard(name, source=source, local=local)  # what is written must be readable
            if index.faults or len(index.entries) != count:
                raise ManifestError(f"{name} cannot be read back: {index.faults[:1]}")
            put(local, name)
        write_index(index)
        return Made(Shard(Path(name).name, count, index.num_bytes, index.seconds), skipped, clipped, last)

    def _fill(
        self, local: Path, first: int, packed: Iterator[PackedClip]
    ) -> tuple[int, list[Skipped], int, int]:
        """Write a tar; return its samples, what it leaves out, the sounds cut off, and the clips done."""
        skipped: list[Skipped] = []
        last, count, clipped = first, 0, 0
        with local.open("wb") as file, tar_writer(file, self.config.compress) as tar:
            for item in packed:
                last += 1
                self.tell(last)
                if item.fault is not None:
                    skipped.append(Skipped(item.clip.id, item.fault))
                    continue
                tar.write(members_of(item, last - 1, self.config))
                count, clipped = count + 1, clipped + item.is_clipped
                if count == self.config.max_samples or file.tell() >= self.config.max_megabytes * 10**6:
                    break
        return count, skipped, clipped, last

    def _packed(self, first: int) -> Iterator[PackedClip]:
        """Give the clips from `first` on, decoded ahead by threads, in order."""
        waiting: deque[Future[PackedClip]] = deque()
        with ThreadPoolExecutor(self.config.num_workers) as threads:
            for clip in self.clips[first:]:
                waiting.append(threads.submit(pack_clip, clip, self.config, self.pool))
                if len(waiting) > 2 * self.config.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
