"""The manifest: one clip a line, as JSON, with its captions by language.

    {"id": "dog-1", "audio": "audio/dog.ogg", "captions": {"eng_Latn": ["A dog barks."]}, "split": "train",
     "licence": "CC-BY-4.0", "duration": 5.0, "label": "dog_bark"}

`id`, `audio` and `captions` are required. `audio` is relative to the manifest's folder, or absolute, or an
fsspec URL, as the manifest itself may be; `bulk.places.written` gives such a path back as it was written.
Languages are written in any way that `resolve` knows; a list of captions, or one alone, is in the language
that the reader of the manifest names, so that aac-llm's manifests are read as they are. Further keys are
kept. What cannot be used is an error that names the file and the line.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_common.strict_json import JSONError, is_writable_text, json_lines

from ml_clap.bulk.places import is_url, read_all, written
from ml_clap.data.languages import resolve
from ml_clap.data.licences import say_licences_of_clips
from ml_clap.files import read_bytes, to_json, write_atomically


class ManifestError(ValueError):
    """A manifest or a source of one cannot be used; the message begins with `file:line`."""


@dataclass(frozen=True)
class Clip:
    """One recording and what describes it."""

    id: str
    """Unique within a manifest."""
    audio: Path
    """The sound file; absolute once read."""
    captions: dict[str, tuple[str, ...]]
    """FLORES code -> captions in that language, at least one."""
    split: str | None = None
    """`train`, `validation`, `test` or any other name."""
    licence: str | None = None
    """Licence of the recording."""
    duration: float | None = None
    """Seconds."""
    label: str | None = None
    """Class, for zero-shot classification."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further keys of the manifest, as they are there."""


KEYS = ("id", "audio", "captions", "split", "licence", "duration", "label")
"""Keys of a manifest that mean something here."""


@dataclass(frozen=True)
class BadRow:
    """A line of a manifest that is left out."""

    where: str
    """`FILE:LINE`."""
    message: str


def read_manifest(
    path: str | Path,
    *,
    split: str | None = None,
    language: str = "eng_Latn",
    bad_rows: list[BadRow] | None = None,
) -> list[Clip]:
    """Return the clips of a manifest, of one split if `split` is given, in the file's order.

    Args:
        path: The manifest.
        split: Its name, or None for all.
        language: Language of captions that are not named by language.
        bad_rows: Gets the lines that cannot be used; without it the first such line is an error.

    Raises:
        ManifestError: a line cannot be used, an id occurs twice, there is no clip or none of that split.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    clips: list[Clip] = []
    line_of_id: dict[str, int] = {}
    for number, row in parse_json_lines(path):
        try:
            clip = clip_of(row, path, number, language)
            if clip.id in line_of_id:
                raise ManifestError(
                    f"{path}:{number}: id {clip.id!r} is already that of line {line_of_id[clip.id]}"
                )
        except ManifestError as e:
            if bad_rows is None:
                raise
            where = f"{path}:{number}"
            bad_rows.append(BadRow(where, str(e).removeprefix(f"{where}: ")))
            continue
        line_of_id[clip.id] = number
        clips.append(clip)
    if not clips and bad_rows:
        raise ManifestError(
            f"{bad_rows[0].where}: {bad_rows[0].message}; and no other line of the manifest can be used"
        )
    if not clips:
        raise ManifestError(f"{path}:1: the manifest has no clips")
    say_licences_of_clips(path, (clip.licence for clip in clips))
    return clips if split is None else _of_split(clips, split, path)


def read_clips(manifests: Sequence[Path], splits: Sequence[str], *, language: str = "eng_Latn") -> list[Clip]:
    """Return the clips of some splits of some manifests; of all splits where none is named.

    Raises:
        ManifestError: a manifest cannot be used.
        ValueError: no manifest has one of the splits.
    """
    clips = [clip for manifest in manifests for clip in read_manifest(manifest, language=language)]
    check_splits(clips, splits, ", ".join(map(str, manifests)))
    return [clip for clip in clips if not splits or clip.split in splits]


def check_splits(clips: Sequence[Clip], splits: Sequence[str], source: str) -> None:
    """Raise a ValueError if there are clips, and none of one of the splits."""
    there = {clip.split for clip in clips}
    missing = [split for split in splits if split not in there] if clips else []
    if missing:
        named = ", ".join(sorted(split or "(none)" for split in there))
        raise ValueError(f"no clip of {source} is of {missing}; there are {named}")


def read_split(
    manifest: Path,
    split: str | None,
    *,
    language: str = "eng_Latn",
    bad_rows: list[BadRow] | None = None,
) -> list[Clip]:
    """Return the clips of a split; all clips if there is one split only, or for the split `all`.

    Raises:
        ManifestError: the manifest cannot be read or has no such split.
        ValueError: it has several splits and none was chosen: training clips would flatter.
    """
    if split not in (None, "all"):
        return read_manifest(manifest, split=split, language=language, bad_rows=bad_rows)
    clips = read_manifest(manifest, language=language, bad_rows=bad_rows)
    there = sorted({clip.split or "(none)" for clip in clips})
    if split is None and len(there) > 1:
        raise ValueError(
            f"{manifest} has the splits {', '.join(there)}: choose one with --split, or --split all"
        )
    return clips


def write_manifest(path: str | Path, clips: Iterable[Clip]) -> None:
    """Write clips as a manifest; the file appears whole or not at all.

    Audio below the manifest's folder is stored relative to it, so that both can be moved together.

    Raises:
        ManifestError: a clip could not be read back (no captions, an id twice, ...); nothing is written.
    """
    path = Path(path)
    lines: list[bytes] = []
    ids: set[str] = set()
    for number, clip in enumerate(clips, start=1):
        row = _row_of(clip, path)
        clip_of(row, path, number)  # what is written must be readable
        if clip.id in ids:
            raise ManifestError(f"{path}:{number}: two clips have the id {clip.id!r}")
        ids.add(clip.id)
        lines.append(to_json(row) + b"\n")
    write_atomically(path, b"".join(lines))


def clip_fault(clip: Clip, path: Path) -> str | None:
    """Return why a clip could not be read back from the manifest `path`, or None."""
    try:
        clip_of(_row_of(clip, path), path, 0)
    except ManifestError as e:
        return str(e).removeprefix(f"{path}:0: ")
    return None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give (line number, object) of each line of a JSON Lines file that is not blank.

    Raises:
        ManifestError: a line is not UTF-8, not JSON or not an object.
    """
    for number, row in parse_json_lines(path):
        if isinstance(row, str):
            raise ManifestError(f"{path}:{number}: {row}")
        yield number, row


