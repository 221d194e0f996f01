"""How sure an accuracy is, and whether two models differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An accuracy and its bootstrap percentile interval of 95 %."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, N = {self.count})"


@dataclass(frozen=True)
class McNemar:
    """Two models on the same questions: exact test of the questions on which they disagree."""

    first_only: int
    """Right with the first model alone."""
    second_only: int
    """Right with the second model alone."""
    p_value: float
    """Two-sided; 1 when they never disagree."""


def bootstrap(
    verdicts: Sequence[bool | float], groups: Sequence[str] | None = None, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Mean of verdicts and its percentile interval from draws with replacement.

    Args:
        verdicts: 1 or 0 for each question (or the share of its repetitions that were right).
        groups: what is drawn; questions about one clip are not independent, so give the clips.
        draws: number of draws.
        seed: of the draws.

    Raises:
        ValueError: nothing to draw from.
    """
    values = np.asarray(verdicts, dtype=float)
    if not len(values):
        raise ValueError("no verdict to draw from")
    _, member = np.unique(
        np.asarray(groups if groups is not None else np.arange(len(values))), return_inverse=True
    )
    sums, counts = np.bincount(member, values), np.bincount(member)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(sums), size=(draws, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high), len(values))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Exact McNemar test of two models' verdicts on the same questions in the same order.

    Raises:
        ValueError: unlike numbers of verdicts.
    """
    if len(first) != len(second):
        raise ValueError(f"expected the same questions, got {len(first)} and {len(second)} verdicts")
    a = sum(x and not y for x, y in zip(first, second, strict=True))
    b = sum(y and not x for x, y in zip(first, second, strict=True))
    tail = sum(math.comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b)
    return McNemar(a, b, min(1.0, 2 * tail))
