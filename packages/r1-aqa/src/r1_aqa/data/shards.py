"""What is in a tar shard, and where in it each sound lies.

Samples are WebDataset's: members of one key, which is the name up to the first dot after its folder; here
they need not stand side by side. Only headers are read, and small members that describe sounds. What is
damaged costs what it damages.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import IO, Any, NamedTuple

from audio_common.files import is_audio
from audio_common.strict_json import JSONError, json_lines, parse_object

from r1_aqa.bulk.places import (
    exists,
    is_url,
    join,
    local_copies,
    open_read,
    read_all,
    write_all,
)
from r1_aqa.data.shard_names import split_member
from r1_aqa.data.tar_headers import read_headers
from r1_aqa.files import to_json

INDEX_ENDING = ".index.jsonl"
"""Of the index that `ml-clap prepare shards` writes beside a shard."""
MAX_TEXT = 1 << 24
"""Bytes of a .json or .txt that is read."""
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""What gzip, bzip2, xz and zstd begin with."""

_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)


class Place(NamedTuple):
    """Where a sound is."""

    shard: str
    """Path or URL of the tar."""
    member: str
    """Its name there, without a leading `./`."""
    offset: int
    """Bytes from the beginning of the tar to the sound's own."""
    size: int

    @property
    def name(self) -> str:
        """Return how the sound is named outside of its shard."""
        return join(self.shard, self.member)


@dataclass(frozen=True)
class Sample:
    """A sound of a shard, and what its shard says of it."""

    key: str
    place: Place
    row: Mapping[str, Any] = field(default_factory=dict)
    """Object of its .json."""
    text: str | None = None
    """Its .txt."""


@dataclass(frozen=True)
class Listing:
    """What is in a shard."""

    shard: str
    samples: tuple[Sample, ...]
    faults: tuple[tuple[str, str], ...] = ()
    """(member or key, reason) of what cannot be used; the first is empty for the shard itself."""

    def describe_faults(self) -> list[str]:
        """Return each fault with the shard and the member."""
        return [f"{join(self.shard, name) if name else self.shard}: {reason}" for name, reason in self.faults]


def find_places(names: Sequence[str]) -> dict[str, Place]:
    """Return where the sounds are that are members of shards; each shard's headers are read once.

    A member that is not there has no place: whoever fetches it says so.
    """
    wanted: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(names):
        if (parts := split_member(name)) is not None:
            wanted.setdefault(parts[0], {})[parts[1]] = name
    places: dict[str, Place] = {}
    for shard, members in wanted.items():
        listing = list_samples(shard)
        there = {sample.place.member: sample.place for sample in listing.samples}
        places |= {name: there[member] for member, name in members.items() if member in there}
    return places


def list_samples(shard: str, kept: str | None = None) -> Listing:
    """Return what is in a shard, by its index if it has one, else by its headers; damage becomes a fault.

    Args:
        shard: path or URL.
        kept: folder or URL where the index of a shard behind a URL is kept once it was read from end to end.
    """
    # What a remote file system raises is of its client's own kinds.
    errors = (Exception,) if is_url(shard) else (OSError, tarfile.TarError, ValueError)
    try:
        if exists(shard + INDEX_ENDING):
            return _by_index(shard, shard + INDEX_ENDING)
        if kept is not None and is_url(shard):
            return _kept(shard, join(kept, blake2b(shard.encode(), digest_size=8).hexdigest() + INDEX_ENDING))
        with opened(shard) as file:
            return _by_headers(shard, file)
    except errors as error:
        return Listing(shard, (), (("", f"cannot be read: {type(error).__name__}: {error}"),))


@contextmanager
def opened(shard: str) -> Iterator[IO[bytes]]:
    """Open a shard for reading anywhere in it; one of a server that gives no part of a file is fetched."""
    with open_read(shard) as file:
        if _gives_parts(file):
            yield file
            return
    with local_copies([shard]) as (copy,):
        if isinstance(copy, OSError):
            raise copy
        with copy.open("rb") as file:
            yield file


def _gives_parts(file: IO[bytes]) -> bool:
    try:
        file.seek(max(0, file.seek(0, 2) - 1))
        file.read(1)
        file.seek(0)
    except (OSError, ValueError, TypeError):
        return False
    return True


def _by_index(shard: str, place: str) -> Listing:
    """Return what ml-clap's index of a shard says.

    Raises:
        ValueError: it is none, or of another shard.
    """
    rows = [row for _, row in json_lines(read_all(place), place)]
    head = rows[0] if rows else None
    if not isinstance(head, dict) or head.get("samples") != len(rows) - 1:
        raise ValueError(f"{place} is no index of a shard, or cut off; remove it")
    with opened(shard) as file:
        size = file.seek(0, 2)
    if head.get("bytes") != size or head.get("compressed"):
        raise ValueError(f"{place} is of another shard, or of a compressed one; remove it")
    samples = []
    for number, row in enumerate(rows[1:], start=2):
        try:
            if isinstance(row, JSONError):
                raise row
            where = Place(shard, str(row["audio"]), int(row["offset"]), int(row["size"]))
            if where.offset < 0 or where.size <= 0:
                raise ValueError
            samples.append(Sample(str(row["id"]), where, row))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{place}:{number}: no sample with id, audio, offset and size") from error
    faults = tuple((str(key), str(reason)) for key, reason in head.get("faults") or ())
    return Listing(shard, tuple(samples), faults)


