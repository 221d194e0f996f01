"""Captions of sounds in a file: one JSON object a line, what captioning writes and the other verbs read.

    {"id": "park/rain.wav", "audio": "/data/park/rain.wav", "caption": "rain falls on leaves",
     "candidates": [{"caption": "rain falls on leaves", "score": -0.41}, ...]}

`start` and `end` (seconds) are there where the caption is of a part of the sound, `unfinished` where it was
stopped at the most tokens that a caption may have, `timestamps` where the captioner wrote events with their
times, `score` (mean log-probability of the caption's tokens) where a model wrote it, `confidence` where it is
known how often such captions are right, `parts` where the sound was longer than the model was trained on and
was heard in overlapping windows, `references` where the manifest had captions, `original` and `correction`
where a second language model changed the caption. Only `id` and `caption` must be there, so files of other
systems are easy to make; unknown keys are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_common.strict_json import JSONError, is_writable_text, read_records

from aac_llm.data.manifest import ManifestError, is_seconds, json_rows
from aac_llm.data.timestamps import TimedEvent, events_of_row, rows_of_events
from aac_llm.files import to_json, write_bytes

NO_SOUND = "no sound"
"""The caption of silence, in which nothing can be heard (see `models/silence.py`)."""


class PredictionError(ValueError):
    """A file of predictions that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Candidate:
    """One of several captions of a sound."""

    text: str
    """The caption (key `caption` in files)."""
    score: float
    """Mean log-probability of its tokens."""
    unfinished: bool = False
    """Whether it was stopped at `max_new_tokens`, before its end."""


@dataclass(frozen=True)
class CaptionPart:
    """What was heard in a window of a sound."""

    start: float
    """Seconds from the sound's beginning."""
    end: float
    """Seconds from the sound's beginning."""
    text: str
    """The caption (key `caption` in files)."""
    score: float | None = None
    """Mean log-probability of its tokens."""
    confidence: float | None = None
    """How likely it is right, 0 to 1; None: not known."""


@dataclass(frozen=True)
class Prediction:
    """The caption of a sound or of a part of it."""

    id: str
    """Name of the sound: its id in a manifest, else its path; parts of one sound share it."""
    audio: str | None
    """Path of the sound; None where only a waveform was given."""
    caption: str
    """The caption."""
    candidates: tuple[Candidate, ...] = ()
    """All captions that were generated, the model's best first, if there is more than one."""
    start: float | None = None
    """Seconds from the sound's beginning where the caption holds; None: it is of the whole sound."""
    end: float | None = None
    """Seconds from the sound's beginning until where the caption holds."""
    unfinished: bool = False
    """Whether the model was stopped at `max_new_tokens`, before the caption's end."""
    timestamps: tuple[TimedEvent, ...] = ()
    """Events with their times from the sound's beginning, if the captioner wrote them."""
    score: float | None = None
    """Mean log-probability of the caption's tokens; None: no model of ours wrote it."""
    confidence: float | None = None
    """How likely the caption is right, 0 to 1; None: not known."""
    parts: tuple[CaptionPart, ...] = ()
    """What was heard in each window, if the sound was longer than the model was trained on."""
    references: tuple[str, ...] = ()
    """The manifest's captions of the sound, if there are any."""
    original: str | None = None
    """The caption before correction, if it was corrected."""
    correction: dict[str, Any] | None = None
    """Decision of the correction, and its reason."""

    @property
    def key(self) -> tuple[str, float | None]:
        """The sound's name and where the part starts, which no two predictions of a file share."""
        return self.id, self.start


def unfinished_note(count: int, total: int) -> str:
    """Say how many captions were stopped before their end, and what to do."""
    return (
        f"{count:,} of {total:,} captions were stopped before their end, at the most tokens of a caption; "
        "--max_new_tokens allows more"
    )


def row_of(prediction: Prediction) -> dict[str, Any]:
    """Return the object of a line; keys without content are left out."""
    row: dict[str, Any] = {"id": prediction.id, "audio": prediction.audio, "caption": prediction.caption}
    if prediction.start is not None:
        row |= {"start": prediction.start, "end": prediction.end}
    if prediction.unfinished:
        row["unfinished"] = True
    if prediction.timestamps:
        row["timestamps"] = rows_of_events(prediction.timestamps)
    row |= _judgement(prediction)
    if prediction.parts:
        row["parts"] = [
            {"start": part.start, "end": part.end, "caption": part.text} | _judgement(part)
            for part in prediction.parts
        ]
    if prediction.candidates:
        row["candidates"] = [
            {"caption": candidate.text, "score": candidate.score}
            | ({"unfinished": True} if candidate.unfinished else {})
            for candidate in prediction.candidates
        ]
    if prediction.references:
        row["references"] = list(prediction.references)
    if prediction.original is not None:
        row["original"] = prediction.original
    if prediction.correction is not None:
        row["correction"] = prediction.correction
    return row


def _judgement(one: Prediction | CaptionPart) -> dict[str, float]:
    found = {"score": one.score, "confidence": one.confidence}
    return {name: value for name, value in found.items() if value is not None}


def from_json(row: Any) -> Prediction:
    """Make the prediction of a line's object.

    Raises:
        PredictionError: a key is missing or holds something else than it must.
    """
    if not isinstance(row, dict):
        raise PredictionError(f"expected a JSON object, got {type(row).__name__}")
    return Prediction(
        id=_text(row, "id"),
        audio=None if row.get("audio") is None else _text(row, "audio"),
        caption=_text(row, "caption"),
        candidates=tuple(_candidate(value) for value in _list(row, "candidates")),
        start=_seconds(row, "start"),
        end=_seconds(row, "end"),
        unfinished=row.get("unfinished") is True,
        timestamps=_events(row),
        score=_number(row, "score"),
        confidence=_share(row, "confidence"),
        parts=tuple(_part(value) for value in _list(row, "parts")),
        references=tuple(_reference(value) for value in _list(row, "references")),
        original=None if row.get("original") is None else _text(row, "original"),
        correction=_object(row, "correction"),
    )


