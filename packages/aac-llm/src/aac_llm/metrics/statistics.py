"""How sure a score is: bootstrap intervals over clips, and whether two systems differ.

Clips, not captions, are what another test set would have others of, so clips are drawn, each with all its
references. Scores that are means over clips need only the clips' scores. Corpus BLEU and METEOR are made of
counts: draw the counts and compute the score of each draw's sums (`statistic`). The document frequencies of
CIDEr-D stay those of the whole set: they are part of the ruler, not of what is measured.

The p value comes from approximate randomisation (Noreen 1989; Riezler and Maxwell 2005): if the systems were
alike, which of the two said a clip's caption would not matter, so the captions are swapped at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from aac_llm.metrics.ngrams import Floats

Statistic = Callable[[Floats], Floats]
"""From sums over clips (..., columns) and the number of clips in the last column, to scores (...)."""

DRAWS = 1000
"""Enough for an interval of 95 %; take 10,000 for a p value of 0.001."""
_CHUNK = 1 << 22  # cells of a block of draws: 32 MB of float64


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A score and its bootstrap percentile interval."""

    value: float
    """Score of the clips themselves."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    level: float
    """Share of the draws inside."""
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
    """Lower end of the paired bootstrap interval of the difference."""
    high: float
    """Upper end of it."""
    level: float
    """Share of the draws inside."""
    p_value: float
    """Two-sided, of approximate randomisation; never below 1 / (draws + 1)."""
    num_clips: int
    """Number of clips, N."""
    draws: int
    """Number of draws, of each kind."""


def mean_of_sums(sums: Floats) -> Floats:
    """The mean over clips: the statistic of one column of per-clip scores."""
    return sums[..., 0] / sums[..., -1]


def bootstrap_interval(
    clips: ArrayLike,
    *,
    statistic: Statistic = mean_of_sums,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a score, from draws of the clips with replacement.

    Args:
        clips: (clips,) scores, or (clips, columns) counts whose sums `statistic` takes.
        statistic: the score of sums (none: the mean), for instance
            `lambda sums: bleu_from_sums(sums[..., :-1])[..., 3]` for corpus BLEU-4 of `BleuCounts.table()`.
        draws: number of draws, at least 1.
        level: share of the draws inside, 0 to 1.
        seed: of the draws; the same seed and number of clips give the same draws.

    Raises:
        ValueError: no clip, a value that is not finite, or settings out of range.
    """
    table = _table(clips, draws, level)
    scores = np.concatenate([statistic(block @ table) for block in _resamples(len(table), draws, seed)])
    low, high = _percentiles(scores, level)
    value = float(statistic(table.sum(axis=0)))
    return Interval(value=value, low=low, high=high, level=level, num_clips=len(table), draws=draws)


def compare_systems(
    first: ArrayLike,
    second: ArrayLike,
    *,
    statistic: Statistic = mean_of_sums,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Difference of two systems on the same clips, its paired bootstrap interval and its p value.

    Args:
        first: (clips,) scores of one system, or (clips, columns) counts, see `bootstrap_interval`.
        second: of the other system, for the same clips in the same order.
        statistic: the score of sums.
        draws: draws for the interval, and random swaps for the p value.
        level: share of the draws inside the interval.
        seed: of both.

    Raises:
        ValueError: not the same clips, no clip, a value that is not finite, or settings out of range.
    """
    one, other = _table(first, draws, level), _table(second, draws, level)
    if one.shape != other.shape:
        raise ValueError(f"expected scores of the same clips, got shapes {one.shape} and {other.shape}")
    score, other_score = float(statistic(one.sum(axis=0))), float(statistic(other.sum(axis=0)))
    low, high = _percentiles(_paired_draws(one, other, statistic, draws, seed), level)
    return Comparison(
        first=score,
        second=other_score,
        difference=score - other_score,
        low=low,
        high=high,
        level=level,
        p_value=_randomisation_p(one, other, statistic, draws, seed),
        num_clips=len(one),
        draws=draws,
    )


def _table(clips: ArrayLike, draws: int, level: float) -> Floats:
    """(clips, columns + 1): the values, and a column of ones whose sum is the number of clips."""
    values = np.asarray(clips, dtype=np.float64)
    if values.ndim not in (1, 2) or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"expected finite values (clips,) or (clips, columns), got shape {values.shape}")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"expected draws >= 1 and 0 < level < 1, got draws {draws}, level {level}")
    return np.column_stack([values, np.ones(len(values))])


def _blocks(num_clips: int, draws: int) -> Iterator[tuple[int, int]]:
    """Shapes (draws, clips) of blocks that fit into memory."""
    size = max(1, _CHUNK // num_clips)
    for start in range(0, draws, size):
        yield min(size, draws - start), num_clips


def _resamples(num_clips: int, draws: int, seed: int) -> Iterator[Floats]:
    """Blocks (draws, clips) of how often each clip is drawn."""
    generator = np.random.default_rng(seed)
    for rows, columns in _blocks(num_clips, draws):
        drawn = generator.integers(columns, size=(rows, columns)) + np.arange(rows)[:, None] * columns
        yield np.bincount(drawn.ravel(), minlength=rows * columns).reshape(rows, columns).astype(np.float64)


def _percentiles(scores: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _paired_draws(one: Floats, other: Floats, statistic: Statistic, draws: int, seed: int) -> Floats:
    blocks = _resamples(len(one), draws, seed)
    return np.concatenate([statistic(block @ one) - statistic(block @ other) for block in blocks])


def _randomisation_p(one: Floats, other: Floats, statistic: Statistic, draws: int, seed: int) -> float:
    """Share of random swaps with a difference at least as great, the observed one counted in."""
    generator = np.random.default_rng([seed, 1])  # not the stream that drew the clips
    first, second = one.sum(axis=0), other.sum(axis=0)
    observed = abs(float(statistic(first) - statistic(second)))
    enough = observed - 1e-9 * max(1.0, observed)  # a sum in another order may be smaller by its rounding
    extreme = 0
    for shape in _blocks(len(one), draws):
        moved = generator.integers(2, size=shape).astype(np.float64) @ (other - one)
        extreme += int(
            np.count_nonzero(np.abs(statistic(first + moved) - statistic(second - moved)) >= enough)
        )
    return (extreme + 1) / (draws + 1)
