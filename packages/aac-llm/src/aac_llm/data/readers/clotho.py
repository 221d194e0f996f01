"""Clotho (v2.1): one CSV row a clip, with `file_name` and `caption_1` to `caption_5`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from audio_common.files import AudioFolder

from aac_llm.config.prepare import PrepareClothoConfig
from aac_llm.data.manifest import Clip
from aac_llm.data.readers.source import Reading, find_tables, numbered_captions, read_rows

SPLITS = {
    "clotho_captions_development.csv": "train",
    "clotho_captions_validation.csv": "validation",
    "clotho_captions_evaluation.csv": "test",
}
FOLDERS = {"train": "development", "validation": "validation", "test": "evaluation"}
"""Our split -> the published folder of its sounds."""


def read_clotho(config: PrepareClothoConfig) -> Reading:
    """Clips of one table or of the folder of all.

    Freesound's number of each recording is taken from the metadata beside the table, when they are there: the
    same recording may be in WavCaps.
    """
    reading = Reading()
    for table, folder, split in _tables(config):
        files, sound_ids = AudioFolder(folder), read_sound_ids(table, reading)
        for line, row in read_rows(table, ("file_name", "caption_1"), reading):
            where, name, captions = f"{table}:{line}", row["file_name"], numbered_captions(row)
            if not name or not captions:
                reading.add_problem("row", where, "the row has no file_name or no caption")
                continue
            # Names in the tables and on disk differ in spaces; AudioFolder knows.
            try:
                audio = files.find(name)
            except LookupError as e:
                reading.add_problem("missing", where, e)
                continue
            sound_id = sound_ids.get(name)
            reading.clips.append(
                Clip(
                    id=Path(name).stem,
                    audio=audio,
                    captions=captions,
                    split=split,
                    dataset="clotho",
                    sound_id=f"freesound:{sound_id}" if sound_id else None,
                )
            )
    return reading


def read_sound_ids(table: Path, reading: Reading) -> dict[str, str]:
    """File name -> Freesound's number, from the metadata that belong to a table of captions."""
    metadata = table.with_name(table.name.replace("captions", "metadata"))
    if metadata == table or not metadata.is_file():
        return {}
    # The published metadata are in this encoding, the captions in UTF-8.
    rows = read_rows(metadata, ("file_name", "sound_id"), reading, encoding="iso-8859-1")
    return {row["file_name"]: row["sound_id"] for _, row in rows if row["sound_id"].isdigit()}


def _tables(config: PrepareClothoConfig) -> Iterator[tuple[Path, Path, str | None]]:
    """Yield CSV file, folder of its sounds, split."""
    if not config.source.is_dir():
        yield config.source, config.audio or config.source.parent, config.split
        return
    root = config.audio or config.source
    for table, split in find_tables(config.source, SPLITS, config.split):
        folder = root / FOLDERS[split]
        yield table, folder if folder.is_dir() else root, split
