"""The manifest: one clip a line, as JSON, with its captions.

    {"id": "dog-1", "audio": "audio/dog.ogg", "captions": ["A dog barks."], "split": "train", "duration": 5.0}

`id`, `audio` and `captions` are required; `split`, `duration` (seconds), `dataset`, `licence`, `sound_id`
(what the recording is called at its source, for finding leaks) and `timestamps` (events with their times, see
`timestamps.py`; an empty list: there is none) may be there. `audio` is relative to the
manifest's folder, or absolute. `captions` are a list, one text, or lists by language, as ml-clap writes them:
`{"eng_Latn": ["A dog barks."], "fra": "Un chien aboie."}`, of which one language is used at a time. Captions
in other languages and further keys are kept and written back. What cannot be used is an error that names the
file and the line.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_common.strict_json import JSONError, is_writable_text, json_lines

from aac_llm.data.captions import parse_captions
from aac_llm.data.languages import ENGLISH, language_code
from aac_llm.data.licences import say_licences_of_clips
from aac_llm.data.timestamps import TimedEvent, events_of_row, rows_of_events
from aac_llm.files import read_bytes, to_json, to_plain, write_bytes

logger = logging.getLogger(__name__)

KEYS = ("id", "audio", "captions", "split", "duration", "dataset", "licence", "sound_id", "timestamps")
"""Keys of a row that are fields of a clip; all others are its `extra`."""


class ManifestError(ValueError):
    """A manifest or a source of one cannot be used; the message begins with `file:line`."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One recording and what describes it."""

    id: str
    """Unique within a manifest."""
    audio: Path
    """The sound file; absolute once read."""
    captions: tuple[str, ...]
    """In `language`; at least one, unless the clip was read with `keep_uncaptioned`."""
    split: str | None = None
    """`train`, `validation`, `test` or any other name."""
    duration: float | None = None
    """Seconds."""
    dataset: str | None = None
    """Data set that the clip comes from."""
    licence: str | None = None
    """Licence of the recording."""
    sound_id: str | None = None
    """Name of the recording at its source: Freesound id, YouTube id and start, ..."""
    timestamps: tuple[TimedEvent, ...] | None = None
    """Events with their times, perhaps none; None: not known."""
    language: str = ENGLISH
    """Code of the captions' language."""
    translations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Captions in other languages, by what the manifest calls each."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of the row, which are written back as they are."""


def read_manifest(
    path: str | Path,
    *,
    split: str | None = None,
    language: str = ENGLISH,
    keep_uncaptioned: bool = False,
    problems: list[str] | None = None,
) -> list[Clip]:
    """Read the clips of a manifest, of one split if `split` is given, in the file's order.

    The path `-` is the standard input; its `audio` is relative to the working folder.

    Args:
        path: the manifest.
        split: only clips of this split.
        language: which captions to take, where a row has them by language; a list is taken to be in it.
        keep_uncaptioned: keep clips without captions in that language, which otherwise are left out with a
            warning.
        problems: gets `file:line: reason` of each row that cannot be used; without it that is an error.

    Raises:
        ManifestError: a line cannot be used, an id occurs twice, there is no clip or none of that split.
        FileNotFoundError: there is no such file.
    """
    path, language = Path(path), language_code(language)
    clips: list[Clip] = []
    line_of_id: dict[str, int] = {}
    for number, row in json_rows(path):
        try:
            if isinstance(row, JSONError):
                raise ManifestError(str(row)) from row
            clip = _parse_clip(row, path, number, language)
            if clip.id in line_of_id:
                raise ManifestError(
                    f"{path}:{number}: id {clip.id!r} is already that of line {line_of_id[clip.id]}"
                )
        except ManifestError as e:
            if problems is None:
                raise
            problems.append(str(e))
            continue
        line_of_id[clip.id] = number
        clips.append(clip)
    if not clips:
        raise ManifestError(problems[0] if problems else f"{path}:1: the manifest has no clips")
    say_licences_of_clips(path, (clip.licence for clip in clips))
    clips = clips if split is None else _of_split(clips, split, path)
    return clips if keep_uncaptioned else _captioned(clips, path, language)


def write_manifest(path: str | Path, clips: Iterable[Clip]) -> None:
    """Write `clips`; the file appears whole or not at all.

    Audio below the manifest's folder is stored relative to it, so that both can be moved together.

    Raises:
        ManifestError: a clip could not be read back (no captions, an id twice, ...); nothing is written.
    """
    path = Path(path)
    lines: list[bytes] = []
    ids: set[str] = set()
    for number, clip in enumerate(clips, start=1):
        row = _row_of(clip, path)
        # What cannot be read back is refused before anything is written.
        if not _parse_clip(row, path, number, clip.language).captions:
            raise ManifestError(f"{path}:{number}: {clip.id!r} has no captions in {clip.language}")
        if clip.id in ids:
            raise ManifestError(f"{path}:{number}: two clips have the id {clip.id!r}")
        ids.add(clip.id)
        lines.append(to_json(row) + b"\n")
    write_bytes(path, b"".join(lines))


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | JSONError]]:
    """Yield the number and the object of each line that is not blank, or in its place what is wrong with it.

    Raises:
        ManifestError: the file is no text.
    """
    try:
        yield from json_lines(read_bytes(path), str(path))
    except JSONError as e:
        raise ManifestError(str(e)) from e


