"""Sounds to caption: files, folders of them, manifests and tar shards; here, or at URLs that fsspec reaches.

A URL is held as a `Path`, which makes one slash of its two; `Sound.audio` has it as it was written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from audio_common.files import AUDIO_SUFFIXES, find_audio
from audio_common.prefetch import BadFile

from aac_llm.bulk.places import find_system, folder_of, is_url, join, local_copies, written
from aac_llm.bulk.seconds import BYTES_PER_SECOND
from aac_llm.data.captions import parse_captions
from aac_llm.data.languages import ENGLISH, language_code
from aac_llm.data.shard_names import list_shards, means_shards, needs_fetching, split_member
from aac_llm.data.shards import Place, Sample, find_places, list_samples
from aac_llm.files import is_stream

SHARDS_AT_ONCE = 8
"""Shards whose headers are read at a time: those of a bucket each take a while."""


@dataclass(frozen=True)
class Sound:
    """A sound to caption, before its file is opened."""

    id: str
    """Path of a file as given, path below a folder, or id of a manifest's clip."""
    path: Path
    """Absolute, or a URL."""
    references: tuple[str, ...] = ()
    """The manifest's captions."""
    seconds: float | None = None
    """Length by the manifest or the shard; None: not known."""
    place: Place | None = None
    """Where it is in a shard."""

    @property
    def audio(self) -> str:
        """The path or URL, as files of captions name it; of a member of a shard `SHARD/MEMBER`."""
        return written(self.path)

    @property
    def is_here(self) -> bool:
        """Tell whether it is a file of this machine, which needs no fetching."""
        return self.place is None and not needs_fetching(self.path)

    @property
    def likely_seconds(self) -> float | None:
        """Its length, of a member of a shard at least by its size; None: not known."""
        if self.seconds is not None or self.place is None:
            return self.seconds
        return self.place.size / BYTES_PER_SECOND


def name_bad(file: BadFile) -> str:
    """Return why a file could not be captioned, with its name."""
    return file.reason if file.path.name in file.reason else f"{written(file.path)}: {file.reason}"


def find_sounds(
    sources: Sequence[Path],
    split: str | None = None,
    *,
    language: str = ENGLISH,
    problems: list[str] | None = None,
    kept: str | None = None,
) -> list[Sound]:
    """Find all sounds of files, folders, manifests (.jsonl, `-`) and tar shards, in this order, each once.

    Below a folder they are sorted by path and hidden ones are left out. With several sources the ids of a
    folder's sounds begin with the folder as given. A key that two shards have is with the later one's name in
    front in the second.

    Args:
        sources: the files, folders, manifests and shards.
        split: use only this split of manifests and shards.
        language: which captions of manifests and shards are references.
        problems: gets what of manifests and shards cannot be used; without it that is an error.
        kept: folder where indexes of shards are kept; see `list_samples`.

    Raises:
        FileNotFoundError: a source is not there.
        ValueError: there is no sound, two sounds have one id, or a manifest is wrong.
    """
    sounds: dict[str, Sound] = {}
    for source in sources:
        for sound in _of_source(source, split, language, problems, kept, alone=len(sources) == 1):
            if sound.place is not None and sounds.get(sound.id, sound).path != sound.path:
                # Keys are unique in a shard, and need not be over all shards.
                sound = replace(sound, id=f"{Path(sound.place.shard).name}/{sound.id}")
            # A file that is named twice, by itself and by its folder, is captioned once.
            other = sounds.setdefault(sound.id, sound)
            if other.path != sound.path:
                raise ValueError(f"{other.path} and {sound.path} have the same id {sound.id!r}: rename one")
    if not sounds:
        places, endings = ", ".join(map(written, sources)), ", ".join(AUDIO_SUFFIXES)
        why = f"; {problems[0]}" if problems else ""
        raise ValueError(f"no sound in {places}: looked for files ending in {endings}{why}")
    return _with_places(list(sounds.values()))


def _with_places(sounds: list[Sound]) -> list[Sound]:
    """Return sounds with the places of those that a manifest, or the command, names as members of shards."""
    places = find_places([one.audio for one in sounds if one.place is None])
    return [replace(one, place=places.get(one.audio, one.place)) for one in sounds] if places else sounds