def read_predictions(path: str | Path, *, problems: list[str] | None = None) -> list[Prediction]:
    """Read all predictions of a file, in order.

    Args:
        path: a JSONL file; `-` is the standard input.
        problems: gets `file:line: reason` of each line that cannot be used; without it that is an error.

    Raises:
        FileNotFoundError: no such file.
        PredictionError: a line that is no prediction, or the second one of the same sound (and part).
    """
    path = Path(path)
    predictions = []
    seen: dict[tuple[str, float | None], int] = {}
    for number, row in _rows(path):
        try:
            if isinstance(row, JSONError):
                raise PredictionError(str(row)) from row
            prediction = _parse(row, f"{path}:{number}")
            if prediction.key in seen:
                raise PredictionError(
                    f"{path}:{number}: a second caption of {prediction.id!r}, the first is in line "
                    f"{seen[prediction.key]}; leave one of them"
                )
        except PredictionError as e:
            if problems is None:
                raise
            problems.append(str(e))
            continue
        seen[prediction.key] = number
        predictions.append(prediction)
    return predictions


def read_own_predictions(path: Path) -> list[Prediction]:
    """Read what a run of ours wrote, without a line that a kill cut or a disk damaged.

    Raises:
        PredictionError: a line is of another program.
    """
    found: dict[tuple[str, float | None], Prediction] = {}
    for row in read_records(path):
        prediction = _parse(row, str(path))
        found[prediction.key] = prediction
    return list(found.values())


def append_predictions(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Add lines to a file, on the disk when this returns."""
    try:
        with Path(path).open("ab") as file:
            file.write(b"".join(map(_line, predictions)))
            # A machine that goes down must not take captions with it that the report counts.
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(path)  # a full disk is told without a name
        raise


def write_predictions(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Write a file anew; a reader, or a kill meanwhile, finds the old one or the new one."""
    write_bytes(path, b"".join(map(_line, predictions)))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | JSONError]]:
    try:
        yield from json_rows(path)
    except ManifestError as e:
        raise PredictionError(str(e)) from e


def _line(prediction: Prediction) -> bytes:
    return to_json(row_of(prediction)) + b"\n"


def _parse(row: dict[str, Any], where: str) -> Prediction:
    try:
        return from_json(row)
    except PredictionError as e:
        raise PredictionError(f"{where}: {e}") from e


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    # A caption may be empty: a model may say nothing, and is scored for it.
    if not isinstance(value, str) or (key == "id" and not value):
        raise PredictionError(f"expected a text under {key!r}, got {value!r}")
    # Names of files, and ids that are made of them, can hold bytes that are no text.
    if key not in ("id", "audio") and not is_writable_text(value):
        raise PredictionError(f"expected a text under {key!r}, got bytes that are none: {value!r}")
    return value


def _seconds(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if not is_seconds(value):
        raise PredictionError(f"expected seconds under {key!r}, got {value!r}")
    return float(value)


def _share(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    if value is not None and not (is_seconds(value) and value <= 1):
        raise PredictionError(f"expected a number from 0 to 1 under {key!r}, got {value!r}")
    return None if value is None else float(value)


def _number(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    try:
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise TypeError("no number")
        return None if value is None else float(value)
    except (TypeError, OverflowError) as e:
        raise PredictionError(f"expected a number under {key!r}, got {value!r}") from e


def _part(value: Any) -> CaptionPart:
    times = [_seconds(value, key) for key in ("start", "end")] if isinstance(value, dict) else [None]
    if None in times:
        raise PredictionError(
            f'expected {{"start": seconds, "end": seconds, "caption": text}} under \'parts\', got {value!r}'
        )
    start, end = (float(seconds or 0.0) for seconds in times)
    text = _text(value, "caption")
    return CaptionPart(start, end, text, _number(value, "score"), _share(value, "confidence"))


def _events(row: dict[str, Any]) -> tuple[TimedEvent, ...]:
    try:
        return events_of_row(row.get("timestamps"))
    except ValueError as e:
        raise PredictionError(str(e)) from e


def _list(row: dict[str, Any], key: str) -> list[Any]:
    value = row.get(key) or []
    if not isinstance(value, list):
        raise PredictionError(f"expected a list under {key!r}, got {value!r}")
    return value


def _object(row: dict[str, Any], key: str) -> dict[str, Any] | None:
    value = row.get(key)
    if value is not None and not isinstance(value, dict):
        raise PredictionError(f"expected an object under {key!r}, got {value!r}")
    return value


def _candidate(value: Any) -> Candidate:
    try:
        if not isinstance(value, dict) or not isinstance(value.get("score"), int | float):
            raise TypeError("no number")
        score = float(value["score"])
    except (TypeError, OverflowError) as e:  # an int may be larger than any float
        raise PredictionError(
            f'expected {{"caption": text, "score": number}} under \'candidates\', got {value!r}'
        ) from e
    return Candidate(_text(value, "caption"), score, value.get("unfinished") is True)


def _reference(value: Any) -> str:
    if not isinstance(value, str) or not is_writable_text(value):
        raise PredictionError(f"expected texts under 'references', got {value!r}")
    return value
