"""Retrieval metrics: ranks of the right answers both ways, their summary, and how sure that is.

Text to audio, every caption looks for its clip. Audio to text, every clip looks for its captions: its rank is
that of the best of them, and average precision counts all of them. Ranks are 0-based, scores are cosines.

Ties count against the model: a wrong candidate whose score is within `TIE` of the right one's comes before
it. So embeddings that tell nothing apart get R@1 = 0, and the metrics depend neither on the order of the
clips nor on float32 rounding. Without ties the numbers are those of the paper's evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TIE = 1e-6
"""Cosines nearer than this count as equal; float32 rounding is about 1e-7."""
BLOCK_SCORES = 2**24
"""Scores held at once (64 MB), so that 100,000 captions need no matrix of all of them."""
CUTOFFS = (1, 5, 10, 50)
PRECISION_CUTOFF = 10
Interval = tuple[float, float]
METRICS = ("r1", "r5", "r10", "r50", "medr", "meanr", "map10")


@dataclass(frozen=True)
class Ranking:
    """How well each query of one direction found what it looked for."""

    ranks: np.ndarray
    """`(queries,)` int64: wrong candidates before the first right one."""
    precision: np.ndarray
    """`(queries,)` float64: average precision at 10, from 0 to 1."""
    top1: np.ndarray
    """`(queries,)` int64: the best-scored candidate, right or wrong."""
    clips: np.ndarray
    """`(queries,)` int64: the clip that each query belongs to."""
    num_candidates: int
    """Clips (text to audio) or captions (audio to text) that were ranked."""


@dataclass(frozen=True)
class RetrievalMetrics:
    """One direction's numbers; all but the ranks and counts are percentages."""

    r1: float
    """Queries whose right answer comes first."""
    r5: float
    r10: float
    r50: float
    medr: float
    """Median rank from 1; between two middle ones the lower, as in the paper's evaluation."""
    meanr: float
    """Mean rank from 1."""
    map10: float
    """Mean average precision of the first 10 hits."""
    num_queries: int
    num_candidates: int
    intervals: dict[str, Interval] = field(default_factory=dict)
    """The 95 % interval of each metric by its name; empty unless `bootstrap` was asked."""


@dataclass(frozen=True)
class Consistency:
    """Whether the same question in another language finds the same (text to audio)."""

    rank_std: float
    """Standard deviation of a query's rank over the languages, mean over the queries."""
    same_top1: float
    """Percentage of queries whose first hit is the same in every language."""
    num_queries: int
    num_languages: int


def rank_text_to_audio(
    audio: Tensor, captions: Tensor, caption_to_clip: Sequence[int] | np.ndarray | Tensor
) -> Ranking:
    """Rank all clips for each caption.

    Args:
        audio: `(clips, dim)` embeddings, normalised or not.
        captions: `(captions, dim)` embeddings, in any order.
        caption_to_clip: `(captions,)` the row of `audio` that each caption describes.

    Raises:
        ValueError: Shapes that do not match, values that are not finite, or a clip without a caption.
    """
    audio, captions, owner = _check(audio, captions, caption_to_clip)
    # Made before the blocks: small results between large freed blocks would keep their memory in pieces.
    ranks, top1 = torch.empty(2, len(captions), dtype=torch.int64)
    for rows in _blocks(len(captions), len(audio)):
        scores = captions[rows] @ audio.T  # (block, clips)
        right = scores.gather(1, owner[rows, None])
        ranks[rows] = _count(scores >= right - TIE) - 1  # the right one counts itself
        top1[rows] = scores.argmax(1)
    precision = torch.where(ranks < PRECISION_CUTOFF, 1.0 / (ranks.double() + 1.0), 0.0)
    return _make_ranking(ranks, precision, top1, owner, len(audio))


