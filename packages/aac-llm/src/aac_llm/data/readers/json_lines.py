"""JSON Lines: the reference code's (`key, wav, label, dur`), SLAM-LLM's (`key, source, target`), and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from audio_common.files import AudioFolder
from audio_common.strict_json import JSONError, is_writable_text

from aac_llm.config.prepare import (
    PrepareConfig,
    PrepareJSONLConfig,
    PrepareReferenceConfig,
    PrepareSLAMConfig,
)
from aac_llm.data.captions import parse_captions
from aac_llm.data.languages import language_code
from aac_llm.data.manifest import KEYS, Clip, json_rows
from aac_llm.data.readers.source import Reading, metadata_seconds
from aac_llm.data.timestamps import events_of_row

LABELS = ("split", "dataset", "licence", "sound_id")
"""Keys of our rows that are texts, if they are there."""


def read_reference(config: PrepareReferenceConfig) -> Reading:
    """Read the reference code's: `label` is a caption, or in a test set several with tabs between."""
    reading = Reading()
    find = _finder(config)
    for line, row in _rows(config.source, reading):
        label = row.get("label") or ""
        if not isinstance(label, str):
            _refuse_text("label", label, f"{config.source}:{line}", reading)
            continue
        captions = tuple(text.strip() for text in label.split("\t") if text.strip())
        fields = {"split": config.split, "duration": metadata_seconds(row.get("dur"))}
        _add(reading, f"{config.source}:{line}", find, row.get("wav"), captions, row.get("key"), fields)
    return reading


def read_slam(config: PrepareSLAMConfig) -> Reading:
    """Read SLAM-LLM's: `target` is a caption; rows with the same `source` are one clip."""
    captions: dict[str, list[str]] = {}
    first: dict[str, tuple[int, Any]] = {}
    reading = Reading()
    for line, row in _rows(config.source, reading):
        where, source, target = f"{config.source}:{line}", row.get("source"), row.get("target")
        if not source or not target:
            reading.add_problem("row", where, f"no source or target; there are {sorted(row)}")
        elif not isinstance(source, str):
            _refuse_text("source", source, where, reading)
        elif not isinstance(target, str) or not target.strip():
            _refuse_text("target", target, where, reading)
        else:
            # SLAM-LLM repeats a clip for each of its captions.
            captions.setdefault(source, []).append(target.strip())
            first.setdefault(source, (line, row.get("key")))
    find = _finder(config)
    for source, texts in captions.items():
        line, key = first[source]
        _add(reading, f"{config.source}:{line}", find, source, tuple(texts), key, {"split": config.split})
    return reading


def read_jsonl(config: PrepareJSONLConfig) -> Reading:
    """Read ours, of which `id` may be missing and `captions` may be one `caption`.

    Captions in other languages and keys that are not the manifest's are kept.
    """
    reading = Reading()
    find, language = _finder(config), language_code(config.language)
    for line, row in _rows(config.source, reading):
        where = f"{config.source}:{line}"
        if "captions" not in row and "caption" in row:
            row = {**row, "captions": row["caption"]}
            del row["caption"]
        try:
            captions, translations = parse_captions(row, language)
            labels = {key: _label(row, key) for key in LABELS}
            timed = row.get("timestamps")
            events = None if timed is None else events_of_row(timed)
        except ValueError as e:
            reading.add_problem("row", where, e)
            continue
        if not captions:
            message = f"no captions in {language}, there are {', '.join(translations)}"
            reading.add_problem("language", where, message)
            continue
        fields = {
            **labels,
            "split": labels["split"] or config.split,
            "duration": metadata_seconds(row.get("duration")),
            "language": language,
            "translations": translations,
            "timestamps": events,
            "extra": {key: value for key, value in row.items() if key not in KEYS},
        }
        _add(reading, where, find, row.get("audio"), captions, row.get("id"), fields)
    return reading


def _label(row: dict[str, Any], key: str) -> str | None:
    """Return a row's text or number as a text; None: it has none.

    Raises:
        ValueError: it is something that no manifest may hold, so that writing it would fail.
    """
    value = row.get(key)
    if value is None or value == "":
        return None
    is_short = isinstance(value, str | int | float) and not isinstance(value, bool)
    if not is_short or not str(value).strip() or "\0" in str(value) or not is_writable_text(str(value)):
        raise ValueError(f"{key} must be a non-empty text, got {value!r}")
    return str(value)


def _refuse_text(key: str, value: object, where: str, reading: Reading) -> None:
    # A list written out as Python does would be trained as a caption.
    reading.add_problem("row", where, f"{key} must be a text that is not empty, got {value!r}")


def _rows(source: Path, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of each line; what is no object becomes a problem."""
    for number, row in json_rows(source):
        if isinstance(row, JSONError):
            where = f"{source}:{number}"
            reading.add_problem("row", where, str(row).removeprefix(f"{where}: "))
        else:
            yield number, row


def _finder(config: PrepareConfig) -> Callable[[str], Path]:
    """Return a function that finds a file by the path in a row, or by its name in a folder of sounds."""
    folder = AudioFolder(config.audio) if config.audio else None
    base = config.source.parent

    def find(name: str) -> Path:
        # As written first: a path in a row is relative to its file, as in a manifest.
        if (base / name).is_file():
            return base / name
        if folder is None:
            raise LookupError(
                f"no file {base / name}; if the sounds are elsewhere, name the folder with --audio"
            )
        return folder.find(name)

    return find


def _add(
    reading: Reading,
    where: str,
    find: Callable[[str], Path],
    name: Any,
    captions: tuple[str, ...],
    key: Any,
    fields: dict[str, Any],
) -> None:
    """Add a clip with these captions and other fields, or the reason why the row is none."""
    if not name or not isinstance(name, str):
        return reading.add_problem("row", where, "the row names no sound file")
    if not captions:
        return reading.add_problem("row", where, "the row has no caption")
    try:
        clip_id = _label({"id": key}, "id") or Path(name).stem
    except ValueError as e:
        return reading.add_problem("row", where, e)
    try:
        audio = find(name)
    # ValueError: a NUL in the name, which no file system takes; OSError: a name longer than it takes.
    except (LookupError, ValueError, OSError) as e:
        return reading.add_problem("missing", where, e)
    reading.clips.append(Clip(id=clip_id, audio=audio, captions=captions, **fields))
    return None
