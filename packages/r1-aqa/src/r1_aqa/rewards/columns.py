"""The columns of questions that reward functions are given by keyword, beside those of TRL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r1_aqa.data.questions import KNOWN, Question, column

RESERVED = {
    *("prompt", "prompts", "completion", "completions", "completion_ids", "row", "question_id", "choices"),
    *("answer", "solution", "trainer_state", "log_extra", "log_metric", "environments", "tools"),
}
"""Names under which TRL and the trainer give reward functions something else."""


def reward_columns(questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Return, for each question, the further columns that reward functions are given, under equal names.

    Not as columns of the data set: that would make values of unlike types alike, or refuse them.
    """
    names = list(dict.fromkeys(name for question in questions for name in question.extra))
    fields = [name for name in KNOWN if name not in RESERVED]
    kept = [name for name in names if name not in RESERVED]
    return [{name: column(question, name) for name in (*fields, *kept)} for question in questions]


def reserved_columns(questions: Sequence[Question]) -> list[str]:
    """Return the columns that reward functions cannot be given, for their names mean something else."""
    return sorted({name for question in questions for name in question.extra} & RESERVED)
