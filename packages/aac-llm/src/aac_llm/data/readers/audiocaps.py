"""AudioCaps: a CSV row for each caption (versions 1 and 2) or for each clip (EnCLAP's, WavCaps' tables)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from audio_common.files import AudioFolder

from aac_llm.config.prepare import PrepareAudioCapsConfig
from aac_llm.data.manifest import Clip, ManifestError
from aac_llm.data.readers.source import Reading, find_tables, numbered_captions, read_csv, read_text

CLIP_SECONDS = 10
"""Length of a clip, of which some file names are made."""
SPLITS = {"train.csv": "train", "val.csv": "validation", "test.csv": "test"}
FILE_COLUMNS = ("file_name", "file_path")


def read_audiocaps(config: PrepareAudioCapsConfig) -> Reading:
    """Read one table or the folder of all; rows of one `youtube_id` and `start_time` are one clip."""
    folder = config.audio or (config.source if config.source.is_dir() else config.source.parent)
    files, reading = AudioFolder(folder), Reading()
    for table, split in _tables(config):
        columns = _columns(table)
        named = next((name for name in FILE_COLUMNS if name in columns), None)
        if named:
            _read_variant(table, named, split, files, reading)
        elif {"youtube_id", "start_time", "caption"} <= set(columns):
            _read_original(table, split, files, reading)
        else:
            raise ManifestError(
                f"{table}:1: expected the columns youtube_id, start_time, caption, or file_name, caption_1, "
                f"...; there are {', '.join(columns)}"
            )
    return reading


def clip_names(youtube_id: str, start: float, audiocap_id: str = "") -> list[str]:
    """Return the names, without suffix, that downloaders give a clip.

    Those with the start come first, as one video can give several clips.

    >>> clip_names("dQw4w9WgXcQ", 30)[:3]
    ['dQw4w9WgXcQ_30', 'YdQw4w9WgXcQ_30', 'dQw4w9WgXcQ_30_40']
    """
    end = start + CLIP_SECONDS
    # Whole and decimal seconds, milliseconds, with the end and without: as the known downloaders write them.
    spans = [
        f"_{start:g}",
        f"_{start:g}_{end:g}",
        f"_{start * 1000:.0f}",
        f"_{start * 1000:.0f}_{end * 1000:.0f}",
    ]
    spans += [f"_{start:.{digits}f}_{end:.{digits}f}" for digits in (1, 3)] + [f"_{start:.1f}", ""]
    names = [prefix + youtube_id + span for span in spans for prefix in ("", "Y")]
    return [*names, audiocap_id] if audiocap_id else names


def _tables(config: PrepareAudioCapsConfig) -> Iterator[tuple[Path, str | None]]:
    if config.source.is_dir():
        yield from find_tables(config.source, SPLITS, config.split)
    else:
        yield config.source, config.split


def _columns(table: Path) -> list[str]:
    try:
        return next(csv.reader(read_text(table).splitlines()[:1]), [])
    except csv.Error as e:
        raise ManifestError(f"{table}:1: not CSV ({e})") from e


def _read_original(table: Path, split: str | None, files: AudioFolder, reading: Reading) -> None:
    captions: dict[tuple[str, float], list[str]] = {}
    first: dict[tuple[str, float], tuple[int, str]] = {}
    for line, row in read_csv(table, ("youtube_id", "start_time", "caption")):
        try:
            key = row["youtube_id"].strip(), float(row["start_time"])
            if not key[0] or not row["caption"].strip():
                raise ValueError("youtube_id or caption is empty")
        except ValueError as e:
            reading.add_problem("row", f"{table}:{line}", e)
            continue
        # Test and validation clips have five rows.
        captions.setdefault(key, []).append(row["caption"])
        first.setdefault(key, (line, row.get("audiocap_id", "").strip()))
    for key, texts in captions.items():
        line, audiocap_id = first[key]
        name = f"{key[0]}_{key[1]:g}"
        try:
            # An audiocap_id names one caption, so it names the clip only where there is one.
            audio = files.find_stem(clip_names(*key, audiocap_id if len(texts) == 1 else ""))
        except LookupError:
            message = f"no file below {files.folder} is named Y{key[0]}, {name} or in another known way"
            reading.add_problem("missing", f"{table}:{line}", message)
            continue
        reading.clips.append(_clip(name, audio, tuple(texts), split, key[0]))


def _read_variant(table: Path, named: str, split: str | None, files: AudioFolder, reading: Reading) -> None:
    for line, row in read_csv(table, (named, "caption_1")):
        name, captions = row[named], numbered_captions(row)
        if not name or not captions:
            reading.add_problem("row", f"{table}:{line}", f"the row has no {named} or no caption")
            continue
        try:
            audio = files.find(name)
        except LookupError as e:
            reading.add_problem("missing", f"{table}:{line}", e)
            continue
        # A YouTube id has eleven characters.
        stem = Path(name).stem
        reading.clips.append(_clip(stem, audio, captions, split, stem.removeprefix("Y")[:11]))


def _clip(name: str, audio: Path, captions: tuple[str, ...], split: str | None, youtube_id: str) -> Clip:
    return Clip(
        id=name,
        audio=audio,
        captions=captions,
        split=split,
        dataset="audiocaps",
        sound_id=f"youtube:{youtube_id}",
    )
