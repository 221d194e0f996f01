"""Sounds brought to this machine: members of shards, each read at its place, and files behind URLs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO

from r1_aqa.bulk.places import is_url, local_copies
from r1_aqa.data.shard_names import split_member
from r1_aqa.data.shards import Place, find_places, opened

COPIED_AT_ONCE = 1 << 20
"""Bytes."""


@contextmanager
def local_sounds(names: Sequence[str], places: Mapping[str, Place]) -> Iterator[list[Path | OSError]]:
    """Bring sounds to this machine while the context lasts; see `local_copies`.

    Args:
        names: paths, URLs, and members of shards.
        places: where members are, as far as it is known; others are looked for.

    Yields:
        For each name a local path with the same suffix, or why it cannot be fetched.
    """
    members = [name for name in names if name in places or split_member(name) is not None]
    unknown = [name for name in members if name not in places]
    places = {**places, **find_places(unknown)} if unknown else places
    held = set(members)
    others = [name for name in names if name not in held]
    with local_copies(others) as copies, tempfile.TemporaryDirectory(prefix="r1_aqa-") as folder:
        found: dict[str, Path | OSError] = dict(zip(others, copies, strict=True))
        found |= _read_members(members, places, Path(folder))
        yield [found[name] for name in names]


def _read_members(
    names: Sequence[str], places: Mapping[str, Place], folder: Path
) -> dict[str, Path | OSError]:
    found: dict[str, Path | OSError] = {
        name: FileNotFoundError(f"{name} is not there, or not whole") for name in names if name not in places
    }
    shards: dict[str, list[str]] = {}
    for name in names:
        if name in places:
            shards.setdefault(places[name].shard, []).append(name)
    for shard, members in shards.items():
        members.sort(key=lambda name: places[name].offset)
        # What a remote file system raises is of its client's own kinds.
        errors = (Exception,) if is_url(shard) else (OSError,)
        try:
            with opened(shard) as file:
                for name in members:
                    # Not the member's own name, which may be none that this machine takes.
                    copy = folder / f"{len(found)}{PurePath(name).suffix}"
                    found[name] = _copy(file, name, places[name], copy)
        except errors as error:
            why = f"{type(error).__name__}: {error}"
            found |= {name: OSError(f"{name} cannot be read: {why}") for name in members if name not in found}
    return found


def _copy(file: IO[bytes], name: str, place: Place, copy: Path) -> Path | OSError:
    file.seek(place.offset)
    left = place.size
    with copy.open("wb") as out:
        while left and (content := file.read(min(left, COPIED_AT_ONCE))):
            out.write(content)
            left -= len(content)
    return OSError(f"{name} is cut off: {left:,} of {place.size:,} bytes are missing") if left else copy
