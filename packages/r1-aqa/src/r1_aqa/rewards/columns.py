"""The columns of questions that reward functions are given by keyword, beside those of TRL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from inspect import signature
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


def require_columns(
    rewards: Sequence[Callable[..., Any]], questions: Sequence[Question], made: Collection[str] = ()
) -> None:
    """Raise for a reward function that needs a column which the questions lack.

    Args:
        rewards: the functions.
        questions: of the training.
        made: columns that the training itself will add.

    Raises:
        ValueError: the message names the function, the column, and those that there are.
    """
    there = {name for columns in reward_columns(questions[:1]) for name in columns} | RESERVED | set(made)
    there |= {name for question in questions for name in question.extra}
    for reward in rewards:
        for name, parameter in signature(reward).parameters.items():
            is_named = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            if is_named and parameter.default is parameter.empty and name not in there:
                own = sorted(there - RESERVED - set(KNOWN) - set(made))
                raise ValueError(
                    f"the reward {getattr(reward, '__name__', reward)} needs the column {name!r}, which no "
                    f"question has; columns of the questions' own: {', '.join(own) or 'none'}"
                )
