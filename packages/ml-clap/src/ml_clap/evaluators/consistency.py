"""Whether the same question in another language finds the same: consistency across languages.

The measures are those by which ATRI (arXiv 2502.14627) judges it, over captions that are there in every
language, one for one: how a query's rank varies over languages, and how many of the first hits languages
share. Beside them the text tower alone: among all captions of another language, at which rank does a caption
find its translation?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ml_clap.evaluators.results import Consistency, Estimate
from ml_clap.evaluators.retrieval import TIE, blocks, count_rows
from ml_clap.evaluators.statistics import estimate

CUTOFFS = (1, 5, 10)
"""Numbers of first hits whose overlap is measured."""


@dataclass(frozen=True)
class LanguageHits:
    """What the queries of one language found (text to audio)."""

    ranks: np.ndarray
    """`(queries,)` rank of the right clip, from 0."""
    first: np.ndarray
    """`(queries, 10 or fewer)` the best-scored clips, best first."""
    captions: Tensor
    """`(queries, dim)` the queries' embeddings."""


def first_hits(audio: Tensor, captions: Tensor, most: int = CUTOFFS[-1]) -> np.ndarray:
    """Return the clips `(captions, most)` of highest cosine for each caption, best first.

    Args:
        audio: `(clips, dim)`.
        captions: `(captions, dim)`.
        most: how many; fewer where there are not so many clips.
    """
    audio, captions = F.normalize(audio.float(), dim=1), F.normalize(captions.float(), dim=1)
    found = [
        (captions[rows] @ audio.T).topk(min(most, len(audio)), dim=1).indices
        for rows in blocks(len(captions), len(audio))
    ]
    return torch.cat(found).cpu().numpy()


def measure_consistency(
    hits: Sequence[LanguageHits], clusters: np.ndarray, *, num_samples: int = 0, seed: int = 0
) -> Consistency:
    """Compare the same queries in the same order, one `LanguageHits` for each language.

    Args:
        hits: of each language.
        clusters: `(queries,)` what is resampled for the intervals: the clip or recording of each query.
        num_samples: bootstrap draws; 0: no intervals.
        seed: seed for the draws.

    Raises:
        ValueError: other than the same number of queries everywhere, or less than two languages.
    """
    sizes = {len(one.ranks) for one in hits}
    if len(hits) < 2 or len(sizes) != 1:
        raise ValueError(
            f"expected the same captions in at least two languages, got {sorted(sizes)} captions"
        )
    ranks = np.stack([one.ranks for one in hits])  # (languages, queries)
    top1 = np.stack([one.first[:, 0] for one in hits])
    pairs = pairwise_overlap(hits)  # cutoff -> (languages, languages, queries)
    translations = _rank_translations(hits)  # (pairs of languages, queries)
    others = ~np.eye(len(hits), dtype=bool)

    def measured(values: np.ndarray) -> Estimate:
        return estimate(values, clusters, num_samples=num_samples, seed=seed)

    def percentage(shares: np.ndarray) -> Estimate:
        return estimate(100.0 * shares, clusters, num_samples=num_samples, seed=seed, is_percentage=True)

    return Consistency(
        rank_std=measured(ranks.std(axis=0)),
        rank_variance=measured(ranks.var(axis=0)),
        same_top1=percentage((top1 == top1[0]).all(axis=0)),
        overlap={k: percentage(shared[others].mean(axis=0)) for k, shared in pairs.items()},
        translation_rank=measured(translations.mean(axis=0) + 1.0),
        translation_r1=percentage((translations == 0).mean(axis=0)),
        overlap_by_pair=(100.0 * pairs[max(pairs)].mean(axis=2)).tolist(),
        num_queries=ranks.shape[1],
        num_languages=len(hits),
    )


def pairwise_overlap(hits: Sequence[LanguageHits]) -> dict[int, np.ndarray]:
    """Return k -> `(languages, languages, queries)`: the share of the first k hits that both languages have.

    Where there are fewer than k clips that k is left out, but the smallest stays.
    """
    most = hits[0].first.shape[1]
    found = {}
    for k in [k for k in CUTOFFS if k <= most]:
        shared = np.ones((len(hits), len(hits), len(hits[0].first)))
        for a, one in enumerate(hits):
            for b in range(a):
                both = (one.first[:, :k, None] == hits[b].first[:, None, :k]).any(axis=2).mean(axis=1)
                shared[a, b] = shared[b, a] = both
        found[k] = shared
    return found


def _rank_translations(hits: Sequence[LanguageHits]) -> np.ndarray:
    """Return `(pairs, queries)`: captions that come before the translation, from 0.

    Pairs are the first language with each other one, both ways: all pairs would cost more than the rest.
    """
    first, *others = (F.normalize(one.captions.float(), dim=1) for one in hits)
    pairs = [pair for other in others for pair in ((first, other), (other, first))]
    return np.stack([_rank_diagonal(asked, among) for asked, among in pairs])


def _rank_diagonal(asked: Tensor, among: Tensor) -> np.ndarray:
    ranks = torch.empty(len(asked), dtype=torch.int64)
    for rows in blocks(len(asked), len(among)):
        scores = asked[rows] @ among.T
        right = scores.diagonal(offset=rows.start)[: len(scores), None]
        ranks[rows] = count_rows(scores >= right - TIE).cpu() - 1
    return ranks.numpy()