def rank_audio_to_text(
    audio: Tensor, captions: Tensor, caption_to_clip: Sequence[int] | np.ndarray | Tensor
) -> Ranking:
    """Rank all captions for each clip; arguments as of `rank_text_to_audio`.

    A clip's rank is that of its best caption. Its average precision is the sum, over its own captions among
    the first 10, of k / (rank from 1) of the k-th one, divided by the number of its captions.
    """
    audio, captions, owner = _check(audio, captions, caption_to_clip)
    own = _own_captions(owner, len(audio))  # (clips, most captions of a clip), -1 where there are fewer
    ranks = torch.empty(len(audio), min(own.shape[1], PRECISION_CUTOFF), dtype=torch.int64)
    top1 = torch.empty(len(audio), dtype=torch.int64)
    for rows in _blocks(len(audio), len(captions)):
        scores = audio[rows] @ captions.T  # (block, captions)
        top1[rows] = scores.argmax(1)
        right = scores.gather(1, own[rows].clamp(min=0)).masked_fill(own[rows] < 0, -torch.inf)
        clips = torch.arange(len(audio), device=audio.device)[rows, None]
        wrong = scores.masked_fill_(owner == clips, -torch.inf)
        # Beyond the cutoff nothing is read: a clip of a thousand captions costs no more than one of ten.
        best = right.sort(1, descending=True).values[:, :PRECISION_CUTOFF]
        for k, score in enumerate(best.T):
            ranks[rows, k] = k + _count(wrong >= score[:, None] - TIE)
    counts = owner.bincount().cpu()
    precision = _average_precision(ranks, counts)
    return _make_ranking(ranks[:, 0], precision, top1, torch.arange(len(audio)), len(captions))


def _count(mask: Tensor) -> Tensor:
    """True values of each row; on a CPU by NumPy, which counts seven times as fast."""
    if mask.device.type != "cpu":
        return mask.sum(1)
    return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=1))


def _average_precision(ranks: Tensor, counts: Tensor) -> Tensor:
    """Of each clip's own captions: their ranks `(clips, k)`, best first, of which the first `counts` are."""
    hits = torch.arange(1, ranks.shape[1] + 1)
    counted = (hits <= counts[:, None]) & (ranks < PRECISION_CUTOFF)
    return torch.where(counted, hits / (ranks.double() + 1.0), 0.0).sum(1) / counts


def _own_captions(owner: Tensor, num_clips: int) -> Tensor:
    order = owner.argsort(stable=True)
    counts = owner.bincount(minlength=num_clips)
    place = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner[order]]
    own = torch.full((num_clips, int(counts.max())), -1, device=owner.device)
    own[owner[order], place] = order
    return own


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, BLOCK_SCORES // columns)
    return (slice(first, first + step) for first in range(0, rows, step))


def _make_ranking(ranks: Tensor, precision: Tensor, top1: Tensor, clips: Tensor, candidates: int) -> Ranking:
    return Ranking(
        ranks.cpu().numpy(), precision.cpu().numpy(), top1.cpu().numpy(), clips.cpu().numpy(), candidates
    )


