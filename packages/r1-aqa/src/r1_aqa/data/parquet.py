"""Questions in Parquet files, as the hub has them: rows as JSON, and the sounds within as files.

Three layouts are known, and the sound may be within (a column of the struct `bytes` and `path`) or not:

| data set | question | options | answer | sound | the rest |
|---|---|---|---|---|---|
| MMAU test-mini | `instruction` | `choices` | `answer` | `context` | JSON in `other_attributes` |
| MMSU | `question` | `choice_a` to `choice_d` | `answer_gt` | `audio` | columns |
| MMAU test, MMAU-Pro, others | `question` | `choices` | `answer` | `audio`, or a path | columns |
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from audio_common.files import is_audio
from audio_common.strict_json import JSONError, parse_object

from r1_aqa.data.archive import write_sound
from r1_aqa.files import to_json
from r1_aqa.output import Progress

Row = dict[str, Any]
ROWS_AT_ONCE = 16
"""A row may hold minutes of sound."""
PATH_KEYS = ("audio_id", "audio_path")
"""Keys of a sound's path, of which a row whose sound is within may have one."""


def read_rows(files: Sequence[Path]) -> list[Row]:
    """Return all rows without their sounds, each with the path that `write_sounds` gives its sound.

    Raises:
        ValueError: a file is no Parquet file.
    """
    splits = [re.sub(r"-\d+-of-\d+$", "", file.stem) for file in files]
    rows: list[Row] = []
    names: set[str] = set()
    for file, split in zip(files, splits, strict=True):
        opened = open_parquet(file)
        within = sound_column(opened)
        kept = [name for name in opened.schema_arrow.names if name != within]
        for number, (row, path) in enumerate(_plain_rows(opened, kept, within)):
            row = _unpacked(row, f"{file} row {number}")
            if len(set(splits)) > 1:
                row.setdefault("split", split)
            if within:
                key = next((key for key in PATH_KEYS if row.get(key)), "audio")
                row[key] = f"audio/{_name_of(row, path, names, len(rows))}"
            rows.append(row)
    return rows


def paths_of(rows: Iterable[Row]) -> list[str]:
    """Return the relative paths of the sounds of rows as `read_rows` makes them."""
    return [row[next((key for key in PATH_KEYS if row.get(key)), "audio")] for row in rows]


def write_sounds(files: Sequence[Path], paths: Sequence[str], folder: Path) -> None:
    """Write the sounds within files below a folder; those that are there with their full length are kept.

    Args:
        files: as given to `read_rows`.
        paths: relative, of the sounds in the order of all rows.
        folder: of the sounds.
    """
    waiting = iter(paths)
    with Progress("Unpacking sounds", len(paths)) as progress:
        for file in files:
            opened = open_parquet(file)
            within = sound_column(opened)
            if within is None:
                raise ValueError(f"{file} has no sounds within, unlike {files[0]}")
            for batch in opened.iter_batches(ROWS_AT_ONCE, columns=[f"{within}.bytes"]):
                for sound in batch.column(0).field("bytes"):
                    _write_sound(folder / next(waiting), sound.as_buffer() if sound.is_valid else None)
                    progress.advance()


def has_sounds(file: Path) -> bool:
    """Tell whether a Parquet file has the sounds within."""
    return sound_column(open_parquet(file)) is not None


def open_parquet(file: Path) -> Any:
    """Return an opened Parquet file.

    Raises:
        ValueError: it is none, or damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        # Read as it is needed, not all beforehand: a gigabyte of sounds is in one file.
        return pyarrow.parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise ValueError(
            f"{file} is no Parquet file, or damaged ({str(error)[:200]}); fetch it again"
        ) from error


def sound_column(opened: Any) -> str | None:
    """Return the first column of sounds with their bytes, as Hugging Face's data sets have them."""
    import pyarrow

    for field in opened.schema_arrow:
        if pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return field.name
    return None


def _plain_rows(opened: Any, kept: list[str], within: str | None) -> Iterator[tuple[Row, str | None]]:
    # Of a sound its name alone: the bytes are not read.
    has_path = within and opened.schema_arrow.field(within).type.get_field_index("path") >= 0
    columns = [*kept, f"{within}.path"] if has_path else kept
    for batch in opened.iter_batches(1024, columns=columns):
        for row in batch.to_pylist():
            sound = row.pop(within, None) if has_path else None
            yield row, (sound or {}).get("path")


def _unpacked(row: Row, where: str) -> Row:
    """Return a row without nulls, one of MMAU's Parquet file under the keys of its JSON."""
    row = {name: _as_json(value) for name, value in row.items() if value is not None}
    if "other_attributes" not in row or "instruction" not in row:
        return row
    packed = row.pop("other_attributes")
    try:
        packed = parse_object(packed, where) if isinstance(packed, str) else packed
    except JSONError:
        packed = {"other_attributes": packed}
    return {"id": packed.get("id"), "audio_id": "within", "question": row.pop("instruction")} | row | packed


def _as_json(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)


def _name_of(row: Row, path: str | None, taken: set[str], number: int) -> str:
    """Return a file name for a row's sound: its id's, or its number where the id is used or is no name."""
    name = str(row.get("id") or Path(path or "").stem or number)
    if not re.fullmatch(r"[\w][\w.-]{0,150}", name, re.ASCII):
        name = hashlib.sha256(to_json(name)).hexdigest()[:16]
    # The decoder looks into the file, whatever its ending says.
    suffix = Path(path).suffix if path and is_audio(path) else ".wav"
    if name.lower() in taken:
        name = f"{name}-{number}"
    taken.add(name.lower())
    return name if is_audio(name) else f"{name}{suffix}"


def _write_sound(path: Path, content: Any) -> None:
    # A row without sound has none here either: it is told when it is asked about.
    if content is None or (path.is_file() and path.stat().st_size == content.size):
        return
    write_sound(path, lambda place: place.write_bytes(content))
