"""Tar shards: which tars a name means, and where in a tar each sound lies.

    data/wavcaps                               every .tar of a folder that has no sounds beside them
    data/wavcaps/train-{000000..000039}.tar    as many as the braces name
    s3://bucket/wavcaps                        the same in whatever fsspec reaches

A member is named `SHARD/MEMBER`, as in `data/wavcaps/train-000000.tar/rain.flac`. Samples are WebDataset's:
members of one key, which is the name up to the first dot after its folder; here they need not stand side by
side. Only headers are read, and small members that describe sounds. What is damaged costs what it damages.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import IO, Any, NamedTuple

from audio_common.files import find_audio, is_audio
from audio_common.strict_json import JSONError, json_lines, parse_object

from aac_llm.bulk.places import exists, is_url, join, local_copies, names_in, open_read, read_all, written
from aac_llm.data.tar_headers import read_headers

ENDING = ".tar"
INDEX_ENDING = ".index.jsonl"
"""Of the index that `ml-clap prepare shards` writes beside a shard."""
MAX_TEXT = 1 << 24
"""Bytes of a .json or .txt that is read."""
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""What gzip, bzip2, xz and zstd begin with."""

_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)
_BRACES = re.compile(r"\{([^{}]*)\}")


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


# -- names -----------------------------------------------------------------------------------------------


def means_shards(source: str | Path) -> bool:
    """Tell whether a source is shards: tars, or a folder or URL that has tars and no sounds."""
    place = written(source)
    if place.endswith(ENDING):
        return not Path(place).is_dir()
    if is_url(place):
        names = [] if place.endswith(".jsonl") or is_audio(place) else names_in(place)
        return any(name.endswith(ENDING) for name in names) and not any(map(is_audio, names))
    names = [path.name for path in Path(place).iterdir()] if Path(place).is_dir() else []
    return any(name.endswith(ENDING) for name in names) and not find_audio(place)


def list_shards(source: str | Path) -> list[str]:
    """Return the names of the tars that a folder, file, pattern or URL means, sorted.

    Raises:
        FileNotFoundError: a file is not there, or a folder has no tar.
    """
    place = written(source)
    if place.endswith(ENDING):
        shards = sorted(set(expand_braces(place)))
        missing = [shard for shard in shards if not exists(shard)]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise FileNotFoundError(f"there is no file {missing[0]}{more}")
        return shards
    shards = sorted(name for name in names_in(place) if name.endswith(ENDING))
    if not shards:
        raise FileNotFoundError(f"there is no {ENDING} in {place}")
    return shards


def expand_braces(pattern: str) -> list[str]:
    """Return the names that a pattern with braces means, as a shell has it.

    >>> expand_braces("a-{008..010}.tar"), expand_braces("{dev,eval}/{0..1}.tar")[1:3]
    (['a-008.tar', 'a-009.tar', 'a-010.tar'], ['dev/1.tar', 'eval/0.tar'])
    """
    pieces = _BRACES.split(pattern)
    choices = [_choices(text) if number % 2 else [text] for number, text in enumerate(pieces)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(text: str) -> list[str]:
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if found is None:
        return text.split(",") if "," in text else ["{" + text + "}"]
    first, last = int(found[1]), int(found[2])
    return [f"{number:0{len(found[1])}d}" for number in range(first, last + 1)]


def split_member(name: str | Path) -> tuple[str, str] | None:
    """Return the shard and the member that a name means, or None: it is a file of its own.

    >>> split_member("s3://bucket/train-0.tar/birds/a.wav"), split_member("birds/a.wav")
    (('s3://bucket/train-0.tar', 'birds/a.wav'), None)
    """
    text = written(name)
    for found in re.finditer(re.escape(f"{ENDING}/"), text):
        shard, member = text[: found.end() - 1], text[found.end() :]
        if member and (is_url(shard) or Path(shard).is_file()):
            return shard, member
    return None


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


# -- what is in a shard ----------------------------------------------------------------------------------


def list_samples(shard: str) -> Listing:
    """Return what is in a shard, by its index if it has one, else by its headers; damage becomes a fault."""
    # What a remote file system raises is of its client's own kinds.
    errors = (Exception,) if is_url(shard) else (OSError, tarfile.TarError, ValueError)
    try:
        if exists(shard + INDEX_ENDING):
            return _by_index(shard, shard + INDEX_ENDING)
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


@dataclass
class _Group:
    """The members of a key."""

    sounds: list[Place] = field(default_factory=list)
    json: list[bytes] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    fault: str | None = None


def _by_headers(shard: str, file: IO[bytes]) -> Listing:
    head = file.read(6)
    file.seek(0)
    if head.startswith(COMPRESSED):
        return Listing(shard, (), (("", "it is compressed, so nothing in it can be found: uncompress it"),))
    size = file.seek(0, 2)
    file.seek(0)
    groups: dict[str, _Group] = {}
    faults: list[tuple[str, str]] = []
    for member in read_headers(file, faults):
        name = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        found = None if name.startswith(".") or "/." in name else _KEY.fullmatch(name)  # hidden ones
        ending = found[2].lower() if found else ""
        if found is None or not (is_audio(f"x.{ending}") or ending in ("json", "txt")):
            continue
        group = groups.setdefault(found[1], _Group())
        group.fault = group.fault or _fault_of(member, name, ending, size)
        if ending in ("json", "txt"):
            if not group.fault:
                file.seek(member.offset_data)
                (group.json if ending == "json" else group.texts).append(file.read(member.size))
        else:
            group.sounds.append(Place(shard, name, member.offset_data, member.size))
    samples = []
    for key, group in groups.items():
        try:
            if group.sounds or group.json or group.fault:  # a text alone is of no sound
                samples.append(_sample(key, group))
        except ValueError as error:
            faults.append((group.sounds[0].member if group.sounds else key, str(error)))
    return Listing(shard, tuple(samples), tuple(faults))


def _fault_of(member: tarfile.TarInfo, name: str, ending: str, size: int) -> str | None:
    """Return why a member cannot be used."""
    if member.issym() or member.islnk():
        return f"{name} is a link: pack the file itself (tar --dereference --hard-dereference)"
    if not member.isreg() or member.issparse():
        return f"{name} is no plain file, or is packed with holes: pack it again without --sparse"
    if member.size <= 0:
        return f"{name} has no bytes" if not member.size else f"{name} has an impossible size"
    if member.offset_data + member.size > size:
        return f"{name} is cut off after {max(0, size - member.offset_data):,} of {member.size:,} bytes"
    if ending in ("json", "txt") and member.size > MAX_TEXT:
        return f"{name} has {member.size:,} bytes; at most {MAX_TEXT:,} are read"
    return None


def _sample(key: str, group: _Group) -> Sample:
    """Return the sample of a key.

    Raises:
        ValueError: it cannot be used.
    """
    if group.fault:
        raise ValueError(group.fault)
    if len(group.sounds) != 1:
        names = ", ".join(sound.member for sound in group.sounds) or "none"
        raise ValueError(f"a sample needs one sound, and the key {key} has {names}")
    if len(group.json) > 1 or len(group.texts) > 1:
        raise ValueError(f"two descriptions of the key {key}")
    row = parse_object(group.json[0], f"{key}.json") if group.json else {}
    text = group.texts[0].decode().strip() if group.texts else None
    return Sample(key, group.sounds[0], row, text or None)
