"""Manifests that others wrote: aac-llm's, r1-aqa's, one's own, with captions in a list or by language."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from audio_common.files import AudioFolder

from ml_clap.config.prepare import PrepareJSONLConfig
from ml_clap.data.manifest import Clip, ManifestError, clip_of, name_fault
from ml_clap.data.readers.reading import Reading, id_of_file


def read_jsonl(config: PrepareJSONLConfig) -> Reading:
    """Read a manifest of which `id` may be missing, and `captions` may be one `caption`."""
    reading = Reading()
    folder = AudioFolder(config.audio) if config.audio else None
    for line, row in reading.json_rows(config.source):
        where = f"{config.source}:{line}"
        try:
            clip = clip_of(_completed(row, config), config.source, line, config.language)
        except ManifestError as e:
            reading.add_problem("row", where, str(e).removeprefix(f"{where}: "))
            continue
        try:
            reading.clips.append(_located(clip, row["audio"], folder))
        except (LookupError, OSError) as e:
            reading.add_problem("missing", where, e)
    return reading


def _completed(row: dict[str, Any], config: PrepareJSONLConfig) -> dict[str, Any]:
    """Return the row with an id, captions and a split where those can be told."""
    row = dict(row)
    if "captions" not in row and "caption" in row:
        row["captions"] = row.pop("caption")
    audio = row.get("audio")
    if row.get("id") is None and isinstance(audio, str) and not name_fault(audio):
        row["id"] = id_of_file(Path(audio).name or audio)
    elif isinstance(row.get("id"), int):
        row["id"] = str(row["id"])
    row["split"] = row.get("split") or config.split
    return row


def _located(clip: Clip, written: str, folder: AudioFolder | None) -> Clip:
    """Return the clip with its file: as written, relative to the manifest, else by its name in the folder."""
    if os.path.isfile(clip.audio):  # also where the name is longer than a file system takes
        return clip
    if folder is None:
        raise LookupError(f"no file {clip.audio}; if the sounds are elsewhere, name the folder with --audio")
    return replace(clip, audio=folder.find(written))
