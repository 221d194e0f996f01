"""A question about audio, and plain JSONL: an object a line with the field names of `Question`.

`audio` is relative to the file or absolute. `r1_aqa.data.readers` reads all other kinds of files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from r1_aqa.files import write_text


class QuestionError(ValueError):
    """A question cannot be used; the message names file and line."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about an audio file."""

    id: str
    """Unique within its file, where its authors kept to that."""
    audio: Path
    """The audio file."""
    question: str
    """Text of the question, without options."""
    choices: tuple[str, ...] = ()
    """Options in the order shown; empty for a free answer."""
    answer: str | None = None
    """Text of the right option; None where it is not known (a benchmark's hidden test)."""
    dataset: str | None = None
    """Name of the data set that it comes from."""
    task: str | None = None
    """MMAU: sound, music or speech."""
    category: str | None = None
    """First level of a benchmark's categories."""
    sub_category: str | None = None
    """Second level of a benchmark's categories."""
    difficulty: str | None = None
    """MMAU: easy, medium or hard."""
    modality: str | None = None
    """MMAR: sound, music, speech and their mixtures."""
    relation: str | None = None
    """AVQA: View, Sound or Both."""
    split: str | None = None
    """train, validation or test."""
    about_video: bool = False
    """Whether it was asked about a video (AVQA): prompts say `audio` instead."""

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError("question is empty")
        if len(self.choices) == 1:
            raise ValueError("choices: expected none, or at least two options, got one")
        if self.choices and self.answer is not None and self.answer not in self.choices:
            raise ValueError(f"answer {self.answer!r} is not one of the choices {list(self.choices)}")


def write_questions(path: str | Path, questions: Iterable[Question]) -> None:
    """Write plain JSONL, to standard output for `-`; audio below the file's folder by its relative path."""
    path = Path(path)
    rows = [json.dumps(to_row(question, path.parent), ensure_ascii=False) for question in questions]
    write_text(path, "".join(f"{row}\n" for row in rows))


def to_row(question: Question, folder: Path) -> dict[str, Any]:
    """Return a question as plain JSONL has it, without the fields that say nothing."""
    # A field that says nothing is left out, and read again as the same default.
    row = {name: value for name, value in asdict(question).items() if value not in (None, (), False)}
    audio, base = question.audio.absolute(), folder.absolute()
    row["audio"] = str(audio.relative_to(base) if audio.is_relative_to(base) else audio)
    return row


def from_row(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of plain JSONL.

    An `answer` that is a whole number is the index of an option.

    Raises:
        ValueError, KeyError: a key is unknown, missing or of the wrong kind.
    """
    known = {field.name for field in fields(Question)}
    unknown = sorted(row.keys() - known)
    if unknown:
        raise ValueError(f"unknown keys {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    if not isinstance(row.get("question"), str):
        raise ValueError(f"question: expected text, got {row['question']!r}")
    choices = tuple(map(str, row.get("choices") or ()))
    answer = row.get("answer")
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < len(choices):
            raise ValueError(f"answer {answer} is no index of {len(choices)} choices")
        answer = choices[answer]
    return Question(**row | {"audio": folder / row["audio"], "choices": choices, "answer": answer})
