"""Captions and references in the files of other systems, beside our own JSON Lines.

| file | holds |
|---|---|
| `.csv`, `.tsv` | DCASE's (`file_name`, `caption_predicted`), Clotho's (`file_name`, `caption_1` ...) |
| `.json` | COCO's results `[{"image_id": 1, "caption": "..."}]`, or its references `{"annotations": [...]}` |

A row that cannot be read costs itself only, and is named.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_common.strict_json import JSONError, is_writable_text, parse_json

from aac_llm.data.languages import ENGLISH
from aac_llm.data.manifest import Clip, ManifestError, read_manifest
from aac_llm.data.predictions import Prediction, PredictionError, read_predictions
from aac_llm.data.table import Row, Table, read_table
from aac_llm.data.timestamps import TimedEvent
from aac_llm.files import is_stream, read_bytes

TABLES = (".csv", ".tsv")
CAPTION_COLUMNS = ("caption_predicted", "caption", "candidate", "prediction")
"""Names of a system's caption in tables, the first that is there counts."""
REFERENCE_COLUMN = re.compile(r"caption_(reference_)?\d+")


@dataclass
class References:
    """The references of clips, and what else their file knows."""

    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Id -> references, perhaps none, in the order of the file."""
    audio: dict[str, Path] = field(default_factory=dict)
    """Id -> sound file."""
    timestamps: dict[str, tuple[TimedEvent, ...]] = field(default_factory=dict)
    """Id -> events with their times, perhaps none; clips whose times are not known are not here."""
    num_clips: int = 0
    """Clips of the file, of the split; `limit` may leave fewer."""

    def add(self, clip_id: str, texts: Sequence[str], audio: Path | None = None) -> None:
        """Add references of a clip."""
        self.texts[clip_id] = (*self.texts.get(clip_id, ()), *texts)
        self.num_clips = len(self.texts)
        if audio is not None:
            self.audio[clip_id] = audio

    def first(self, limit: int | None) -> References:
        """Return the first clips, or all."""
        ids = list(self.texts)[:limit]
        return dataclasses.replace(self, texts={clip_id: self.texts[clip_id] for clip_id in ids})

    def name_alike(self, predictions: Iterable[Prediction], problems: list[str]) -> list[Prediction]:
        """Give predictions the ids of their clips, where they are named by sound files, and their sounds."""
        ids = self._ids_by_name()
        named: dict[tuple[str, float | None], Prediction] = {}
        for prediction in predictions:
            clip_id = prediction.id
            if clip_id not in self.texts:
                # Some systems write the path of a file in its data set.
                names = (clip_id, clip_id.replace("\\", "/").rpartition("/")[2])
                clip_id = next((ids[name] for name in names if name in ids), clip_id)
            audio = prediction.audio or (str(self.audio[clip_id]) if clip_id in self.audio else None)
            renamed = dataclasses.replace(prediction, id=clip_id, audio=audio)
            if named.setdefault(renamed.key, renamed) is not renamed:
                problems.append(
                    f"{prediction.id!r}: a second caption of the clip {clip_id!r}; leave one of them"
                )
        return list(named.values())

    def _ids_by_name(self) -> dict[str, str]:
        pairs = [(name, id) for id, path in self.audio.items() for name in {path.name, path.stem}]
        counts = Counter(name for name, _ in pairs)
        # Files of one name in two folders: a guess could be wrong.
        return {name: clip_id for name, clip_id in pairs if counts[name] == 1}


def read_system(path: Path, problems: list[str]) -> list[Prediction]:
    """Read the captions of a system from any of these files.

    Args:
        path: the file; `-` is the standard input.
        problems: gets `file:line: reason` of each row that cannot be read.

    Raises:
        PredictionError: the file has another form, or not one row can be read.
        FileNotFoundError: there is no such file.
    """
    try:
        if path.suffix.lower() in TABLES:
            found = _read_table_of_captions(path, problems)
        elif path.suffix.lower() == ".json" or (is_stream(path) and read_bytes(path).lstrip()[:1] == b"["):
            found = _read_coco_results(path, problems)
        else:
            found = read_predictions(path, problems=problems)
    except ManifestError as e:
        raise PredictionError(str(e)) from e
    if not found:
        raise PredictionError(problems[0] if problems else f"{path} has no captions")
    return found


def read_references(
    path: Path, problems: list[str], *, split: str | None = None, language: str = ENGLISH
) -> References:
    """Read references from a manifest, a table or COCO's JSON.

    Args:
        path: the file; `-` is a manifest on the standard input.
        problems: gets `file:line: reason` of each row that cannot be read.
        split: use only this split of a manifest.
        language: take these captions of a manifest.

    Raises:
        ValueError: the file has another form, not one row can be read, or it has several splits and none is
            named.
    """
    references = References()
    if path.suffix.lower() in TABLES:
        for row in _read_rows(path, ("file_name", "caption_1"), problems):
            name = Path(row.cells["file_name"])
            if not name.name:
                problems.append(f"{path}:{row.line}: file_name is empty")
                continue
            references.add(name.stem, _references_of(row.cells), name)
    elif path.suffix.lower() == ".json":
        _read_coco_references(path, references, problems)
    else:
        for clip in read_split(path, split, language, problems):
            references.add(clip.id, clip.captions, clip.audio)
            if clip.timestamps is not None:
                references.timestamps[clip.id] = clip.timestamps
    if not references.texts:
        raise ManifestError(problems[0] if problems else f"{path} has no references")
    return references


def read_split(path: Path, split: str | None, language: str, problems: list[str]) -> list[Clip]:
    """Read the clips of a split of a manifest, or all if it has one split only.

    Raises:
        ValueError: there are several splits and none is named.
    """
    clips = read_manifest(path, split=split, language=language, keep_uncaptioned=True, problems=problems)
    splits = sorted({clip.split or "(none)" for clip in clips})
    if split is None and len(splits) > 1:
        raise ValueError(f"{path} has the splits {', '.join(splits)}: choose one with --split")
    return clips


def _read_rows(path: Path, required: Sequence[str], problems: list[str]) -> list[Row]:
    return _whole_rows(read_table(path, required), problems)


def _whole_rows(table: Table, problems: list[str]) -> list[Row]:
    problems += [f"{problem.where}: {problem.message}" for problem in table.problems]
    return table.rows


def _read_table_of_captions(path: Path, problems: list[str]) -> list[Prediction]:
    table = read_table(path, ("file_name",))
    column = next((name for name in CAPTION_COLUMNS if name in table.columns), None)
    if column is None:
        raise PredictionError(
            f"{path}:1: expected the columns file_name and caption_predicted, got {', '.join(table.columns)}"
        )
    found: dict[str, Prediction] = {}
    for row in _whole_rows(table, problems):
        name = row.cells["file_name"]
        if not name or name in found:
            reason = f"a second caption of {name!r}; leave one of them" if name else "file_name is empty"
            problems.append(f"{path}:{row.line}: {reason}")
            continue
        found[name] = Prediction(
            name, None, row.cells[column], references=tuple(_references_of(row.cells, column))
        )
    return list(found.values())


def _references_of(cells: Mapping[str, str], but: str = "") -> list[str]:
    return [text for name, text in cells.items() if name != but and text and REFERENCE_COLUMN.fullmatch(name)]


def _read_json(path: Path) -> Any:
    try:
        return parse_json(read_bytes(path), str(path))
    except JSONError as e:
        raise ManifestError(str(e)) from e


def _read_coco_results(path: Path, problems: list[str]) -> list[Prediction]:
    rows = _read_json(path)
    if not isinstance(rows, list):
        raise PredictionError(
            f'{path}:1: expected a list of {{"image_id": ..., "caption": ...}}, got {type(rows).__name__}'
        )
    found: dict[str, Prediction] = {}
    for number, row in enumerate(rows, start=1):
        pair = _image_and_caption(row)
        if pair is None or pair[0] in found:
            reason = _explain(row) if pair is None else f"a second caption of {pair[0]!r}; leave one of them"
            problems.append(f"{path}: entry {number}: {reason}")
            continue
        found[pair[0]] = Prediction(pair[0], None, pair[1])
    return list(found.values())


def _read_coco_references(path: Path, references: References, problems: list[str]) -> None:
    content = _read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise ManifestError(
            f'{path}:1: expected {{"images": [...], "annotations": [...]}}, got {type(content).__name__}'
        )
    images = content.get("images")
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and isinstance(image.get("id"), int | str):
            name = image.get("file_name")
            references.add(str(image["id"]), (), Path(name) if isinstance(name, str) and name else None)
    for number, row in enumerate(content["annotations"], start=1):
        pair = _image_and_caption(row)
        if pair is None or not pair[1].strip():
            problems.append(f"{path}: annotation {number}: {_explain(row)}")
        else:
            references.add(pair[0], (pair[1],))


def _image_and_caption(row: Any) -> tuple[str, str] | None:
    if not isinstance(row, dict):
        return None
    name, caption = row.get("image_id"), row.get("caption")
    # bool is an int for Python, not for us.
    if not isinstance(name, int | str) or isinstance(name, bool) or not isinstance(caption, str):
        return None
    if not is_writable_text(f"{name}{caption}"):
        return None
    return str(name), caption


def _explain(row: Any) -> str:
    return f"expected an image_id (number or text) and a caption (text), got {str(row)[:80]}"
