"""Published data sets to clips: the authors' JSON, Clotho's and AudioCaps' CSV files.

A reader finds each row's sound file and captions. A row that cannot be used becomes a `Problem` and the
others go on; only a source of the wrong form is an error. Whether the sound files are sound is for
`ml_clap.data.prepare` to find out. Labelled folders are in `ml_clap.data.readers.labelled`, Tux Paint's
stamps in `ml_clap.data.readers.tuxpaint`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_common.files import AudioFolder

from ml_clap.config.prepare import PrepareAudioCapsConfig, PrepareClothoConfig, PrepareReferenceConfig
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import Clip, ManifestError

AUDIOCAPS_SECONDS = 10
"""Length of an AudioCaps clip, of which some file names are made."""
CLOTHO_SPLITS = {
    "clotho_captions_development.csv": ("development", "train"),
    "clotho_captions_validation.csv": ("validation", "validation"),
    "clotho_captions_evaluation.csv": ("evaluation", "test"),
}
"""File of the published set -> its folder of sounds, our name of the split."""
AUDIOCAPS_SPLITS = {"train.csv": "train", "val.csv": "validation", "test.csv": "test"}


@dataclass(frozen=True)
class Problem:
    """Something that a user should know about one clip or row."""

    kind: str
    """A key of `ml_clap.data.prepare.KINDS`."""
    where: str
    """Ids of the clips, or `file:line`."""
    message: str


@dataclass
class Reading:
    """What a reader found."""

    clips: list[Clip] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_reference(config: PrepareReferenceConfig) -> Reading:
    """Read the authors' JSON: `{"num_captions_per_audio": N, "data": [...]}`.

    An entry has `caption_1` and `source_lang_1` to N, or `caption` and `source_lang`; its file is `audio` or
    `wav`, a path or a name.
    """
    entries = _reference_entries(config.source)
    files = AudioFolder(config.audio or config.source.parent)
    reading = Reading()
    for number, entry in enumerate(entries):
        where = f"{config.source}: entry {number}"
        try:
            captions = _reference_captions(entry, config.language)
            names = [str(entry[key]) for key in ("wav", "audio") if entry.get(key)]
            audio = _find_first(files, names)
        except (ValueError, AttributeError) as e:
            reading.problems.append(Problem("row", where, str(e)))
        except LookupError as e:
            reading.problems.append(Problem("missing", f"{where} ({entry.get('id', '')})", str(e)))
        else:
            reading.clips.append(
                Clip(str(entry.get("id") or audio.stem), audio, captions, split=config.split)
            )
    return reading


def _reference_entries(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as e:
        raise ManifestError(f"{path}:{e.lineno}: not JSON: {e.msg} at column {e.colno}") from e
    except UnicodeDecodeError as e:
        raise ManifestError(f"{path}:1: not UTF-8 text ({e})") from e
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise ManifestError(f"{path}:1: expected an object with a list `data`, got {type(content).__name__}")
    return content["data"]


def _reference_captions(entry: Mapping[str, Any], language: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(entry, dict):
        raise ValueError(f"expected an object, got {type(entry).__name__}")
    captions: dict[str, list[str]] = {}
    for key, text in entry.items():
        if (key == "caption" or key.startswith("caption_")) and isinstance(text, str) and text.strip():
            tag = entry.get(key.replace("caption", "source_lang")) or language
            captions.setdefault(resolve(tag), []).append(text)
    if not captions:
        raise ValueError(f"no caption or caption_1, ...; the entry has {', '.join(entry)}")
    return {tag: tuple(texts) for tag, texts in captions.items()}


def _find_first(files: AudioFolder, names: list[str]) -> Path:
    if not names:
        raise ValueError("neither `audio` nor `wav` names a file")
    for name in names[:-1]:
        try:
            return files.find(name)
        except LookupError:
            continue
    return files.find(names[-1])


def read_clotho(config: PrepareClothoConfig) -> Reading:
    """Read Clotho's CSV: one row a clip, with `file_name` and `caption_1` to `caption_5`."""
    reading = Reading()
    for table, folder, split in _clotho_tables(config):
        files = AudioFolder(folder)
        for line, row in read_csv(table, ("file_name", "caption_1")):
            texts = [row[key] for key in row if key.startswith("caption_") and (row[key] or "").strip()]
            _add(reading, f"{table}:{line}", files, row["file_name"], texts, config.language, split)
    return reading


def _clotho_tables(config: PrepareClothoConfig) -> Iterator[tuple[Path, Path, str | None]]:
    """Give CSV file, folder of its audio, split."""
    if not config.source.is_dir():
        yield config.source, config.audio or config.source.parent, config.split
        return
    root = config.audio or config.source
    for name, (folder, split) in CLOTHO_SPLITS.items():
        table = config.source / name
        if table.is_file():
            yield table, root / folder if (root / folder).is_dir() else root, split
    _check_folder(config.source, CLOTHO_SPLITS, config.split)


