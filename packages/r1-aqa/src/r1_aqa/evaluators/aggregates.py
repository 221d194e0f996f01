"""Accuracy by task, difficulty, category, modality: as the official scripts count, and with every question.

The official MMAU and MMAR scripts pass over questions without prediction, so a model that fails on hard ones
scores higher; `count_missing` is what this package reports, its absence reproduces them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from r1_aqa.data.questions import Question

FIELDS = ("task", "modality", "difficulty", "category", "sub_category", "dataset")
"""What results are broken down by, where questions have it."""


@dataclass(frozen=True)
class Accuracy:
    """Right ones of some questions."""

    correct: int
    total: int

    @property
    def share(self) -> float:
        """From 0 to 1; 0 for no question."""
        return self.correct / self.total if self.total else 0.0


def overall(verdicts: Sequence[bool | None], *, count_missing: bool = True) -> Accuracy:
    """All questions; None is one without prediction: wrong, or passed over as the official scripts do."""
    counted = [bool(each) for each in verdicts if each is not None or count_missing]
    return Accuracy(sum(counted), len(counted))


def break_down(
    questions: Sequence[Question],
    verdicts: Sequence[bool | None],
    field: str,
    *,
    count_missing: bool = True,
) -> dict[str, Accuracy]:
    """Accuracy by the values of a field, in order of first appearance; questions without it are left out."""
    groups: dict[str, list[bool | None]] = {}
    for question, verdict in zip(questions, verdicts, strict=True):
        name = getattr(question, field)
        if name is not None and (verdict is not None or count_missing):
            groups.setdefault(name, []).append(verdict)
    return {name: overall(each) for name, each in groups.items()}


def first_option(questions: Sequence[Question]) -> Accuracy:
    """A model that always answers the first option: 39.5 % on MMAU test-mini, far above chance."""
    known = [q for q in questions if q.answer is not None and q.choices]
    return Accuracy(sum(q.choices[0] == q.answer for q in known), len(known))


def chance(questions: Sequence[Question]) -> float:
    """Expected accuracy of answers drawn at random."""
    known = [q for q in questions if q.answer is not None and q.choices]
    return sum(q.choices.count(q.answer or "") / len(q.choices) for q in known) / len(known) if known else 0.0
