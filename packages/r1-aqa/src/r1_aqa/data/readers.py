"""What a row of MMAU, MMAR, AVQA, the paper's code or plain JSONL says, told apart by its keys.

| kind | told by | answer |
|---|---|---|
| the paper's JSONL | `question_text`, `audio_path` | index |
| AVQA as published | `question_text`, `video_name` | index; sounds come with `r1-aqa prepare avqa` |
| MMAU | `audio_id` | text |
| MMAR | `audio_path`, `modality` | text |
| plain | `audio` | text or index |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from r1_aqa.data.questions import Question, from_row


def parse_row(row: dict[str, Any], path: Path) -> Question:
    """A row of any kind.

    Raises:
        KeyError, ValueError: what is missing or wrong; the caller says where.
    """
    if "question_text" in row:
        if "audio_path" not in row:
            raise ValueError("a row of AVQA without sound; make a file with sounds by `r1-aqa prepare avqa`")
        return parse_reference(row, path.parent)
    if "audio_id" in row:
        return parse_mmau(row, path.parent)
    if "audio_path" in row:
        return parse_mmar(row, path.parent)
    if "audio" not in row:
        raise ValueError(f"no known kind of question: it has the keys {', '.join(map(str, row))}")
    return from_row(row, path.parent)


def parse_reference(row: dict[str, Any], folder: Path) -> Question:
    """The paper's JSONL: AVQA's own keys, `audio_path` and `dataset_name`."""
    choices = tuple(map(str, row["multi_choice"]))
    dataset = row.get("dataset_name")
    return Question(
        id=str(row["id"]),
        audio=folder / str(row["audio_path"]),
        question=str(row["question_text"]),
        choices=choices,
        answer=option(row["answer"], choices),
        dataset=dataset,
        relation=row.get("question_relation"),
        category=row.get("question_type"),
        # The paper's code says `audio` in AVQA's questions alone.
        about_video=dataset == "AVQA",
    )


def parse_mmau(row: dict[str, Any], folder: Path) -> Question:
    """MMAU (Sakshi113/MMAU): test has no answers, some categories are lists of one."""
    return Question(
        id=str(row["id"]),
        audio=folder / str(row["audio_id"]),
        question=str(row["question"]),
        choices=tuple(map(str, row["choices"])),
        answer=row.get("answer") or None,
        dataset="MMAU",
        task=row.get("task"),
        category=_text(row.get("category")),
        sub_category=_text(row.get("sub-category")),
        difficulty=row.get("difficulty"),
        split=row.get("split"),
    )


def parse_mmar(row: dict[str, Any], folder: Path) -> Question:
    """MMAR (BoJack/MMAR)."""
    return Question(
        id=str(row["id"]),
        audio=folder / str(row["audio_path"]),
        question=str(row["question"]),
        choices=tuple(map(str, row["choices"])),
        answer=row.get("answer"),
        dataset="MMAR",
        category=_text(row.get("category")),
        sub_category=_text(row.get("sub-category")),
        modality=row.get("modality"),
    )


def option(answer: Any, choices: tuple[str, ...]) -> str | None:
    """The option that an index names; AVQA's indices are numbers, None stays None."""
    if answer is None:
        return None
    index = int(answer)
    if not 0 <= index < len(choices):
        raise ValueError(f"answer {answer} is no index of {len(choices)} choices")
    return choices[index]


def _text(value: Any) -> str | None:
    """MMAU has a few categories in a list."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value