def _parse_clip(row: dict[str, Any], path: Path, number: int, language: str) -> Clip:
    try:
        captions, translations = parse_captions(row, language)
        return Clip(
            id=_text(row, "id"),
            audio=_absolute(path.parent) / _text(row, "audio"),
            captions=captions,
            split=_optional_text(row, "split"),
            duration=parse_duration(row.get("duration")),
            dataset=_optional_text(row, "dataset"),
            licence=_optional_text(row, "licence"),
            sound_id=_optional_text(row, "sound_id"),
            timestamps=None if row.get("timestamps") is None else events_of_row(row["timestamps"]),
            language=language,
            translations=translations,
            extra={key: value for key, value in row.items() if key not in KEYS},
        )
    except ValueError as e:
        raise ManifestError(f"{path}:{number}: {e}") from e


def _absolute(folder: Path) -> Path:
    # Not resolve(): a link to the sounds should stay a link.
    return Path(os.path.abspath(folder))


def _text(row: dict[str, Any], key: str) -> str:
    if key not in row:
        raise ValueError(
            f"the key {key!r} is missing; a clip needs id, audio and captions, got {sorted(row)}"
        )
    value = row[key]
    # No file name can hold a NUL, and open() fails with another error. It can hold bytes that are no text.
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{key} must be a non-empty text, got {value!r}")
    if key != "audio" and not is_writable_text(value):
        raise ValueError(f"{key} must be a text, got bytes that are none: {value!r}")
    return value


def _optional_text(row: dict[str, Any], key: str) -> str | None:
    return None if row.get(key) is None else _text(row, key)


def parse_duration(value: Any) -> float | None:
    """Return the seconds that a row names, or None.

    Raises:
        ValueError: it is no number of seconds.
    """
    if value is None:
        return None
    if not is_seconds(value):
        raise ValueError(f"duration must be a number of seconds, got {value!r}")
    return float(value)


def is_seconds(value: Any) -> bool:
    """Tell whether a value of JSON is a number of seconds."""
    # bool is an int for Python, not for us; an int may be larger than any float.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= sys.float_info.max


def _row_of(clip: Clip, path: Path) -> dict[str, Any]:
    folder = _absolute(path.parent)
    audio = _absolute(clip.audio)
    # Not with ..: a manifest that moves alone must not point to something else.
    stored = audio.relative_to(folder) if audio.is_relative_to(folder) else audio
    row = {
        "id": clip.id,
        "audio": stored.as_posix(),
        "captions": _captions_of(clip),
        "split": clip.split,
        "duration": clip.duration,
        "dataset": clip.dataset,
        "licence": clip.licence,
        "sound_id": clip.sound_id,
        "timestamps": None if clip.timestamps is None else rows_of_events(clip.timestamps),
    }
    return {key: value for key, value in row.items() if value is not None} | to_plain(clip.extra)


def _captions_of(clip: Clip) -> list[str] | dict[str, list[str]]:
    # A bare list stands for English, or for whatever a reader is told that it is.
    if clip.language == ENGLISH and not clip.translations:
        return list(clip.captions)
    others = {tag: list(texts) for tag, texts in clip.translations.items()}
    return {clip.language: list(clip.captions)} | others if clip.captions else others


def _captioned(clips: list[Clip], path: Path, language: str) -> list[Clip]:
    kept = [clip for clip in clips if clip.captions]
    if not kept:
        there = sorted({tag for clip in clips for tag in clip.translations})
        raise ManifestError(
            f"{path}:1: no clip has captions in {language}; there are {', '.join(there)}: choose one with "
            "--language (in training --data.language)"
        )
    if len(kept) < len(clips):
        logger.warning(
            "%s: %s of %s clips have no captions in %s and are left out, the first being %s; --language "
            "(in training --data.language) takes others",
            path,
            f"{len(clips) - len(kept):,}",
            f"{len(clips):,}",
            language,
            next(clip.id for clip in clips if not clip.captions),
        )
    return kept


def _of_split(clips: list[Clip], split: str, path: Path) -> list[Clip]:
    chosen = [clip for clip in clips if clip.split == split]
    if not chosen:
        splits = sorted({clip.split or "(none)" for clip in clips})
        raise ManifestError(f"{path}:1: no clip has the split {split!r}; there are {', '.join(splits)}")
    return chosen