def parse_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Give (line number, object) of each line that is not blank, or in its place why it is no object.

    Raises:
        ManifestError: the file is no text.
    """
    try:
        content = read_all(written(path)) if is_url(path) else read_bytes(path)
        for number, row in json_lines(content, str(path)):
            where = f"{path}:{number}: "
            yield number, str(row).removeprefix(where) if isinstance(row, JSONError) else row
    except JSONError as error:
        raise ManifestError(str(error)) from error


def clip_of(row: dict[str, Any] | str, path: Path, number: int, language: str = "eng_Latn") -> Clip:
    """Return the clip of a manifest's line.

    Raises:
        ManifestError: it lacks something, or has something of another kind, or is no object: then `row` is
            why, as `parse_json_lines` gives it.
    """
    if isinstance(row, str):
        raise ManifestError(f"{path}:{number}: {row}")
    try:
        return Clip(
            id=_text(row, "id"),
            audio=_sound(path.parent, _file_name(row, "audio")),
            captions=_captions(row, language),
            split=_optional_text(row, "split"),
            licence=_optional_text(row, "licence"),
            duration=_duration(row.get("duration")),
            label=_optional_text(row, "label"),
            extra={key: value for key, value in row.items() if key not in KEYS},
        )
    except ValueError as e:
        raise ManifestError(f"{path}:{number}: {e}") from e


def _absolute(path: Path) -> Path:
    return path if is_url(path) else Path(os.path.abspath(path))


def _sound(folder: Path, name: str) -> Path:
    return Path(name) if is_url(name) else _absolute(folder) / name


def _text(row: dict[str, Any], key: str) -> str:
    if key not in row:
        raise ValueError(
            f"the key {key!r} is missing; a clip needs id, audio and captions, got {sorted(row)}"
        )
    value = row[key]
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{key} must be a non-empty text, got {value!r}")
    if not is_writable_text(value):
        raise ValueError(f"{key} is not valid Unicode: {value!r}")
    return value


def _file_name(row: dict[str, Any], key: str) -> str:
    """Return a path as a file system can have it: its bytes need not be valid Unicode."""
    name = row.get(key)
    if not isinstance(name, str) or is_writable_text(name):
        return _text(row, key)
    if fault := name_fault(name):
        raise ValueError(f"{key}: {fault}")
    return name


def name_fault(name: str) -> str | None:
    """Return why no file can be called so, or None."""
    try:
        is_possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        is_possible = False
    return None if is_possible else f"no file can be called {name!r}"


def _optional_text(row: dict[str, Any], key: str) -> str | None:
    return None if row.get(key) is None else _text(row, key)


def _duration(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"duration must be a number of seconds, got {value!r}")
    return float(value)


def _captions(row: dict[str, Any], plain_language: str) -> dict[str, tuple[str, ...]]:
    if "captions" not in row:
        _text(row, "captions")
    value = row["captions"]
    if isinstance(value, list | str):
        return {resolve(plain_language): _caption_texts("", value)}
    if not isinstance(value, dict) or not value:
        raise ValueError(
            'captions must be a list such as ["A dog barks."], or an object such as '
            f'{{"eng_Latn": ["A dog barks."]}}, got {value!r}'
        )
    captions: dict[str, tuple[str, ...]] = {}
    for tag, texts in value.items():
        language = resolve(tag)
        if language in captions:
            raise ValueError(f"captions name the language {language} twice: {sorted(value)}")
        captions[language] = _caption_texts(f" of {tag}", texts)
    return captions


def _caption_texts(whose: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise ValueError(f"captions{whose} must be a list of at least one text, got {value!r}")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"captions{whose} must be non-empty texts, got {text!r}")
        if not is_writable_text(text) or "\0" in text:
            raise ValueError(f"captions{whose} must be valid Unicode, got {text!r}")
    return tuple(texts)


def _row_of(clip: Clip, path: Path) -> dict[str, Any]:
    folder = _absolute(path.parent)
    audio = _absolute(clip.audio)
    stored = audio.relative_to(folder) if audio.is_relative_to(folder) else audio
    row = {
        "id": clip.id,
        "audio": written(stored.as_posix()),
        "captions": {language: list(texts) for language, texts in clip.captions.items()},
        "split": clip.split,
        "licence": clip.licence,
        "duration": clip.duration,
        "label": clip.label,
    }
    return {key: value for key, value in row.items() if value is not None} | {
        key: value for key, value in clip.extra.items() if key not in KEYS
    }


def _of_split(clips: list[Clip], split: str, path: Path) -> list[Clip]:
    chosen = [clip for clip in clips if clip.split == split]
    if not chosen:
        splits = sorted({clip.split or "(none)" for clip in clips})
        raise ManifestError(f"{path}:1: no clip has the split {split!r}; there are {', '.join(splits)}")
    return chosen