def _of_source(
    source: Path,
    split: str | None,
    language: str,
    problems: list[str] | None,
    kept: str | None,
    *,
    alone: bool,
) -> Iterator[Sound]:
    if means_shards(source):
        yield from _of_shards(source, split, language, problems, kept)
    elif source.is_dir():
        # Posix separators, so that ids are the same on every system.
        for path in find_audio(source):
            below = path.relative_to(source)
            yield Sound((below if alone else source / below).as_posix(), path.absolute())
    elif is_stream(source) or source.suffix.lower() == ".jsonl":
        yield from _of_manifest(source, split, language, problems)
    elif is_url(source) and split_member(source) is None:
        yield from _of_url(written(source), alone=alone)
    elif is_url(source):
        yield Sound(written(source), source)
    elif source.exists() or split_member(source) is not None:
        yield Sound(source.as_posix(), source.absolute())
    else:
        raise FileNotFoundError(f"{source} is no file, folder, manifest or shard: check the path")


def _of_manifest(
    source: Path, split: str | None, language: str, problems: list[str] | None
) -> Iterator[Sound]:
    from aac_llm.data.manifest import ManifestError, read_manifest

    found: list[str] | None = None if problems is None else []
    with local_copies([written(source)]) as (copy,):
        if isinstance(copy, OSError):
            raise FileNotFoundError(str(copy)) from copy
        try:
            # A clip without captions in the language is captioned all the same.
            clips = read_manifest(copy, split=split, language=language, keep_uncaptioned=True, problems=found)
        except ManifestError as e:
            raise ManifestError(str(e).replace(str(copy), written(source))) from e
    if problems is not None:
        problems += [text.replace(str(copy), written(source)) for text in found or ()]
    for clip in clips:
        audio = _place(clip.audio, copy, source)
        yield Sound(clip.id, Path(audio), tuple(clip.captions), clip.duration)


def _of_shards(
    source: Path, split: str | None, language: str, problems: list[str] | None, kept: str | None
) -> Iterator[Sound]:
    shards = list_shards(source if is_url(source) else source.absolute())
    with ThreadPoolExecutor(SHARDS_AT_ONCE) as threads:
        for listing in threads.map(partial(list_samples, kept=kept), shards):
            faults = listing.describe_faults()
            for sample in listing.samples:
                try:
                    sound = _of_sample(sample, language_code(language))
                except ValueError as e:
                    faults.append(f"{sample.place.name}: {e}")
                    continue
                if split is None or sample.row.get("split") == split:
                    yield sound
            if faults and problems is None:
                raise ValueError(faults[0])
            if problems is not None:
                problems += faults


def _of_sample(sample: Sample, language: str) -> Sound:
    """Return the sound of a sample.

    Raises:
        ValueError: what its .json says cannot be used.
    """
    from aac_llm.data.manifest import parse_duration

    id, row = sample.row.get("id", sample.key), sample.row
    if not isinstance(id, str) or not id.strip() or "\0" in id:
        raise ValueError(f"id must be a non-empty text, got {id!r}")
    references = parse_captions(row, language)[0] if "captions" in row else ()
    if sample.text is not None and "captions" not in row:
        references = (sample.text,)
    seconds = parse_duration(row.get("duration"))
    return Sound(id, Path(sample.place.name), references, seconds, sample.place)


def _place(audio: Path, copy: Path, manifest: Path) -> str:
    """Return where a clip's sound is: named from the manifest's place, not from that of its copy."""
    folder = Path(os.path.abspath(copy.parent))
    if not audio.is_relative_to(folder):
        return str(audio)
    below = written(audio.relative_to(folder))  # which may be a URL itself
    if is_url(below):
        return below
    return join(folder_of(written(manifest)), below) if is_url(manifest) else str(audio)


def _of_url(url: str, *, alone: bool) -> Iterator[Sound]:
    """Yield the sound of a URL, or all below it, hidden ones left out."""
    system, folder = find_system(url)
    if system.isfile(folder):
        yield Sound(url, Path(url))
        return
    for path in sorted(system.find(folder)):
        below = path[len(folder) :].strip("/")
        if path.lower().endswith(AUDIO_SUFFIXES) and not any(
            name.startswith(".") for name in below.split("/")
        ):
            audio = join(url, below)
            yield Sound(below if alone else audio, Path(audio))
