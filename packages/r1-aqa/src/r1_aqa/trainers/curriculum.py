"""The order of training questions by their audio dependence: from what the text tells to what must be heard.

Within an epoch the questions stand in the order of the probability that probes, which hear nothing, give the
right option (`r1_aqa.data.dependence`), the highest first; equal ones are shuffled. The order is a function
of seed and epoch alone, so that a training which resumes sees the order of an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from r1_aqa.data.dependence import COLUMN, dependence_of
from r1_aqa.data.questions import Question


def easiness(questions: Sequence[Question]) -> list[float]:
    """Return, for each question, the mean probability that probes give its right option without sound.

    Raises:
        ValueError: a question was not probed.
    """
    columns = [dependence_of(question) for question in questions]
    missing = [question.id for question, column in zip(questions, columns, strict=True) if column is None]
    if missing:
        raise ValueError(
            f"data.curriculum easy_first needs the column {COLUMN!r}, which {len(missing)} of "
            f"{len(questions)} questions lack, the first: {missing[0]}; prepare them with --audio_dependence "
            "(questions without options or answer cannot be probed)"
        )
    return [float(column["probability"]) for column in columns if column]


def easy_first(easy: Sequence[float], *, seed: int, epoch: int, multiple: int = 1) -> list[int]:
    """Return the rows of an epoch, the easiest first.

    Args:
        easy: how easy each row is.
        seed: of the training.
        epoch: its number; equal rows are in another order in each.
        multiple: rows of an update. What is over is drawn by lot and stands last, where trainers that need
            whole updates cut: they would otherwise never see the hardest.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(easy)).tolist()
    over = len(easy) % multiple
    return sorted(order[over:], key=lambda row: -easy[row]) + order[:over]


class CurriculumSampler(Sampler[int]):
    """Draws the rows of an epoch, the easiest first."""

    def __init__(self, easy: Sequence[float], *, seed: int) -> None:
        self.easy, self.seed, self.epoch = list(easy), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Trainer calls this before each."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(easy_first(self.easy, seed=self.seed, epoch=self.epoch))

    def __len__(self) -> int:
        return len(self.easy)