def _check(
    audio: Tensor, captions: Tensor, caption_to_clip: Sequence[int] | np.ndarray | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    owner = torch.as_tensor(caption_to_clip, dtype=torch.int64, device=audio.device)
    if audio.ndim != 2 or captions.ndim != 2 or audio.shape[1] != captions.shape[1] or not len(audio):
        raise ValueError(
            f"expected audio (clips, dim) and captions (captions, dim) of one width, not empty, "
            f"got {tuple(audio.shape)} and {tuple(captions.shape)}"
        )
    if owner.shape != (len(captions),):
        raise ValueError(
            f"expected the clip of each of {len(captions)} captions, got shape {tuple(owner.shape)}"
        )
    if len(owner) and not 0 <= int(owner.min()) <= int(owner.max()) < len(audio):
        raise ValueError(f"caption_to_clip must be from 0 to {len(audio) - 1} (the rows of audio)")
    without = (owner.bincount(minlength=len(audio)) == 0).nonzero().flatten().tolist()
    if without:
        raise ValueError(
            f"{len(without)} clips have no caption, the first is row {without[0]}: leave them out"
        )
    for name, values in (("audio", audio), ("captions", captions)):
        if not values.isfinite().all():
            raise ValueError(f"the {name} embeddings are not all finite: leave out what could not be encoded")
    return F.normalize(audio.float(), dim=1), F.normalize(captions.float(), dim=1), owner


def summarize(ranking: Ranking) -> RetrievalMetrics:
    """The metrics of a ranking, as the paper's evaluation computes them."""
    order = np.argsort(ranking.ranks)
    values = _weighted_metrics(ranking.ranks[order], _values(ranking)[order], np.ones(len(order)))
    return _make_metrics(values, len(order), ranking.num_candidates)


def average_metrics(metrics: Sequence[RetrievalMetrics]) -> RetrievalMetrics:
    """The plain mean of each metric (over languages); the counts are sums, and there are no intervals."""
    means = np.mean([[getattr(each, name) for name in METRICS] for each in metrics], axis=0)
    counts = np.sum([[each.num_queries, each.num_candidates] for each in metrics], axis=0).tolist()
    return _make_metrics(means, *counts)


def _make_metrics(values: np.ndarray, num_queries: int, num_candidates: int) -> RetrievalMetrics:
    named: dict[str, Any] = dict(zip(METRICS, values.tolist(), strict=True))
    return RetrievalMetrics(**named, num_queries=num_queries, num_candidates=num_candidates)


def bootstrap(
    rankings: Sequence[Ranking], *, num_samples: int = 1000, seed: int = 0
) -> tuple[list[dict[str, Interval]], dict[str, Interval]]:
    """95 % intervals of every metric, by resampling clips.

    Captions of one clip are not independent, so clips are drawn, with all their captions. What is ranked
    against stays as it is: the intervals are for other queries of the same kind against the same archive. The
    same draws serve all rankings, so that those of several languages vary together in their average.

    Args:
        rankings: of the same direction, whose `clips` number the same clips.
        num_samples: draws.
        seed: the same seed draws the same clips.

    Returns:
        For each ranking the interval (low, high) of each metric; and those of the average over rankings.
    """
    clips = np.unique(np.concatenate([ranking.clips for ranking in rankings]))
    prepared = []
    for ranking in rankings:
        order = np.argsort(ranking.ranks)
        places = np.searchsorted(clips, ranking.clips[order])
        prepared.append((places, ranking.ranks[order], _values(ranking)[order]))
    drawn = np.empty((num_samples, len(rankings), len(METRICS)))
    generator = np.random.default_rng(seed)
    for sample in range(num_samples):
        picked = generator.integers(len(clips), size=len(clips))
        weights = np.bincount(picked, minlength=len(clips)).astype(np.float64)
        for number, (places, ranks, values) in enumerate(prepared):
            drawn[sample, number] = _weighted_metrics(ranks, values, weights[places])
    return [_intervals(drawn[:, number]) for number in range(len(rankings))], _intervals(drawn.mean(axis=1))


def bootstrap_mean(values: np.ndarray, *, num_samples: int = 1000, seed: int = 0) -> Interval:
    """95 % interval of the mean of one value a clip, by resampling clips."""
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(num_samples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def measure_consistency(rankings: Sequence[Ranking]) -> Consistency:
    """Compare text-to-audio rankings of the same captions in the same order, one for each language.

    Raises:
        ValueError: Other than the same number of queries everywhere, or less than two languages.
    """
    sizes = {len(ranking.ranks) for ranking in rankings}
    if len(rankings) < 2 or len(sizes) != 1:
        raise ValueError(
            f"expected the same captions in at least two languages, got {sorted(sizes)} captions"
        )
    ranks = np.stack([ranking.ranks for ranking in rankings])  # (languages, queries)
    top1 = np.stack([ranking.top1 for ranking in rankings])
    same = (top1 == top1[0]).all(axis=0)
    return Consistency(
        float(ranks.std(axis=0).mean()), 100.0 * float(same.mean()), ranks.shape[1], len(ranks)
    )


def _values(ranking: Ranking) -> np.ndarray:
    """What is averaged over queries: `(queries, 6)`, in the order of METRICS without the median."""
    recalls = [100.0 * (ranking.ranks < cutoff) for cutoff in CUTOFFS]
    return np.stack([*recalls, ranking.ranks + 1.0, 100.0 * ranking.precision], axis=1)


def _weighted_metrics(sorted_ranks: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """METRICS of queries sorted by rank, each counted `weights` times; NaN if none counts."""
    total = weights.sum()
    if total == 0:
        return np.full(len(METRICS), np.nan)
    means = weights @ values / total
    ends = np.cumsum(weights)
    middle = [sorted_ranks[np.searchsorted(ends, int(place), side="right")] for place in _middle(total)]
    return np.insert(means, len(CUTOFFS), sum(middle) // 2 + 1)


def _middle(total: float) -> tuple[float, float]:
    return (total - 1) // 2, total // 2


def _intervals(drawn: np.ndarray) -> dict[str, Interval]:
    """The middle 95 % of each metric's draws `(samples, metrics)`; draws without a query do not count."""
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(METRICS)}
