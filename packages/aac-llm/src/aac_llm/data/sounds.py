"""Sounds to caption: files, folders of them, and manifests; here, or at URLs of what fsspec reaches.

A URL is held as a `Path`, which makes one slash of its two; `Sound.audio` has it as it was written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_common.files import AUDIO_SUFFIXES, find_audio
from audio_common.prefetch import BadFile

from aac_llm.bulk.places import find_system, folder_of, is_url, join, local_copies, written
from aac_llm.data.languages import ENGLISH
from aac_llm.files import is_stream


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
    """Length by the manifest; None: not known."""

    @property
    def audio(self) -> str:
        """The path or URL, as files of captions name it."""
        return written(self.path)


def name_bad(file: BadFile) -> str:
    """Return why a file could not be captioned, with its name."""
    return file.reason if file.path.name in file.reason else f"{written(file.path)}: {file.reason}"


def find_sounds(
    sources: Sequence[Path],
    split: str | None = None,
    *,
    language: str = ENGLISH,
    problems: list[str] | None = None,
) -> list[Sound]:
    """Find all sounds of files, folders and manifests (.jsonl, `-`), in this order, each once.

    Below a folder they are sorted by path and hidden ones are left out. With several sources the ids of a
    folder's sounds begin with the folder as given.

    Args:
        sources: the files, folders and manifests.
        split: use only this split of manifests.
        language: which captions of manifests are references.
        problems: gets the rows of manifests that cannot be used; without it they are errors.

    Raises:
        FileNotFoundError: a source is not there.
        ValueError: there is no sound, two sounds have one id, or a manifest is wrong.
    """
    sounds: dict[str, Sound] = {}
    for source in sources:
        for sound in _of_source(source, split, language, problems, alone=len(sources) == 1):
            # A file that is named twice, by itself and by its folder, is captioned once.
            other = sounds.setdefault(sound.id, sound)
            if other.path != sound.path:
                raise ValueError(f"{other.path} and {sound.path} have the same id {sound.id!r}: rename one")
    if not sounds:
        places, endings = ", ".join(map(str, sources)), ", ".join(AUDIO_SUFFIXES)
        raise ValueError(f"no sound in {places}: looked for files ending in {endings}")
    return list(sounds.values())


def _of_source(
    source: Path, split: str | None, language: str, problems: list[str] | None, *, alone: bool
) -> Iterator[Sound]:
    if source.is_dir():
        # Posix separators, so that ids are the same on every system.
        for path in find_audio(source):
            below = path.relative_to(source)
            yield Sound((below if alone else source / below).as_posix(), path.absolute())
    elif is_stream(source) or source.suffix.lower() == ".jsonl":
        yield from _of_manifest(source, split, language, problems)
    elif is_url(source):
        yield from _of_url(written(source), alone=alone)
    elif source.exists():
        yield Sound(source.as_posix(), source.absolute())
    else:
        raise FileNotFoundError(f"{source} is no file, folder or manifest: check the path")


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
