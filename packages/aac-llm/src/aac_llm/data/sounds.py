"""Sounds to caption: files, folders of them, and manifests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_common.files import AUDIO_SUFFIXES, find_audio
from audio_common.prefetch import BadFile

from aac_llm.data.languages import ENGLISH
from aac_llm.files import is_stream


@dataclass(frozen=True)
class Sound:
    """A sound to caption, before its file is opened."""

    id: str
    """Path of a file as given, path below a folder, or id of a manifest's clip."""
    path: Path
    """Absolute."""
    references: tuple[str, ...] = ()
    """The manifest's captions."""


def name_bad(file: BadFile) -> str:
    """Return why a file could not be captioned, with its name."""
    return file.reason if file.path.name in file.reason else f"{file.path}: {file.reason}"


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
        from aac_llm.data.manifest import read_manifest

        # A clip without captions in the language is captioned all the same.
        clips = read_manifest(
            source, split=split, language=language, keep_uncaptioned=True, problems=problems
        )
        for clip in clips:
            yield Sound(clip.id, clip.audio.absolute(), tuple(clip.captions))
    elif source.exists():
        yield Sound(source.as_posix(), source.absolute())
    else:
        raise FileNotFoundError(f"{source} is no file, folder or manifest: check the path")
