"""Intervals of accuracies, and a test whether two models differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats


@dataclass(frozen=True)
class Interval:
    """An accuracy and its interval of 95 %."""

    value: float
    low: float
    high: float
    count: int
    """Number of questions."""

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, N = {self.count})"


@dataclass(frozen=True)
class McNemar:
    """Two models on the same questions: exact test of the questions on which they disagree."""

    first_only: int
    """Questions that the first model alone answers right."""
    second_only: int
    """Questions that the second model alone answers right."""
    p_value: float
    """Two-sided p-value; 1 when they never disagree."""


def interval(
    verdicts: Sequence[bool | float],
    clusters: Sequence[str] | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean of verdicts and its bootstrap percentile interval of 95 %.

    Clusters are drawn with replacement, and the mean over their questions is taken anew. Where all draws are
    the same (none or all of the questions right), which says nothing about the next question, it is Wilson's
    interval, with a cluster counted as one question.

    Args:
        verdicts: 1 or 0 for each question, or the share of its repetitions that were right.
        clusters: what is drawn: questions about one clip are not independent, so give the clips.
        draws: bootstrap draws.
        seed: seed for bootstrap sampling.

    Raises:
        ValueError: there are no verdicts.
    """
    values = np.asarray(verdicts, dtype=float)
    if not len(values):
        raise ValueError("no verdict to draw from")
    names = np.asarray(clusters if clusters is not None else np.arange(len(values)))
    # Sums by cluster once, so that a draw is of clusters and costs nothing by question.
    _, member = np.unique(names, return_inverse=True)
    sums, counts = np.bincount(member, values), np.bincount(member)
    value = float(values.mean())
    low = high = value
    if len(sums) > 1:
        drawn = scipy.stats.bootstrap(
            (sums, counts),
            lambda right, asked, axis: right.sum(axis) / asked.sum(axis),
            paired=True,  # a cluster brings its right answers and its questions along
            vectorized=True,
            n_resamples=draws,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = float(drawn.low), float(drawn.high)
    if low == high:
        right = round(value * len(sums))
        wilson = scipy.stats.binomtest(right, len(sums)).proportion_ci(method="wilson")
        low, high = min(float(wilson.low), value), max(float(wilson.high), value)
    return Interval(value, low, high, len(values))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Return the exact McNemar test of two models' verdicts on the same questions in the same order.

    Raises:
        ValueError: the numbers of verdicts differ.
    """
    if len(first) != len(second):
        raise ValueError(f"expected the same questions, got {len(first)} and {len(second)} verdicts")
    # Only the questions on which they differ tell: under the null each is a fair coin.
    a = sum(x and not y for x, y in zip(first, second, strict=True))
    b = sum(y and not x for x, y in zip(first, second, strict=True))
    return McNemar(a, b, float(scipy.stats.binomtest(a, a + b).pvalue) if a + b else 1.0)
