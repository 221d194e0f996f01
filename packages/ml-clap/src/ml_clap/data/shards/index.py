"""The index of a shard, `NAME.index.jsonl` beside it: what is in the tar, known without reading it.

Its first line is about the shard (samples, bytes, seconds, what is wrong with it); each further line is a
sample as a line of a manifest, whose `audio` is the member's name, with the `offset` and `size` of its
bytes. Captions and lengths are there, so that epochs are planned, and languages drawn, before any sound
is read; in a tar that is not compressed a sound is found at once.

A shard of others, such as the reference's, is indexed when it is first met: its tar is read once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

from audio_common.audio import AudioError, audio_info
from audio_common.strict_json import JSONError, json_lines, parse_json

from ml_clap.bulk.places import exists, is_url, open_read, put, read_all, size_of
from ml_clap.data.manifest import KEYS, Clip, ManifestError, clip_of
from ml_clap.data.shards.archive import MAX_MEMBER, TAR_ERRORS, Sample, is_compressed, iterate_samples
from ml_clap.files import to_json, write_atomically

logger = logging.getLogger(__name__)

ENDING = ".index.jsonl"
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """A sample of a shard."""

    clip: Clip
    """Its `audio` is the shard's name with the member's."""
    member: str
    offset: int
    """Where its sound begins in the tar, unpacked; bytes."""
    size: int


@dataclass(frozen=True)
class ShardIndex:
    """What is in a shard."""

    shard: str
    """Its name or URL."""
    num_bytes: int
    is_compressed: bool
    entries: tuple[Entry, ...]
    """In the order of the tar."""
    faults: tuple[tuple[str, str], ...] = ()
    """(key, reason) of samples that cannot be used; the key is empty for the tar itself."""
    source: dict[str, Any] | None = None
    """What `prepare shards` noted of its making."""

    @property
    def seconds(self) -> float:
        """Seconds of all sounds."""
        return sum(entry.clip.duration or 0.0 for entry in self.entries)


def index_shard(
    shard: str, *, language: str = "eng_Latn", source: dict[str, Any] | None = None, local: Path | None = None
) -> ShardIndex:
    """Read a tar once, from its beginning, and say what is in it; what is damaged becomes a fault.

    Args:
        shard: its name or URL.
        language: language of captions that are not named by language.
        source: see `ShardIndex`.
        local: where it is now, if it is not in its place yet.

    Raises:
        OSError: it is not there or may not be read.
    """
    entries: list[Entry] = []
    faults: list[tuple[str, str]] = []
    place = shard if local is None else str(local)
    with open_read(place) as file:
        compressed = is_compressed(file)
        try:
            for sample in iterate_samples(file):
                try:
                    entries.append(_entry(shard, sample, language))
                except (ManifestError, JSONError, AudioError) as e:
                    faults.append((sample.key, str(e)))
        except TAR_ERRORS as e:
            last = f" after {entries[-1].member}" if entries else ""
            faults.append(("", f"{shard} is damaged{last}: {str(e) or type(e).__name__}"))
    return ShardIndex(shard, size_of(place), compressed, tuple(entries), tuple(faults), source)


def _entry(shard: str, sample: Sample, language: str) -> Entry:
    where = f"{shard}: {sample.key}"
    if sample.fault is not None:
        raise ManifestError(f"{where}: {sample.fault}")
    if sample.json is None:
        raise ManifestError(f"{where}: no {sample.key}.json with captions")
    told = parse_json(sample.json, f"{where}.json")
    if not isinstance(told, dict):
        raise ManifestError(f"{where}.json: expected an object with captions")
    info = audio_info(BytesIO(sample.audio))
    row: dict[str, Any] = {"id": sample.key} | told | {"audio": sample.member}
    # What a header says of the length may be wrong; what the packer measured is not.
    row["duration"] = told.get("duration") or info.duration
    return _entry_of(row, shard, sample.key, language, sample.offset, len(sample.audio))


def _entry_of(
    row: dict[str, Any], shard: str, where: str | int, language: str, offset: int, size: int
) -> Entry:
    try:
        clip = clip_of(row, Path("shard"), 0, language)
    except ManifestError as e:
        raise ManifestError(f"{shard}: {where}: {str(e).removeprefix('shard:0: ')}") from e
    return Entry(replace(clip, audio=Path(shard) / row["audio"]), row["audio"], offset, size)


def read_index(
    shard: str,
    *,
    language: str = "eng_Latn",
    spare: Path | None = None,
    tell: Callable[[str], object] | None = None,
) -> ShardIndex:
    """Return the index of a shard: that beside it, or one made now and kept beside it.

    Args:
        shard: name or URL of the tar.
        language: language of captions that are not named by language.
        spare: folder for the index where nothing may be written beside the shard.
        tell: called with the shard's name where it has to be read.

    Raises:
        ManifestError: the index is none, or the shard has changed since it was made.
        OSError: the shard is not there or may not be read.
    """
    places = [shard + ENDING, *([str(_spare_place(spare, shard))] if spare else [])]
    for place in places:
        if exists(place):
            return _parse(place, shard, language)
    if tell is not None:
        tell(shard)
    index = index_shard(shard, language=language)
    for place in places:
        try:
            write_index(index, place)
        except (OSError, NotImplementedError) as e:
            logger.debug("no index at %s: %s", place, e)
        else:
            break
    return index


def write_index(index: ShardIndex, place: str | None = None) -> None:
    """Write an index, beside its shard or at `place`; it appears whole or not at all."""
    place = place or index.shard + ENDING
    head = {
        "shard": Path(index.shard).name,
        "version": VERSION,
        "samples": len(index.entries),
        "bytes": index.num_bytes,
        "seconds": index.seconds,
        "compressed": index.is_compressed,
        "faults": index.faults,
        "source": index.source,
    }
    lines = [head, *(_row(entry) for entry in index.entries)]
    content = b"".join(to_json(line) + b"\n" for line in lines)
    if not is_url(place):
        write_atomically(place, content)
        return
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile(delete=False) as file:
        file.write(content)
    put(Path(file.name), place)


def _row(entry: Entry) -> dict[str, Any]:
    clip = entry.clip
    row = {
        "id": clip.id,
        "audio": entry.member,
        "captions": clip.captions,
        "split": clip.split,
        "licence": clip.licence,
        "duration": clip.duration,
        "label": clip.label,
        "offset": entry.offset,
        "size": entry.size,
    }
    own = (*KEYS, "offset", "size")
    told = {key: value for key, value in row.items() if value is not None}
    return told | {key: value for key, value in clip.extra.items() if key not in own}


def _parse(place: str, shard: str, language: str) -> ShardIndex:
    rows = list(json_lines(read_all(place), place))
    head = rows[0][1] if rows else None
    if not isinstance(head, dict) or head.get("version") != VERSION or "samples" not in head:
        raise ManifestError(f"{place}:1: this is no index of a shard of version {VERSION}; remove it")
    if head["samples"] != len(rows) - 1:
        raise ManifestError(
            f"{place}: {len(rows) - 1:,} samples instead of {head['samples']:,}: it is cut off; remove it"
        )
    there = size_of(shard)
    if there != head["bytes"]:
        raise ManifestError(
            f"{shard} has {there:,} bytes, and had {head['bytes']:,} when {place} was made; remove the index "
            "if the shard is whole, so that it is read anew"
        )
    entries = []
    for number, row in rows[1:]:
        if not isinstance(row, dict) or not {"offset", "size"} <= row.keys():
            raise ManifestError(f"{place}:{number}: no sample with offset and size; remove the index")
        offset, size = row.pop("offset"), row.pop("size")
        if type(offset) is not int or type(size) is not int or offset < 0 or not 0 < size <= MAX_MEMBER:
            raise ManifestError(f"{place}:{number}: impossible offset or size; remove the index")
        entries.append(_entry_of(row, shard, f"index line {number}", language, offset, size))
    faults = tuple((str(key), str(reason)) for key, reason in head.get("faults") or ())
    return ShardIndex(shard, there, bool(head["compressed"]), tuple(entries), faults, head.get("source"))


def _spare_place(folder: Path, shard: str) -> Path:
    digest = blake2b(shard.encode(), digest_size=6).hexdigest()
    return folder / f"{Path(shard).name}.{digest}{ENDING}"


def read_indexes(
    shards: Sequence[str],
    *,
    language: str = "eng_Latn",
    spare: Path | None = None,
    tell: Callable[[str], object] | None = None,
) -> list[ShardIndex]:
    """Return the indexes of shards, several read at once: those of a bucket each take a while.

    Raises:
        ManifestError, OSError: as `read_index`.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        return list(
            pool.map(lambda shard: read_index(shard, language=language, spare=spare, tell=tell), shards)
        )