def _kept(shard: str, place: str) -> Listing:
    """Return what a kept index says, or read the shard and keep its index."""
    if exists(place):
        with suppress(ValueError):  # of the shard as it was once
            return _by_index(shard, place)
    with opened(shard) as file:
        listing = _by_headers(shard, file)
        size = file.seek(0, 2)
    rows: list[Mapping[str, Any]] = [
        {"samples": len(listing.samples), "bytes": size, "compressed": False, "faults": listing.faults}
    ]
    for sample in listing.samples:
        text = {} if sample.text is None else {"captions": [sample.text]}
        where = {"audio": sample.place.member, "offset": sample.place.offset, "size": sample.place.size}
        rows.append({"id": sample.key, **text, **sample.row, **where})
    write_all(place, b"".join(to_json(row) + b"\n" for row in rows))
    return listing


@dataclass(frozen=True)
class _Member:
    """A file of a shard that is part of a sample."""

    place: Place
    kind: str
    """sound, json or txt."""
    content: bytes = b""
    """Of a .json or .txt."""
    fault: str | None = None

    @property
    def stem(self) -> str:
        """Return its name without the last ending."""
        return self.place.member.rpartition(".")[0]


def _by_headers(shard: str, file: IO[bytes]) -> Listing:
    head = file.read(6)
    file.seek(0)
    if head.startswith(COMPRESSED):
        return Listing(shard, (), (("", "it is compressed, so nothing in it can be found: uncompress it"),))
    keys: dict[str, list[_Member]] = {}
    faults: list[tuple[str, str]] = []
    for key, member in _read_members(shard, file, faults):
        keys.setdefault(key, []).append(member)
    samples = []
    for key, all_members in keys.items():
        for own_key, members in _split(key, all_members).items():
            try:
                samples.append(_sample(own_key, members))
            except ValueError as error:
                sounds = [member.place.member for member in members if member.kind == "sound"]
                faults.append((sounds[0] if sounds else own_key, str(error)))
    return Listing(shard, tuple(samples), tuple(faults))


def _read_members(
    shard: str, file: IO[bytes], faults: list[tuple[str, str]]
) -> Iterator[tuple[str, _Member]]:
    """Yield the sounds and descriptions of a shard with their keys; bad headers are added to `faults`."""
    size = file.seek(0, 2)
    file.seek(0)
    for header in read_headers(file, faults):
        name = "/".join(part for part in header.name.split("/") if part not in ("", "."))
        found = None if name.startswith(".") or "/." in name else _KEY.fullmatch(name)  # hidden ones
        ending = found[2].lower() if found else ""
        kind = "sound" if is_audio(f"x.{ending}") else ending.rpartition(".")[2]
        if found is None or kind not in ("sound", "json", "txt"):
            continue
        fault = _fault_of(header, name, kind, size)
        content = b""
        if kind != "sound" and not fault:
            file.seek(header.offset_data)
            content = file.read(header.size)
        place = Place(shard, name, header.offset_data, header.size)
        yield found[1], _Member(place, kind, content, fault)


def _split(key: str, members: list[_Member]) -> dict[str, list[_Member]]:
    """Return samples' keys and members.

    Names of recordings have dots: where several sounds share a key, as `rec.1.wav` and `rec.2.wav` do, each
    is a sample by its whole name.
    """
    stems = {member.stem for member in members if member.kind == "sound"}
    found: dict[str, list[_Member]] = {}
    for member in members:
        own = member.stem if len(stems) > 1 else key
        # Other fields, as `rec.meta.json`, are not read.
        if member.kind == "sound" or member.stem in (own, key):
            found.setdefault(own, []).append(member)
    # A text alone is of no sound.
    return {own: all_ for own, all_ in found.items() if any(one.kind != "txt" or one.fault for one in all_)}


def _fault_of(member: tarfile.TarInfo, name: str, kind: str, size: int) -> str | None:
    """Return why a member cannot be used."""
    if member.issym() or member.islnk():
        return f"{name} is a link: pack the file itself (tar --dereference --hard-dereference)"
    if not member.isreg() or member.issparse():
        return f"{name} is no plain file, or is packed with holes: pack it again without --sparse"
    if member.size <= 0:
        return f"{name} has no bytes" if not member.size else f"{name} has an impossible size"
    if member.offset_data + member.size > size:
        return f"{name} is cut off after {max(0, size - member.offset_data):,} of {member.size:,} bytes"
    if kind != "sound" and member.size > MAX_TEXT:
        return f"{name} has {member.size:,} bytes; at most {MAX_TEXT:,} are read"
    return None


def _sample(key: str, members: Sequence[_Member]) -> Sample:
    """Return the sample of a key.

    Raises:
        ValueError: it cannot be used.
    """
    for member in members:
        if member.fault:
            raise ValueError(member.fault)
    sounds, rows, texts = ([one for one in members if one.kind == kind] for kind in ("sound", "json", "txt"))
    if len(sounds) != 1:
        names = ", ".join(sound.place.member for sound in sounds) or "none"
        raise ValueError(f"a sample needs one sound, and the key {key} has {names}")
    if len(rows) > 1 or len(texts) > 1:
        raise ValueError(f"two descriptions of the key {key}")
    row = parse_object(rows[0].content, f"{key}.json") if rows else {}
    text = texts[0].content.decode().strip() if texts else None
    return Sample(key, sounds[0].place, row, text or None)
