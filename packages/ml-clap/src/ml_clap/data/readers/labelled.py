"""Sounds with a label each, and captions of each label, to clips: ESC-10, ESC-50, or one's own folders.

Splits are made by a column of the list (ESC's `fold`). Validation clips are taken from the training clips by
whole recordings: clips cut from one recording are so alike that a model which has heard one knows the others.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_common.files import find_audio
from audio_common.strict_json import read_json

from ml_clap.config.prepare import PrepareFolderConfig
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import KEYS, Clip, ManifestError, name_fault
from ml_clap.data.readers.reading import Reading, id_of_file, seconds_or_none
from ml_clap.tables import count_of

Captions = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Label -> language -> captions."""


@dataclass(frozen=True)
class Row:
    """A labelled sound as its source has it."""

    audio: Path
    name: str
    """Path relative to the folder of the sounds."""
    label: str
    columns: Mapping[str, Any]
    where: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest keeps of the columns."""


AUDIO_COLUMNS = ("audio", "filename", "file_name")
LABEL_COLUMNS = ("label", "category")
TABLE_SUFFIXES = (".csv", ".tsv")


def read_folder(config: PrepareFolderConfig) -> Reading:
    """Read labelled audio with the captions of its labels, in splits."""
    assert config.captions is not None, "checked by PrepareFolderConfig"
    captions = read_label_captions(config.captions)
    reading = Reading()
    rows = _rows_of_folder(config.source) if config.source.is_dir() else _rows_of_list(config, reading)
    rows = _with_captions(rows, captions, config.captions, reading)
    rows = _with_recording(rows, config.recording, reading)
    rows, splits = _split(rows, config, reading)
    _note_shared_recordings(rows, splits, config.recording, reading)
    splits = _with_validation(rows, splits, config)
    for row, split in zip(rows, splits, strict=True):
        own = _captions_of_split(captions[row.label], split, config.train_captions, row.label)
        duration = seconds_or_none(row.columns.get("duration"))
        extra = dict(row.extra)
        if config.recording is not None:  # for intervals that resample recordings
            extra.setdefault("recording", recording_of(row, config.recording))
        reading.clips.append(
            Clip(
                id_of_file(row.name),
                row.audio,
                own,
                split=split,
                label=row.label,
                duration=duration,
                extra=extra,
            )
        )
    return reading


def read_label_captions(path: Path) -> Captions:
    """Read the JSON file label -> language -> list of captions.

    Raises:
        JSONError: it is no JSON.
        ManifestError: it is not that.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise ManifestError(f"{path}:1: expected an object label -> language -> captions")
    return {label: _languages(path, label, value) for label, value in content.items()}