def _add(
    reading: Reading,
    where: str,
    files: AudioFolder,
    name: str,
    texts: list[str],
    language: str,
    split: str | None,
) -> None:
    if not name or not texts:
        reading.problems.append(Problem("row", where, "the row has no file_name or no caption"))
        return
    try:
        audio = files.find(name)
    except LookupError as e:
        reading.problems.append(Problem("missing", where, str(e)))
        return
    reading.clips.append(Clip(Path(name).stem, audio, {resolve(language): tuple(texts)}, split=split))


def read_audiocaps(config: PrepareAudioCapsConfig) -> Reading:
    """Read AudioCaps' CSV: a row a caption; rows of one `youtube_id` and `start_time` are one clip."""
    files = AudioFolder(config.audio or (config.source if config.source.is_dir() else config.source.parent))
    language = resolve(config.language)
    reading = Reading()
    for table, split in _audiocaps_tables(config):
        captions: dict[tuple[str, float], list[str]] = {}
        first_line: dict[tuple[str, float], int] = {}
        for line, row in read_csv(table, ("youtube_id", "start_time", "caption")):
            try:
                key = row["youtube_id"].strip(), float(row["start_time"])
                if not key[0] or not row["caption"].strip():
                    raise ValueError("youtube_id or caption is empty")
            except ValueError as e:
                reading.problems.append(Problem("row", f"{table}:{line}", str(e)))
                continue
            captions.setdefault(key, []).append(row["caption"])
            first_line.setdefault(key, line)
        for key, texts in captions.items():
            clip_id = f"{key[0]}_{key[1]:g}"
            try:
                audio = files.find_stem(audiocaps_names(*key))
            except LookupError:
                message = (
                    f"no file below {files.folder} is named Y{key[0]}, {clip_id} or in another known way"
                )
                reading.problems.append(Problem("missing", f"{table}:{first_line[key]}", message))
            else:
                reading.clips.append(Clip(clip_id, audio, {language: tuple(texts)}, split=split))
    return reading


def _audiocaps_tables(config: PrepareAudioCapsConfig) -> Iterator[tuple[Path, str | None]]:
    if not config.source.is_dir():
        yield config.source, config.split
        return
    for name, split in AUDIOCAPS_SPLITS.items():
        if (config.source / name).is_file():
            yield config.source / name, split
    _check_folder(config.source, AUDIOCAPS_SPLITS, config.split)


def audiocaps_names(youtube_id: str, start: float) -> list[str]:
    """Return the names, without suffix, that downloaders give a clip.

    Those with the start come first, as one video can give several clips.

    >>> audiocaps_names("dQw4w9WgXcQ", 30)[:3]
    ['dQw4w9WgXcQ_30', 'YdQw4w9WgXcQ_30', 'dQw4w9WgXcQ_30_40']
    """
    end = start + AUDIOCAPS_SECONDS
    spans = [
        f"_{start:g}",
        f"_{start:g}_{end:g}",
        f"_{start * 1000:.0f}",
        f"_{start * 1000:.0f}_{end * 1000:.0f}",
    ]
    spans += [f"_{start:.{digits}f}_{end:.{digits}f}" for digits in (1, 3)] + [f"_{start:.1f}", ""]
    return [prefix + youtube_id + span for span in spans for prefix in ("", "Y")]


def read_csv(path: Path, needed: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Give (line number, row by column) of a CSV file; cells that are not there are empty.

    Raises:
        ManifestError: a needed column is missing, or the file is not UTF-8 or not CSV.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        try:
            columns = reader.fieldnames or []
            missing = [name for name in needed if name not in columns]
            if missing:
                raise ManifestError(
                    f"{path}:1: no column {', '.join(missing)}; there are {', '.join(columns)}"
                )
            for row in reader:
                row.pop(None, None)  # type: ignore[call-overload]  # cells beyond the last column
                yield reader.line_num, row
        except (UnicodeDecodeError, csv.Error) as e:
            raise ManifestError(f"{path}:{reader.line_num + 1}: not CSV in UTF-8 ({e})") from e


def _check_folder(folder: Path, names: Iterable[str], split: str | None) -> None:
    if split is not None:
        raise ValueError(
            f"split: {folder} is a folder of CSV files that are splits already; leave --split out"
        )
    if not any((folder / name).is_file() for name in names):
        raise FileNotFoundError(f"{folder} has none of {', '.join(names)}; name a CSV file instead")
