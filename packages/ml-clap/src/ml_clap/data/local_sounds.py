"""Sounds as local files, wherever they are: those of a block of work, brought for as long as it lasts.

A local file is used where it is. What lies behind an fsspec URL, or in a shard, is written into a temporary
folder, whose files are gone when the work is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ml_clap.bulk.places import local_copies, written
from ml_clap.data.shards.reading import Place, ShardReader


@dataclass(frozen=True)
class Sound:
    """Where a sound is."""

    name: str
    """Path or URL; of a sound in a shard the shard's name with the member's."""
    place: Place | None = None
    """Where it is in a shard; None: it is a file."""

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Sound:
        """Return the sound of a row of a bulk job, which has its `name` and `place`."""
        return cls(row["name"], Place(*row["place"]) if row["place"] else None)

    def to_row(self) -> dict[str, Any]:
        """Return it as keys of a row, which `of_row` reads."""
        return {"name": self.name, "place": self.place and list(self.place)}


@dataclass(frozen=True)
class LocalSounds:
    """Sounds that are there, and why others are not, by their numbers."""

    paths: dict[int, Path] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)


@contextmanager
def bring(sounds: Sequence[Sound]) -> Iterator[LocalSounds]:
    """Give sounds as local files within the context.

    Args:
        sounds: each a file, a URL, or a place in a shard; those of one shard best in its order.
    """
    local = LocalSounds()
    packed = [(number, sound.place) for number, sound in enumerate(sounds) if sound.place is not None]
    files = [number for number, sound in enumerate(sounds) if sound.place is None]
    with (
        TemporaryDirectory(prefix="ml_clap-") as folder,
        local_copies([written(sounds[number].name) for number in files]) as copies,
    ):
        for number, copy in zip(files, copies, strict=True):
            if isinstance(copy, OSError):
                local.faults[number] = str(copy)
            else:
                local.paths[number] = copy
        _unpack(packed, Path(folder), local)
        yield local


def _unpack(wanted: Sequence[tuple[int, Place]], folder: Path, local: LocalSounds) -> None:
    reader = ShardReader()
    fetched = reader.fetch(wanted)
    reader.close()
    local.faults.update(fetched.faults)
    members = {number: Path(place.member) for number, place in wanted}
    for number, sound in fetched.sounds.items():
        path = folder / str(number) / members[number].name
        path.parent.mkdir()
        path.write_bytes(sound)
        local.paths[number] = path
