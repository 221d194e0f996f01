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


FEW_CLUSTERS = 50
"""Below so many clusters an interval is Wilson's, for a bootstrap of few draws is too short."""


def interval(
    verdicts: Sequence[bool | float],
    clusters: Sequence[str] | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean of verdicts and its interval of 95 %.

    A bootstrap percentile interval: clusters are drawn with replacement, and the mean over their questions is
    taken anew. With few clusters, or where all draws are the same (none or all of the questions right), it is
    `wilson_interval`.

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
    if len(sums) < FEW_CLUSTERS:
        return wilson_interval(verdicts, clusters)
    drawn = scipy.stats.bootstrap(
        (sums, counts),
        lambda right, asked, axis: right.sum(axis) / asked.sum(axis),
        paired=True,  # a cluster brings its right answers and its questions along
        vectorized=True,
        n_resamples=draws,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    if drawn.low == drawn.high:
        return wilson_interval(verdicts, clusters)
    return Interval(value, float(drawn.low), float(drawn.high), len(values))


def wilson_interval(verdicts: Sequence[bool | float], clusters: Sequence[str] | None = None) -> Interval:
    """Return the mean of verdicts and Wilson's interval of 95 %, for small groups, too.

    Several questions about one clip count for less than as many clips: the number of questions is divided by
    the design effect (variance between clips over that of independent questions, at least 1), and, as the
    variance of few clips is itself a guess, by the square of Student's quantile over the normal one (Korn and
    Graubard 1998). Where all verdicts are alike the variance is unknown, and a clip counts as one question.

    Raises:
        ValueError: there are no verdicts.
    """
    values = np.asarray(verdicts, dtype=float)
    if not len(values):
        raise ValueError("no verdict to draw from")
    number, value = _effective_number(values, clusters), float(values.mean())
    z = float(scipy.stats.norm.ppf(0.975))
    middle = (value + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * float(np.sqrt(value * (1 - value) / number + z**2 / (4 * number**2)))
    # The ends are exact where none or all are right, but for rounding.
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Interval(value, 0.0 if value == 0 else low, 1.0 if value == 1 else high, len(values))


def _effective_number(values: np.ndarray, clusters: Sequence[str] | None) -> float:
    names = np.asarray(clusters if clusters is not None else np.arange(len(values)))
    _, member = np.unique(names, return_inverse=True)
    groups, count, mean = int(member.max()) + 1, len(values), float(values.mean())
    if groups == count or groups == 1:
        return groups
    spread = mean * (1 - mean) / count
    if spread == 0:
        return groups
    # Variance of a ratio over clusters, linearized.
    residuals = np.bincount(member, values - mean)
    variance = groups / (groups - 1) * float((residuals**2).sum()) / count**2
    few = float(scipy.stats.t.ppf(0.975, groups - 1) / scipy.stats.norm.ppf(0.975)) ** 2
    return max(1.0, count / max(1.0, variance / spread) / few)


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
