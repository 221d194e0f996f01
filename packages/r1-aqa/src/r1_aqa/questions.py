"""Questions about sounds: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


class QuestionError(ValueError):
    """A question that cannot be used; names file and line."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about a sound."""

    id: str
    audio: Path
    question: str
    choices: tuple[str, ...] = ()
    answer: str | None = None
    dataset: str | None = None
    task: str | None = None
    category: str | None = None
    sub_category: str | None = None
    difficulty: str | None = None
    modality: str | None = None
    relation: str | None = None
    split: str | None = None
    about_video: bool = False


def read_questions(path: str | Path, *, split: str | None = None) -> list[Question]:
    """Questions of a file."""
    path = Path(path)
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                questions.append(_parse(json.loads(line), path.parent))
            except (ValueError, KeyError, TypeError) as error:
                raise QuestionError(f"{path}:{number}: {error}") from error
    return [each for each in questions if split is None or each.split == split]


def write_questions(path: str | Path, questions: Iterable[Question]) -> None:
    """Write plain JSONL."""
    rows = ({k: v for k, v in asdict(q).items() if v not in (None, (), False)} for q in questions)
    Path(path).write_text(
        "".join(json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def _parse(row: dict[str, Any], folder: Path) -> Question:
    if "question_text" in row:
        choices = tuple(row["multi_choice"])
        return Question(
            id=str(row["id"]),
            audio=folder / row["audio_path"],
            question=row["question_text"],
            choices=choices,
            answer=choices[row["answer"]],
            dataset=row.get("dataset_name"),
            about_video=row.get("dataset_name") == "AVQA",
        )
    row = row | {"audio": folder / row["audio"], "choices": tuple(row.get("choices", ()))}
    return Question(**row)
