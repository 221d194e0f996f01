"""Questions about sounds: what every file of questions becomes.

Plain JSONL has an object a line with the field names of `Question`; `audio` is relative to the file or
absolute. `read_questions` takes the files of MMAU, MMAR, AVQA and the paper's code as they are, too: see
`r1_aqa.data.readers`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


class QuestionError(ValueError):
    """A question that cannot be used; names file and line."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about a sound."""

    id: str
    """Unique within its file, where its authors kept to that."""
    audio: Path
    """The sound."""
    question: str
    """Its text, without options."""
    choices: tuple[str, ...] = ()
    """Options in the order shown; none for a free answer."""
    answer: str | None = None
    """Text of the right option; None where it is not known (a benchmark's hidden test)."""
    dataset: str | None = None
    """Where it comes from."""
    task: str | None = None
    """MMAU: sound, music or speech."""
    category: str | None = None
    """Benchmarks' first level."""
    sub_category: str | None = None
    """Benchmarks' second level."""
    difficulty: str | None = None
    """MMAU: easy, medium or hard."""
    modality: str | None = None
    """MMAR: sound, music, speech and their mixtures."""
    relation: str | None = None
    """AVQA: View, Sound or Both."""
    split: str | None = None
    """train, validation or test."""
    about_video: bool = False
    """It was asked about a video (AVQA): prompts say `audio` instead."""

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError("question is empty")
        if len(self.choices) == 1:
            raise ValueError("choices: expected none, or at least two options, got one")
        if self.choices and self.answer is not None and self.answer not in self.choices:
            raise ValueError(f"answer {self.answer!r} is not one of the choices {list(self.choices)}")


def read_questions(path: str | Path, *, split: str | None = None) -> list[Question]:
    """Questions of a file of any known kind.

    Raises:
        FileNotFoundError: there is none.
        QuestionError: with the line or item that cannot be read.
    """
    found = list(parse_file(path))
    for where, question in found:
        if isinstance(question, Exception):
            raise QuestionError(f"{where}: {question}") from question
    questions = [each for _, each in found if isinstance(each, Question)]
    return [each for each in questions if split is None or each.split == split]


def parse_file(path: str | Path) -> Iterator[tuple[str, Question | Exception]]:
    """Where each item is (`file:line`, or the number in a JSON list), and it or what is wrong with it."""
    from r1_aqa.data.readers import parse_row

    path = Path(path)
    for where, row in iterate_rows(path):
        try:
            yield where, row if isinstance(row, Exception) else parse_row(row, path)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            missing = f"there is no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
            yield where, QuestionError(missing)


def iterate_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | Exception]]:
    """Objects of a JSON list or of JSON Lines, whatever the file is called."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of questions {path}")
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        for number, row in enumerate(json.loads(text)):
            yield (
                f"{path} item {number}",
                row if isinstance(row, dict) else QuestionError("expected an object"),
            )
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", _parse_line(line)


def write_questions(path: str | Path, questions: Iterable[Question]) -> None:
    """Write plain JSONL, whole or not at all; sounds below the file's folder by their relative path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        for question in questions:
            file.write(json.dumps(to_row(question, path.parent), ensure_ascii=False) + "\n")
    partial.replace(path)


def to_row(question: Question, folder: Path) -> dict[str, Any]:
    """A question as plain JSONL has it; fields that say nothing are left out."""
    row = {name: value for name, value in asdict(question).items() if value not in (None, (), False)}
    audio, base = question.audio.absolute(), folder.absolute()
    row["audio"] = str(audio.relative_to(base) if audio.is_relative_to(base) else audio)
    return row


def from_row(row: dict[str, Any], folder: Path) -> Question:
    """A question of plain JSONL; an `answer` that is a whole number is the index of an option."""
    known = {each.name for each in fields(Question)}
    unknown = sorted(row.keys() - known)
    if unknown:
        raise ValueError(f"unknown keys {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    choices = tuple(map(str, row.get("choices") or ()))
    answer = row.get("answer")
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < len(choices):
            raise ValueError(f"answer {answer} is no index of {len(choices)} choices")
        answer = choices[answer]
    return Question(**row | {"audio": folder / row["audio"], "choices": choices, "answer": answer})


def _parse_line(line: str) -> dict[str, Any] | Exception:
    try:
        row = json.loads(line)
    except ValueError as error:
        return QuestionError(f"not JSON: {error}")
    return row if isinstance(row, dict) else QuestionError(f"expected an object, got {line[:40]}")