def _languages(path: Path, label: str, value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not value:
        raise ManifestError(f"{path}:1: captions of {label!r} must be an object language -> list of texts")
    for tag, texts in value.items():
        good = isinstance(texts, list) and texts and all(isinstance(t, str) and t.strip() for t in texts)
        if not good:
            raise ManifestError(
                f"{path}:1: captions of {label!r} in {tag} must be a list of texts, got {texts!r}"
            )
    try:
        return {resolve(tag): tuple(texts) for tag, texts in value.items()}
    except ValueError as e:
        raise ManifestError(f"{path}:1: captions of {label!r}: {e}") from e


def _rows_of_folder(folder: Path) -> list[Row]:
    """Return each audio file below the folder, labelled by the folder that it lies in."""
    files = find_audio(folder)
    names = [path.relative_to(folder).as_posix() for path in files]
    rows = zip(files, names, strict=True)
    return [Row(path, name, path.parent.name, {"label": path.parent.name}, name) for path, name in rows]


def _rows_of_list(config: PrepareFolderConfig, reading: Reading) -> list[Row]:
    path, folder = config.source, config.audio or config.source.parent
    lines: Iterable[tuple[int, Mapping[str, Any]]] = (
        ((row.line, row.cells) for row in reading.table_rows(path, ()))
        if path.suffix.lower() in TABLE_SUFFIXES
        else reading.json_rows(path)
    )
    rows = []
    for line, columns in lines:
        name = next((columns[key] for key in AUDIO_COLUMNS if columns.get(key)), None)
        label = next((columns[key] for key in LABEL_COLUMNS if columns.get(key)), None)
        where = f"{path}:{line}"
        if isinstance(name, str) and (fault := name_fault(name)):
            reading.add_problem("row", where, fault)
        elif isinstance(name, str) and isinstance(label, str):
            known = {*AUDIO_COLUMNS, *LABEL_COLUMNS, *KEYS}
            extra = {key: value for key, value in columns.items() if key not in known}
            rows.append(Row(folder / name, name, label, columns, where, extra))
        else:
            message = f"no audio (or filename) or no label (or category); there are {', '.join(columns)}"
            reading.add_problem("row", where, message)
    return rows


def _with_captions(rows: Sequence[Row], captions: Captions, path: Path, reading: Reading) -> list[Row]:
    """Return the rows whose label has captions; the others become problems.

    Raises:
        ManifestError: no row's label has any.
    """
    missing = sorted({row.label for row in rows} - set(captions))
    if missing and not any(row.label in captions for row in rows):
        raise ManifestError(f"{path}:1: no captions of {', '.join(missing)}; there are {', '.join(captions)}")
    for row in rows:
        if row.label not in captions:
            reading.add_problem("row", row.where, f"{path} has no captions of its label {row.label!r}")
    return [row for row in rows if row.label in captions]


def _split(
    rows: list[Row], config: PrepareFolderConfig, reading: Reading
) -> tuple[list[Row], list[str | None]]:
    """Return the rows that have a split, and their splits."""
    if config.split_by is None:
        return rows, ["train" if config.validation else None] * len(rows)
    split_of = parse_splits(config.splits)
    kept: list[Row] = []
    splits: list[str | None] = []
    unnamed = Counter[str]()
    with_column = [row for row in rows if config.split_by in row.columns]
    if rows and not with_column:
        there = ", ".join(rows[0].columns)
        raise ManifestError(f"{rows[0].where}: no column {config.split_by!r}; there are {there}")
    for row in rows:
        if config.split_by not in row.columns:
            reading.add_problem("row", row.where, f"no {config.split_by}, so it has no split")
            continue
        value = str(row.columns[config.split_by])
        split = split_of.get(value) if split_of else value
        if split is not None:
            kept.append(row)
            splits.append(split)
        else:
            unnamed[value] += 1
    if unnamed:
        reading.notices.append(
            f"{count_of(unnamed.total(), 'row')} with {config.split_by} {', '.join(sorted(unnamed))} left "
            "out: in none of the splits (--splits)"
        )
    if not kept:
        raise ManifestError(
            f"{config.source}:1: no value of {config.split_by} is named in {' '.join(config.splits)}"
        )
    return kept, splits


def parse_splits(written: Sequence[str]) -> dict[str, str]:
    """Return value of the column -> split.

    >>> parse_splits(["train=1,2", "test=4"])
    {'1': 'train', '2': 'train', '4': 'test'}

    Raises:
        ValueError: a part is not `SPLIT=VALUE,...`, or a value is in two splits.
    """
    split_of: dict[str, str] = {}
    for part in written:
        split, equals, values = part.partition("=")
        if not split or not equals or not values:
            raise ValueError(f"splits must be such as train=1,2,3 test=4, got {part!r}")
        for value in values.split(","):
            if split_of.setdefault(value.strip(), split) != split:
                raise ValueError(f"splits: {value.strip()} is in {split_of[value.strip()]} and in {split}")
    return split_of


def recording_of(row: Row, recording: str | None) -> str:
    """Name of the recording that a clip was cut from, by the setting `recording`."""
    if recording is None:
        return row.name
    if recording in row.columns:
        return str(row.columns[recording])
    try:
        match = re.search(recording, Path(row.name).name)
    except re.error as e:
        raise ValueError(
            f"recording: {recording!r} is neither a column nor a regular expression ({e})"
        ) from e
    if match is None or not match.groups():
        raise ValueError(
            f"recording: {recording!r} is no column ({', '.join(row.columns)}) and, as a regular expression, "
            f"finds no group in {Path(row.name).name!r}"
        )
    return match[1]


def _with_recording(rows: Sequence[Row], recording: str | None, reading: Reading) -> list[Row]:
    """Return the rows whose recording can be told; the others become problems.

    Raises:
        ValueError: it can be told of no row.
    """
    faults: dict[int, ValueError] = {}
    for place, row in enumerate(rows):
        try:
            recording_of(row, recording)
        except ValueError as e:
            faults[place] = e
    if faults and len(faults) == len(rows):
        raise faults[0]
    for place, fault in faults.items():
        reading.add_problem("row", rows[place].where, fault)
    return [row for place, row in enumerate(rows) if place not in faults]


def _note_shared_recordings(
    rows: Sequence[Row], splits: Sequence[str | None], recording: str | None, reading: Reading
) -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for row, split in zip(rows, splits, strict=True):
        found[recording_of(row, recording)].add(str(split))
    for name, its_splits in found.items():
        if len(its_splits) > 1:
            message = f"clips of this recording are in the splits {', '.join(sorted(its_splits))}"
            reading.add_problem("overlap", f"recording {name}", message)


def _with_validation(
    rows: Sequence[Row], splits: list[str | None], config: PrepareFolderConfig
) -> list[str | None]:
    if not config.validation:
        return splits
    training = [place for place, split in enumerate(splits) if split == "train"]
    groups = [(rows[place].label, recording_of(rows[place], config.recording)) for place in training]
    chosen = choose_validation(groups, config.validation, config.seed)
    moved = {training[number] for number in chosen}
    return ["validation" if place in moved else split for place, split in enumerate(splits)]


def choose_validation(clips: Sequence[tuple[str, str]], share: float, seed: int) -> set[int]:
    """Choose the clips (label, recording) that are for validation; returns their indices.

    About `share` of each label, by whole recordings. Of a label with two recordings or more at least one is
    chosen and at least one is not.
    """
    recordings: dict[str, list[int]] = defaultdict(list)
    for place, (_, recording) in enumerate(clips):
        recordings[recording].append(place)
    by_label: dict[str, list[list[int]]] = defaultdict(list)
    for places in recordings.values():
        by_label[clips[places[0]][0]].append(places)
    generator = random.Random(seed)
    chosen: set[int] = set()
    for label in sorted(by_label):
        chosen.update(_choose(by_label[label], share, generator))
    return chosen


def _choose(groups: list[list[int]], share: float, generator: random.Random) -> list[int]:
    if len(groups) < 2:
        return []
    generator.shuffle(groups)
    wanted = share * sum(map(len, groups))
    taken: list[list[int]] = []
    for group in groups:
        if sum(map(len, taken)) + len(group) / 2 <= wanted and len(taken) < len(groups) - 1:
            taken.append(group)
    return [place for group in taken or [min(groups, key=len)] for place in group]


def _captions_of_split(
    captions: Mapping[str, tuple[str, ...]], split: str | None, train_captions: int | None, label: str
) -> dict[str, tuple[str, ...]]:
    """Return a label's captions for a split: training and validation share theirs, others have the rest."""
    if train_captions is None:
        return dict(captions)
    is_training = split in ("train", "validation", None)
    part = slice(None, train_captions) if is_training else slice(train_captions, None)
    own = {language: texts[part] for language, texts in captions.items() if texts[part]}
    if not own:
        raise ValueError(
            f"train_captions: {label!r} has no more than {train_captions} captions in any language, "
            f"which leaves none for the split {split}"
        )
    return own
