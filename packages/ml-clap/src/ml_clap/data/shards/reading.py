"""The sounds of shards, fetched in the order in which they lie there; only bytes, nothing is decoded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import IO, NamedTuple

from ml_clap.bulk.places import is_url, open_read
from ml_clap.data.shards.archive import TAR_ERRORS, Sample, iterate_samples

PAUSES = (1.0, 5.0)
"""Seconds before a remote shard that failed is tried again."""


class Place(NamedTuple):
    """Where a clip's sound is."""

    shard: str
    member: str
    offset: int
    """Bytes from the beginning of the tar, unpacked."""
    size: int
    is_compressed: bool


@dataclass(frozen=True)
class Fetched:
    """Sounds as they are stored, and why some are not there, by clip."""

    sounds: dict[int, bytes] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)


class _Cursor:
    """A compressed tar, open at one of its samples."""

    def __init__(self, shard: str) -> None:
        self.shard = shard
        self.passed = -1
        """Offset of the last sample that was read."""
        self._file: IO[bytes] = open_read(shard)
        self._samples: Iterator[Sample] = iterate_samples(self._file)

    def sound(self, place: Place) -> bytes:
        """Return the sound of a sample further on.

        Raises:
            EOFError: the tar has no such sample, or whatever its damage raises.
        """
        for sample in self._samples:
            self.passed = sample.offset
            if sample.offset == place.offset and sample.member == place.member:
                return sample.audio
            if sample.offset > place.offset:
                break
        raise EOFError(f"{place.member} is not there any more")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ShardReader:
    """Fetches the sounds of one stream of clips, shard after shard.

    What it returns of a clip depends on the clip alone, never on what was fetched before. A compressed tar
    stays open between calls, for the stream goes on in it.
    """

    def __init__(self) -> None:
        self._cursor: _Cursor | None = None

    def fetch(self, wanted: Sequence[tuple[int, Place]]) -> Fetched:
        """Fetch clips (number, place), best in the order of the stream."""
        fetched = Fetched()
        for shard, members in groupby(wanted, key=lambda item: item[1].shard):
            self._fetch_of(shard, list(members), fetched)
        return fetched

    def _fetch_of(self, shard: str, wanted: list[tuple[int, Place]], fetched: Fetched) -> None:
        # What a remote file system raises is of its client's own kinds.
        errors = (Exception,) if is_url(shard) else TAR_ERRORS
        for pause in (*PAUSES, None) if is_url(shard) else (None,):
            left = [item for item in wanted if item[0] not in fetched.sounds]
            try:
                if wanted[0][1].is_compressed:
                    self._unpack(shard, left, fetched)
                else:
                    _seek(shard, left, fetched)
                return
            except errors as e:
                self.close()
                if pause is None:
                    reason = str(e) or type(e).__name__
                    fetched.faults.update(
                        {clip: f"{shard}: {reason}" for clip, _ in left if clip not in fetched.sounds}
                    )
                else:
                    time.sleep(pause)

    def _unpack(self, shard: str, wanted: list[tuple[int, Place]], fetched: Fetched) -> None:
        for clip, place in wanted:
            cursor = self._cursor
            if cursor is None or cursor.shard != shard or cursor.passed >= place.offset:
                self.close()
                self._cursor = cursor = _Cursor(shard)
            fetched.sounds[clip] = cursor.sound(place)

    def close(self) -> None:
        """Close what is open."""
        if self._cursor is not None:
            self._cursor.close()
        self._cursor = None


def _seek(shard: str, wanted: list[tuple[int, Place]], fetched: Fetched) -> None:
    with open_read(shard) as file:
        for clip, place in wanted:
            file.seek(place.offset)
            sound = file.read(place.size)
            if len(sound) == place.size:
                fetched.sounds[clip] = sound
            else:
                fetched.faults[clip] = f"{shard} is cut off before the end of {place.member}"
