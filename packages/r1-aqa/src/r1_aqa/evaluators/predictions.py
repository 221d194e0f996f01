"""Keep the raw answers of a model, a JSON object a line, as they come: a kill loses at most a batch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audio_common.strict_json import read_records

from r1_aqa.data.questions import Question
from r1_aqa.data.rows import iterate_rows
from r1_aqa.files import remove_leftovers, to_json, write_atomically, write_json
from r1_aqa.rewards.verdicts import official_text

logger = logging.getLogger(__name__)

OUTPUT_KEYS = ("output", "model_output", "model_prediction", "answer_prediction")
"""Keys of the answer in our files, MMAU's, the paper's, MMAR's."""


@dataclass(frozen=True)
class Prediction:
    """An answer, or why there is none."""

    row: int
    """Number of the question in its file, from 0: ids need not be unique."""
    id: str
    """The question's id."""
    run: str
    """`given`; `shuffle-1` and so on; `silent`."""
    choices: tuple[str, ...]
    """The options as shown."""
    output: str | None
    """Everything that the model wrote; None when it could not be asked."""
    error: str | None = None
    """Why there is no output; None if there is one."""
    cut: bool = False
    """Whether the model heard only a part of the sound (`sound.max_seconds`, `sound.too_long`)."""
    truncated: bool = False
    """Whether the answer was ended by `max_new_tokens`."""
    windows: tuple[str, ...] = ()
    """What was answered about each window of a long sound (`sound.too_long` windows)."""
    complaints: tuple[str, ...] = ()
    """What is odd about the sound, which was heard nevertheless: damage, channels that cancel each other."""


class PredictionFile:
    """Answers in a file that grows.

    Attributes:
        found: what was answered before, by run and row; failures are asked again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        remove_leftovers(path.parent)
        answers = read_predictions(path) if path.is_file() else []
        self.found = {(a.run, a.row): a for a in answers if a.output is not None}
        # Failures and half a last line, left by a kill, are dropped before anything is appended.
        self._write(self.found.values())

    def append(self, predictions: Iterable[Prediction]) -> None:
        """Append a batch."""
        new = list(predictions)
        with self.path.open("ab") as file:
            file.write(b"".join(map(_line, new)))
        self.found |= {(prediction.run, prediction.row): prediction for prediction in new}

    def sort(self, runs: Sequence[str]) -> None:
        """Write the answers in the order of these runs and of the questions, whatever was asked again."""
        places = {name: place for place, name in enumerate(runs)}
        # Of an earlier command there may be other runs.
        order = sorted(self.found.values(), key=lambda p: (places.get(p.run, len(places)), p.run, p.row))
        self._write(order)

    def _write(self, predictions: Iterable[Prediction]) -> None:
        write_atomically(self.path, b"".join(map(_line, predictions)))

    def run(self, name: str, count: int) -> list[Prediction | None]:
        """Return a run's answers, question by question."""
        return [self.found.get((name, row)) for row in range(count)]


def read_predictions(path: Path) -> list[Prediction]:
    """Return the answers of our own file; half a line at its end, left by a kill, is skipped."""
    found = []
    for row in read_records(path):
        try:
            found.append(from_row(row))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: no answer as `evaluate` writes it ({error})") from error
    return found


def read_outputs(
    path: Path, questions: Sequence[Question], *, faults: list[str] | None = None
) -> list[str | None]:
    """Return the answers to questions from a file of any form, by id; a repeated id in its order.

    Args:
        path: the file.
        questions: that the answers are to.
        faults: rows that are no answers are added to it: `file:line: why`.

    Raises:
        ValueError: no row of the file is about one of the questions, has an answer's key, or an answer is
            no text.
    """
    by_id: dict[str, list[str | None]] = {}
    keys, bad = set(), list[str]()
    for where, row in iterate_rows(path):
        if not isinstance(row, dict):
            bad.append(f"{where}: {row}")
        elif row.get("run", "given") == "given":
            key = next((name for name in OUTPUT_KEYS if name in row), None)
            # Files of other programs differ in this name alone.
            keys.add(key)
            output = row[key] if key else None
            if not isinstance(output, str | None):
                bad.append(f"{where}: {key}: expected text, got {output!r}")
                output = None
            by_id.setdefault(str(row.get("id")), []).append(output)
    if bad:
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        line = f"{len(bad)} rows of {path} are no answers: {'; '.join(bad[:3])}{more}"
        if not any(output is not None for outputs in by_id.values() for output in outputs):
            raise ValueError(line)
        logger.warning("%s; their questions count as unanswered", line)
    if faults is not None:
        faults += bad
    if keys <= {None}:
        raise ValueError(f"{path}: no row has an answer under {', '.join(OUTPUT_KEYS)}")
    # A mistaken file would otherwise be scored as all wrong.
    if not any(question.id in by_id for question in questions):
        raise ValueError(f"{path} answers none of the {len(questions)} questions; are they of another file?")
    return [by_id[q.id].pop(0) if by_id.get(q.id) else None for q in questions]


def write_submission(
    path: Path, benchmark: Path, questions: Sequence[Question], outputs: Sequence[str | None]
) -> None:
    """Write the benchmark's own JSON with `model_output`, as the MMAU test server takes it.

    The text of the answer block is what is submitted: the official script reads no tags. Rows that were not
    asked (of another split, beyond a limit) are not in it.
    """
    by_id: dict[str, list[str | None]] = {}
    for question, output in zip(questions, outputs, strict=True):
        by_id.setdefault(question.id, []).append(output)
    rows: list[dict[str, Any]] = [row for _, row in iterate_rows(benchmark) if isinstance(row, dict)]
    asked = [row for row in rows if by_id.get(str(row.get("id")))]
    write_json(
        path, [row | {"model_output": official_text(by_id[str(row["id"])].pop(0) or "")} for row in asked]
    )


def to_row(prediction: Prediction) -> dict[str, Any]:
    """Return an answer as the file has it."""
    # Without windows and complaints the line is as in every other evaluation.
    return {k: v for k, v in asdict(prediction).items() if k not in ("windows", "complaints") or v}


def from_row(row: dict[str, Any]) -> Prediction:
    """Return the answer of a row of the file.

    Raises:
        KeyError, TypeError: it is none.
    """
    texts = {name: tuple(row.get(name, ())) for name in ("windows", "complaints")}
    return Prediction(**row | {"choices": tuple(row["choices"])} | texts)


def _line(prediction: Prediction) -> bytes:
    return to_json(to_row(prediction)) + b"\n"
