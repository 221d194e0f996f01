"""AudioCaps: a CSV row for each caption (versions 1 and 2) or for each clip (EnCLAP's, WavCaps' tables)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audio_common.files import AudioFolder

from aac_llm.config.prepare import PrepareAudioCapsConfig
from aac_llm.data.manifest import Clip, ManifestError
from aac_llm.data.readers.source import Reading, find_tables, numbered_captions, whole_rows
from aac_llm.data.table import Table, read_table

CLIP_SECONDS = 10
"""Length of a clip, of which some file names are made; another length is reported."""
SPLITS = {"train.csv": "train", "val.csv": "validation", "test.csv": "test"}
FILE_COLUMNS = ("file_name", "file_path")


@dataclass
class _Rows:
    """The rows of one `youtube_id` and `start_time`."""

    youtube_id: str
    start: float
    line: int
    """Of the first one."""
    audiocap_id: str
    captions: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.youtube_id}_{self.start:g}"


def read_audiocaps(config: PrepareAudioCapsConfig) -> Reading:
    """Read one table or the folder of all; rows of one `youtube_id` and `start_time` are one clip."""
    folder = config.audio or (config.source if config.source.is_dir() else config.source.parent)
    files, reading = AudioFolder(folder), Reading()
    for path, split in _tables(config):
        table = read_table(path, ())
        named = next((name for name in FILE_COLUMNS if name in table.columns), None)
        if named and "caption_1" in table.columns:
            _read_variant(path, table, named, split, files, reading)
        elif {"youtube_id", "start_time", "caption"} <= set(table.columns):
            _read_original(path, table, split, files, reading)
        else:
            raise ManifestError(
                f"{path}:1: expected the columns youtube_id, start_time, caption, or file_name, caption_1, "
                f"...; there are {', '.join(table.columns)}"
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


def _read_original(path: Path, table: Table, split: str | None, files: AudioFolder, reading: Reading) -> None:
    found: dict[Path, list[_Rows]] = {}
    joined = _join_rows(path, table, reading)
    for rows in joined:
        # An audiocap_id names one caption, so it names the clip only where there is one.
        audiocap_id = rows.audiocap_id if len(rows.captions) == 1 else ""
        try:
            audio = files.find_stem(clip_names(rows.youtube_id, rows.start, audiocap_id))
        except LookupError:
            names = f"Y{rows.youtube_id}, {rows.name} or in another known way"
            message = f"no file below {files.folder} is named {names}"
            reading.add_problem("missing", f"{path}:{rows.line}", message)
            continue
        found.setdefault(audio, []).append(rows)
    for audio, several in found.items():
        # A name without the start may be any of the video's clips, also one that another file is named after.
        video = several[0].youtube_id
        starts = [rows.start for rows in joined if rows.youtube_id == video and audio.stem.endswith(video)]
        if len(several) > 1 or len(starts) > 1:
            _refuse_shared(path, audio, several, starts or [rows.start for rows in several], reading)
            continue
        (rows,) = several
        reading.clips.append(_clip(rows.name, audio, tuple(rows.captions), split, rows.youtube_id))


def _join_rows(path: Path, table: Table, reading: Reading) -> list[_Rows]:
    """Join the captions of each clip: those of test and validation have five rows."""
    joined: dict[tuple[str, float], _Rows] = {}
    for line, row in whole_rows(table, reading):
        try:
            youtube_id, start = _youtube_id(row["youtube_id"]), _seconds(row["start_time"])
            if not row["caption"]:
                raise ValueError("the caption is empty")
        except ValueError as e:
            reading.add_problem("row", f"{path}:{line}", e)
            continue
        rows = joined.setdefault(
            (youtube_id, start), _Rows(youtube_id, start, line, row.get("audiocap_id", ""))
        )
        rows.captions.append(row["caption"])
    return list(joined.values())


def _youtube_id(text: str) -> str:
    # Spreadsheets make `#NAME?` of ids that begin with a dash.
    if not re.fullmatch(r"[\w-]+", text):
        raise ValueError(f"expected the id of a video as youtube_id, got {text!r}")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"expected seconds as start_time, got {text!r}")
    return seconds


def _refuse_shared(
    path: Path, audio: Path, several: Sequence[_Rows], starts: Sequence[float], reading: Reading
) -> None:
    """Report that one file may be of several parts of a video: it can be only one of them."""
    named = ", ".join(f"{start:g}" for start in starts)
    for rows in several:
        message = f"{audio.name} is the file of the start times {named}: name each file with its start time"
        reading.add_problem("row", f"{path}:{rows.line}", message)


def _read_variant(
    path: Path, table: Table, named: str, split: str | None, files: AudioFolder, reading: Reading
) -> None:
    for line, row in whole_rows(table, reading):
        name, captions = row[named], numbered_captions(row)
        if not name or not captions:
            reading.add_problem("row", f"{path}:{line}", f"the row has no {named} or no caption")
            continue
        try:
            audio = files.find(name)
        except LookupError as e:
            reading.add_problem("missing", f"{path}:{line}", e)
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
        duration=CLIP_SECONDS,
        dataset="audiocaps",
        sound_id=f"youtube:{youtube_id}",
    )
