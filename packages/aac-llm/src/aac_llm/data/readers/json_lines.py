"""JSON Lines: the reference code's (`key, wav, label, dur`), SLAM-LLM's (`key, source, target`), and ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from audio_common.files import AudioFolder

from aac_llm.config.prepare import (
    PrepareConfig,
    PrepareJSONLConfig,
    PrepareReferenceConfig,
    PrepareSLAMConfig,
)
from aac_llm.data.manifest import Clip, read_json_lines
from aac_llm.data.readers.source import Reading


def read_reference(config: PrepareReferenceConfig) -> Reading:
    """Read the reference code's: `label` is a caption, or in a test set several with tabs between."""
    reading = Reading()
    find = _finder(config)
    for line, row in read_json_lines(config.source):
        where = f"{config.source}:{line}"
        captions = tuple(text.strip() for text in str(row.get("label") or "").split("\t") if text.strip())
        _add(reading, where, find, row.get("wav"), captions, row.get("key"), config.split)
    return reading


def read_slam(config: PrepareSLAMConfig) -> Reading:
    """Read SLAM-LLM's: `target` is a caption; rows with the same `source` are one clip."""
    captions: dict[str, list[str]] = {}
    first: dict[str, tuple[int, Any]] = {}
    reading = Reading()
    for line, row in read_json_lines(config.source):
        source, target = row.get("source"), str(row.get("target") or "").strip()
        if not source or not target:
            reading.add_problem(
                "row", f"{config.source}:{line}", f"no source or target; there are {sorted(row)}"
            )
            continue
        # SLAM-LLM repeats a clip for each of its captions.
        captions.setdefault(str(source), []).append(target)
        first.setdefault(str(source), (line, row.get("key")))
    find = _finder(config)
    for source, texts in captions.items():
        line, key = first[source]
        _add(reading, f"{config.source}:{line}", find, source, tuple(texts), key, config.split)
    return reading


def read_jsonl(config: PrepareJSONLConfig) -> Reading:
    """Read ours, of which `id` may be missing and `captions` may be one `caption`."""
    reading = Reading()
    find = _finder(config)
    for line, row in read_json_lines(config.source):
        texts = row.get("captions", row.get("caption"))
        captions = tuple(texts) if isinstance(texts, list) else (texts,) if texts else ()
        details = {key: row.get(key) for key in ("dataset", "licence", "sound_id") if row.get(key)}
        split = row.get("split") or config.split
        _add(
            reading,
            f"{config.source}:{line}",
            find,
            row.get("audio"),
            captions,
            row.get("id"),
            split,
            details,
        )
    return reading


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
    captions: tuple[Any, ...],
    key: Any,
    split: str | None,
    details: dict[str, Any] | None = None,
) -> None:
    if not name or not isinstance(name, str):
        return reading.add_problem("row", where, "the row names no sound file")
    if not captions or not all(isinstance(text, str) and text.strip() for text in captions):
        return reading.add_problem(
            "row", where, f"captions must be texts that are not empty, got {captions!r}"
        )
    try:
        audio = find(name)
    except LookupError as e:
        return reading.add_problem("missing", where, e)
    clip_id = str(key or Path(name).stem)
    reading.clips.append(Clip(id=clip_id, audio=audio, captions=captions, split=split, **(details or {})))
    return None
