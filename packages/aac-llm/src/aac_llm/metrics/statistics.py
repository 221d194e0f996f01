"""How sure a score is: bootstrap intervals over clips, and whether two systems differ (by scipy).

Clips, not captions, are what another test set would have others of, so clips are drawn, each with all its
references. Scores that are means over clips need only the clips' scores. Corpus BLEU and METEOR are made of
counts: draw the clips, add up their counts and compute the score of the sums (`statistic`). The document
frequencies of CIDEr-D stay those of the whole set: they are part of the ruler, not of what is measured.

Where every clip scores 0 or 1 the score is a proportion and its interval is Wilson's, since a bootstrap of
0 of 6 would say 0 to 0.

The p value comes from a permutation test (approximate randomisation: Noreen 1989; Riezler and Maxwell 2005):
if the systems were alike, which of the two said a clip's caption would not matter, so the captions are
swapped at random; for few clips all swaps are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aac_llm.metrics.ngrams import Floats

Statistic = Callable[[Floats], Floats]
"""From sums over clips (..., columns) and the number of clips in the last column, to scores (...)."""

DRAWS = 1000
"""Enough for an interval of 95 %; take 10,000 for a p value of 0.001."""
BLOCK_CELLS = 1 << 22  # values of the clips of a block of draws: 32 MB of float64


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A score and its interval."""

    value: float
    """Score of the clips themselves."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    level: float
    """Confidence, as 0.95."""
    num_clips: int
    """Number of clips, N."""
    draws: int
    """Number of draws."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two systems on the same clips."""

    first: float
    """Score of the first system."""
    second: float
    """Score of the second system."""
    difference: float
    """first - second."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    """Upper end of it."""
    level: float
    """Confidence, as 0.95."""
    p_value: float
    """Two-sided, of the permutation test; never below 1 / (draws + 1)."""
    num_clips: int
    """Number of clips, N."""
    draws: int
    """Number of draws, and of permutations."""


def mean_of_sums(sums: Floats) -> Floats:
    """Return the mean over clips: the statistic of one column of per-clip scores."""
    return sums[..., 0] / sums[..., -1]


def bootstrap_interval(
    clips: ArrayLike,
    *,
    statistic: Statistic = mean_of_sums,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of a score, from draws of the clips; of a proportion, Wilson's.

    Args:
        clips: (clips,) scores, or (clips, columns) counts whose sums `statistic` takes.
        statistic: the score of sums (default: the mean), for instance
            `lambda sums: bleu_from_sums(sums[..., :-1])[..., 3]` for corpus BLEU-4 of `BleuCounts.table()`.
        draws: number of draws, at least 1.
        level: confidence, 0 to 1.
        seed: for the draws.

    Raises:
        ValueError: no clip, a value that is not finite, or settings out of range.
    """
    table = _table(clips, draws, level)
    value = float(statistic(table.sum(axis=0)))
    if _is_proportion(table, statistic):
        low, high = wilson_interval(int(table[:, 0].sum()), len(table), level)
    else:
        low, high = _percentiles(table, lambda drawn: statistic(drawn), draws, level, seed)
    return Interval(value=value, low=low, high=high, level=level, num_clips=len(table), draws=draws)


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a proportion.

    >>> low, high = wilson_interval(0, 6)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.39)
    """
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(confidence_level=level, method="wilson")
    return float(found.low), float(found.high)


def compare_systems(
    first: ArrayLike,
    second: ArrayLike,
    *,
    statistic: Statistic = mean_of_sums,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Return the difference of two systems on the same clips, its paired interval and its p value.

    Args:
        first: (clips,) scores of one system, or (clips, columns) counts, see `bootstrap_interval`.
        second: those of the other system, for the same clips in the same order.
        statistic: the score of sums.
        draws: draws for the interval, and permutations for the p value.
        level: confidence of the interval.
        seed: for both.

    Raises:
        ValueError: not the same clips, no clip, a value that is not finite, or settings out of range.
    """
    one, other = _table(first, draws, level), _table(second, draws, level)
    if one.shape != other.shape:
        raise ValueError(f"expected scores of the same clips, got shapes {one.shape} and {other.shape}")

    def difference(both: Floats) -> Floats:
        return statistic(both[..., : one.shape[1]]) - statistic(both[..., one.shape[1] :])

    score, other_score = float(statistic(one.sum(axis=0))), float(statistic(other.sum(axis=0)))
    if np.array_equal(one, other) and _is_proportion(one, statistic):
        # All clips agree, so every draw does: as many clips as Wilson allows may differ either way.
        high = wilson_interval(0, len(one), level)[1]
        low = -high
    else:
        low, high = _percentiles(np.hstack([one, other]), difference, draws, level, seed)
    return Comparison(
        first=score,
        second=other_score,
        difference=score - other_score,
        low=low,
        high=high,
        level=level,
        p_value=_permutation_p(one, other, statistic, draws, seed),
        num_clips=len(one),
        draws=draws,
    )


def _table(clips: ArrayLike, draws: int, level: float) -> Floats:
    """Return (clips, columns + 1): the values, and a column of ones whose sum is the number of clips."""
    values = np.asarray(clips, dtype=np.float64)
    if values.ndim not in (1, 2) or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"expected finite values (clips,) or (clips, columns), got shape {values.shape}")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"expected draws >= 1 and 0 < level < 1, got draws {draws}, level {level}")
    # Drawn along with the clips, the ones add up to the number of clips: a mean is a ratio of two sums.
    return np.column_stack([values, np.ones(len(values))])


def _is_proportion(table: Floats, statistic: Statistic) -> bool:
    return statistic is mean_of_sums and table.shape[1] == 2 and bool(np.isin(table[:, 0], (0.0, 1.0)).all())


def _percentiles(
    table: Floats, score: Callable[[Floats], Floats], draws: int, level: float, seed: int
) -> tuple[float, float]:
    """Draw clips with replacement; return the percentiles of the scores of the draws' sums."""
    from scipy.stats import bootstrap

    if len(table) == 1:  # there is one way to draw one clip, which scipy refuses
        value = float(score(table[0]))
        return value, value

    def statistic(drawn: Any, axis: int = -1) -> Any:
        return score(table[drawn].sum(axis=axis - 1 if axis < 0 else axis))

    found = bootstrap(
        (np.arange(len(table)),),
        statistic,
        n_resamples=draws,
        batch=max(1, BLOCK_CELLS // table.size),
        vectorized=True,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _permutation_p(one: Floats, other: Floats, statistic: Statistic, draws: int, seed: int) -> float:
    """Return the share of swaps with a difference at least as great, the observed one counted in."""
    from scipy.stats import permutation_test

    rows = np.concatenate([one, other])  # clip n of the other system is row clips + n

    def difference(first: Any, second: Any, axis: int = -1) -> Any:
        sums = [rows[drawn].sum(axis=axis - 1 if axis < 0 else axis) for drawn in (first, second)]
        # Rounded, or the order of a sum decides whether two equal differences are equal.
        return np.round(np.abs(statistic(sums[0]) - statistic(sums[1])), 9)

    if len(one) == 1:
        return 1.0
    numbers = np.arange(len(one))
    found = permutation_test(
        (numbers, numbers + len(one)),
        difference,
        permutation_type="samples",
        n_resamples=draws,
        batch=max(1, BLOCK_CELLS // rows.size),
        vectorized=True,
        alternative="greater",
        rng=np.random.default_rng([seed, 1]),  # not the stream that drew the clips
    )
    return float(found.pvalue)
