"""Rollouts in groups, one question in one update, and what an update's groups say together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any

from r1_aqa.data.chats import split_options

NO_ADVANTAGE = 1e-6
"""Advantages nearer to zero teach nothing: the mean of equal rewards may differ from them by rounding."""
NUM_HARDEST = 5

_TOKEN = re.compile(r"<\|[^|>]*\|>|Audio \d+:")
_ROLES = ("system", "user", "assistant", "model")


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rollouts of a question in an update, best first."""

    place: str
    """Name of it among the groups, for links."""
    step: int
    """The update, from 1."""
    question_id: str
    """Id of the question."""
    question: str
    """Its text, as far as it is known."""
    prompt: str
    """Everything that the model was given as text."""
    choices: tuple[str, ...]
    """The options."""
    answer: str
    """The right one."""
    rollouts: tuple[dict[str, Any], ...]
    """Rows of the log, each with its `rewards` by name."""
    mean: float
    """Mean reward."""
    spread: float
    """Standard deviation of the rewards."""
    is_flat: bool
    """Whether no rollout has an advantage: there is nothing to learn from it."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What some groups say together: those of an update, or all."""

    step: int | None
    """The update; None for all."""
    num_groups: int
    """Number of groups."""
    mean: float
    """Mean reward of all rollouts."""
    spread: float
    """Mean over the groups of the standard deviation of their rewards: what is learned from."""
    flat: float
    """Share of groups without a difference."""
    hardest: tuple[Group, ...] = field(default=())
    """A group of each question that earned the least on average, hardest first."""


def group_rollouts(rows: Sequence[Mapping[str, Any]], texts: Mapping[str, str] | None = None) -> list[Group]:
    """Return the rollouts of one question in one update together, in the order of the log.

    Args:
        rows: of `read_rollouts`.
        texts: texts of questions by id; of others the end of the prompt is shown.
    """
    found: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if not found or _key(found[-1][0]) != _key(row):
            found.append([])
        found[-1].append(row)
    return [_group(f"group-{number}", group, texts or {}) for number, group in enumerate(found)]


def summarize(groups: Sequence[Group], step: int | None = None) -> Summary:
    """Return what groups say together.

    Args:
        groups: at least one.
        step: the update that they are of; None if they are of several.
    """
    by_question: dict[str, list[Group]] = {}
    for group in groups:
        by_question.setdefault(group.question_id, []).append(group)
    # Of a question asked in several updates the latest group is named.
    hard = sorted(by_question.values(), key=lambda same: fmean(group.mean for group in same))
    rewards = [row["reward"] for group in groups for row in group.rollouts]
    return Summary(
        step=step,
        num_groups=len(groups),
        mean=fmean(rewards),
        spread=fmean(group.spread for group in groups),
        flat=fmean(group.is_flat for group in groups),
        hardest=tuple(same[-1] for same in hard[:NUM_HARDEST]),
    )


def summarize_updates(groups: Sequence[Group]) -> list[Summary]:
    """Return the summary of each update, in their order."""
    steps = dict.fromkeys(group.step for group in groups)
    return [summarize([group for group in groups if group.step == step], step) for step in steps]


def _key(row: Mapping[str, Any]) -> tuple[int, str]:
    return row["step"], row["question_id"]


def _group(place: str, rows: Sequence[Mapping[str, Any]], texts: Mapping[str, str]) -> Group:
    first, rewards = rows[0], [row["reward"] for row in rows]
    best_first = sorted(rows, key=lambda row: -row["reward"])
    return Group(
        place=place,
        step=first["step"],
        question_id=first["question_id"],
        question=texts.get(first["question_id"]) or _without_template(first["prompt"]),
        prompt=first["prompt"],
        choices=tuple(first["choices"] or ()),
        answer=first["answer"],
        rollouts=tuple({**row, "rewards": _rewards(row)} for row in best_first),
        mean=fmean(rewards),
        spread=pstdev(rewards),
        is_flat=all(abs(row["advantage"]) < NO_ADVANTAGE for row in rows),
    )


def _rewards(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {name[7:]: value for name, value in row.items() if name.startswith("reward.")}


def _without_template(prompt: str) -> str:
    """Return the last words of a formatted chat, which are the question, without its options."""
    lines = [line.strip() for line in _TOKEN.sub("\n", prompt).splitlines()]
    said = [line for line in lines if line and line not in _ROLES]
    return split_options(said[-1])[0] if said else prompt
