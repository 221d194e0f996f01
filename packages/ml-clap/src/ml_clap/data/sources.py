"""What `data.train` and `data.validation` name: manifests, and shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ml_clap.bulk.places import written
from ml_clap.data.manifest import BadRow, Clip, ManifestError, check_splits, read_manifest, read_split
from ml_clap.data.shards.index import read_indexes
from ml_clap.data.shards.places import is_shards, list_shards
from ml_clap.data.shards.reading import Place, ShardReader
from ml_clap.files import write_atomically

UNPACKED_AT_ONCE = 64


@dataclass(frozen=True)
class Sources:
    """Clips, where the sounds of those in shards are, and what of the shards cannot be used."""

    clips: list[Clip]
    places: dict[int, Place] = field(default_factory=dict)
    """Place in `clips` -> where the sound is; the others are files."""
    faults: dict[Path, str] = field(default_factory=dict)
    """Shard or sample -> why it cannot be used."""


def read_sources(
    names: Sequence[Path], splits: Sequence[str], *, language: str = "eng_Latn", spare: Path | None = None
) -> Sources:
    """Return the clips of some splits of manifests and shards; of all splits where none is named.

    Args:
        names: manifests; folders, tar files, brace patterns and URLs of shards.
        splits: those to use.
        language: language of captions that are not named by language.
        spare: folder for indexes of shards beside which nothing may be written.

    Raises:
        ManifestError: a manifest or index cannot be used.
        FileNotFoundError: a shard is not there.
        ValueError: none has one of the splits.
    """
    found: list[tuple[Clip, Place | None]] = []
    faults: dict[Path, str] = {}
    for name in names:
        if not is_shards(name):
            found += [(clip, None) for clip in read_manifest(name, language=language)]
            continue
        for index in read_indexes(list_shards(name), language=language, spare=spare, tell=_tell):
            found += [
                (entry.clip, Place(index.shard, entry.member, entry.offset, entry.size, index.is_compressed))
                for entry in index.entries
            ]
            faults |= {Path(index.shard) / key: reason for key, reason in index.faults}
    named = ", ".join(written(name) for name in names)
    check_splits([clip for clip, _ in found], splits, named)
    kept = [item for item in found if not splits or item[0].split in splits]
    if names and not kept:
        raise ValueError(f"{named}: no clip can be used" + "".join(f"; {why}" for why in faults.values()))
    places = {number: place for number, (_, place) in enumerate(kept) if place is not None}
    return Sources([clip for clip, _ in kept], places, faults)


def read_split_anywhere(
    name: Path,
    split: str | None,
    *,
    language: str = "eng_Latn",
    bad_rows: list[BadRow] | None = None,
) -> Sources:
    """Return the clips of a split of a manifest, here or behind a URL, or of shards; see `read_split`.

    Raises:
        ManifestError, ValueError: as `read_split`.
        FileNotFoundError: a shard is not there.
    """
    if not is_shards(name) or written(name).endswith(".jsonl"):
        return Sources(read_split(name, split, language=language, bad_rows=bad_rows))
    sources = read_sources([name], [] if split in (None, "all") else [split], language=language)
    if bad_rows is None and sources.faults:
        raise ManifestError(next(f"{where}: {why}" for where, why in sources.faults.items()))
    if bad_rows is not None:
        bad_rows += [BadRow(written(where), why) for where, why in sources.faults.items()]
    there = sorted({clip.split or "(none)" for clip in sources.clips})
    if split is None and len(there) > 1:
        raise ValueError(f"{name} has the splits {', '.join(there)}: choose one with --split, or --split all")
    return sources


def unpack_sounds(sources: Sources, folder: Path) -> list[Clip]:
    """Return the clips with their sounds as files: those in shards are written into a folder, once.

    What cannot be read is left out there, so that whoever reads the clip says that it is missing.
    """
    clips = list(sources.clips)
    wanted = []
    for number, place in sources.places.items():
        path = folder / f"{number:07d}{Path(place.member).suffix}"
        clips[number] = replace(clips[number], audio=path.absolute())
        if not path.is_file() or path.stat().st_size != place.size:
            wanted.append((number, place))
    reader = ShardReader()
    for first in range(0, len(wanted), UNPACKED_AT_ONCE):
        fetched = reader.fetch(wanted[first : first + UNPACKED_AT_ONCE])
        for number, sound in fetched.sounds.items():
            write_atomically(clips[number].audio, sound)
    reader.close()
    return clips


def _tell(shard: str) -> None:
    print(f"{shard} has no index: it is read once")
