"""Retrieval metrics, as the paper's evaluation computes them, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ml_clap.evaluators.results import METRICS, Estimate, Interval, RetrievalMetrics
from ml_clap.evaluators.retrieval import Ranking

CUTOFFS = (1, 5, 10, 50)
PERCENTAGES = ("r1", "r5", "r10", "r50", "map10")


def summarize(ranking: Ranking) -> RetrievalMetrics:
    """Return the metrics of a ranking, as the paper's evaluation computes them."""
    order = np.argsort(ranking.ranks)
    values = _weighted_metrics(ranking.ranks[order], _values(ranking)[order], np.ones(len(order)))
    return _make_metrics(values, len(order), ranking.num_candidates)


def average_metrics(metrics: Sequence[RetrievalMetrics]) -> RetrievalMetrics:
    """Return the plain mean of each metric (over languages); counts are sums, and there are no intervals."""
    means = np.mean([[getattr(one, name) for name in METRICS] for one in metrics], axis=0)
    counts = np.sum([[one.num_queries, one.num_candidates] for one in metrics], axis=0).tolist()
    return _make_metrics(means, *counts)


def _make_metrics(values: np.ndarray, num_queries: int, num_candidates: int) -> RetrievalMetrics:
    named: dict[str, Any] = dict(zip(METRICS, values.tolist(), strict=True))
    return RetrievalMetrics(**named, num_queries=num_queries, num_candidates=num_candidates)


def bootstrap(
    rankings: Sequence[Ranking],
    *,
    num_samples: int = 1000,
    seed: int = 0,
    recordings: np.ndarray | None = None,
) -> tuple[list[dict[str, Interval]], dict[str, Interval]]:
    """Return 95 % intervals of every metric, by resampling clips.

    Captions of one clip are not independent, so clips are drawn, with all their captions (scipy's bootstrap
    draws single values only). What is ranked against stays as it is: the intervals are for other queries of
    the same kind against the same archive. The same draws serve all rankings, so that those of several
    languages vary together in their average.

    Where every draw of a percentage is the same, as with no right answer at all, resampling says nothing
    about other queries, and the interval is Wilson's for as many clips.

    Args:
        rankings: of the same direction, whose `clips` number the same clips.
        num_samples: number of draws.
        seed: seed for the draws.
        recordings: number of the recording that each clip was cut from; recordings are drawn then. Default:
            each clip is one.

    Returns:
        For each ranking the interval (low, high) of each metric; and those of the average over rankings.
    """
    owners = [ranking.clips if recordings is None else recordings[ranking.clips] for ranking in rankings]
    clips = np.unique(np.concatenate(owners))
    prepared = []
    for ranking, owner in zip(rankings, owners, strict=True):
        order = np.argsort(ranking.ranks)
        places = np.searchsorted(clips, owner[order])
        prepared.append((places, ranking.ranks[order], _values(ranking)[order]))
    drawn = np.empty((num_samples, len(rankings), len(METRICS)))
    generator = np.random.default_rng(seed)
    for sample in range(num_samples):
        picked = generator.integers(len(clips), size=len(clips))
        # Counting a query as often as its clip was drawn is the same as repeating it, and much quicker.
        weights = np.bincount(picked, minlength=len(clips)).astype(np.float64)
        for number, (places, ranks, values) in enumerate(prepared):
            drawn[sample, number] = _weighted_metrics(ranks, values, weights[places])
    by_ranking = [_intervals(drawn[:, number], len(np.unique(owner))) for number, owner in enumerate(owners)]
    return by_ranking, _intervals(drawn.mean(axis=1), len(clips))


def estimate(
    values: np.ndarray,
    clusters: np.ndarray,
    *,
    num_samples: int = 1000,
    seed: int = 0,
    is_percentage: bool = False,
) -> Estimate:
    """Return the mean of `values` with its 95 % interval, by resampling clusters.

    Args:
        values: `(queries,)`; NaN where a query has none.
        clusters: `(queries,)` the clip or recording of each query: what is drawn, with all its queries.
        num_samples: number of draws; 0: no interval.
        seed: seed for the draws.
        is_percentage: where all queries are alike, the interval is Wilson's for as many clusters, not empty.
    """
    there = ~np.isnan(values)
    values, clusters = values[there], clusters[there]
    mean = float(values.mean()) if len(values) else float("nan")
    if not num_samples or not len(values):
        return Estimate(mean)
    _, place = np.unique(clusters, return_inverse=True)
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    if is_percentage and np.ptp(values) < 1e-9:
        return Estimate(mean, wilson(round(len(sums) * mean / 100.0), len(sums)))
    generator = np.random.default_rng(seed)
    drawn = np.empty(num_samples)
    for sample in range(num_samples):
        picked = generator.integers(len(sums), size=len(sums))
        drawn[sample] = sums[picked].sum() / counts[picked].sum()
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(mean, (float(low), float(high)))


def wilson(successes: int, trials: int) -> Interval:
    """Return Wilson's 95 % interval of a share, in percent: never empty, whatever the share.

    >>> [round(limit, 1) for limit in wilson(0, 6)]
    [0.0, 39.0]
    """
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(method="wilson")
    return 100.0 * float(found.low), 100.0 * float(found.high)


def _values(ranking: Ranking) -> np.ndarray:
    """Return what is averaged over queries: `(queries, 6)`, in the order of METRICS without the median."""
    recalls = [100.0 * (ranking.ranks < cutoff) for cutoff in CUTOFFS]
    return np.stack([*recalls, ranking.ranks + 1.0, 100.0 * ranking.precision], axis=1)


def _weighted_metrics(sorted_ranks: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return METRICS of queries sorted by rank, each counted `weights` times; NaN if none counts."""
    total = weights.sum()
    if total == 0:
        return np.full(len(METRICS), np.nan)
    means = weights @ values / total
    ends = np.cumsum(weights)
    middle = [sorted_ranks[np.searchsorted(ends, int(place), side="right")] for place in _middle(total)]
    return np.insert(means, len(CUTOFFS), sum(middle) // 2 + 1)


def _middle(total: float) -> tuple[float, float]:
    # Two places where the total is even: the paper's evaluation takes the lower whole number between them.
    return (total - 1) // 2, total // 2


def _intervals(drawn: np.ndarray, num_clips: int) -> dict[str, Interval]:
    """Return the middle 95 % of draws `(samples, metrics)`; those without a query do not count."""
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    intervals = {name: (float(low[i]), float(high[i])) for i, name in enumerate(METRICS)}
    for i, name in enumerate(METRICS):
        # A mean of equal percentages differs from draw to draw by rounding alone.
        is_stuck = np.nanmax(drawn[:, i]) - np.nanmin(drawn[:, i]) < 1e-9
        if name in PERCENTAGES and len(drawn) > 1 and is_stuck:
            intervals[name] = wilson(round(num_clips * float(low[i]) / 100.0), num_clips)
    return intervals
