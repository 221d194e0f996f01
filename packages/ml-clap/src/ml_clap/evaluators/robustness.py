"""Whether captions still find their clips when they are worded as people ask: text to audio.

`negation` is the other way round: a caption that says what is not heard should rank its clip lower than the
caption as it is, not first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ml_clap.data.rewording import Kind, reword
from ml_clap.evaluators.results import Estimate, Rewording
from ml_clap.evaluators.retrieval import TIE, blocks, count_rows
from ml_clap.evaluators.statistics import estimate


def reword_all(texts: Sequence[str], language: str, kind: Kind) -> tuple[list[int], list[str]]:
    """Return which captions could be reworded, and their new wordings."""
    made = [(place, reword(text, language, kind)) for place, text in enumerate(texts)]
    kept = [(place, text) for place, text in made if text is not None]
    return [place for place, _ in kept], [text for _, text in kept]


def compare_wordings(
    audio: Tensor,
    captions: Tensor,
    reworded: Tensor,
    owner: Sequence[int],
    clusters: np.ndarray,
    *,
    right: Tensor | None = None,
    num_samples: int = 0,
    seed: int = 0,
) -> Rewording:
    """Compare captions with their rewordings, one for one.

    Args:
        audio: `(clips, dim)`.
        captions: `(queries, dim)` as they are.
        reworded: `(queries, dim)` in another wording.
        owner: `(queries,)` the row of `audio` of each.
        clusters: `(queries,)` what is resampled for the intervals.
        right: bool `(queries, clips)`, the clips that are right; default: the owner alone.
        num_samples: bootstrap draws; 0: no intervals.
        seed: seed for the draws.
    """
    plain_rank, plain_score = _rank(audio, captions, owner, right)
    other_rank, other_score = _rank(audio, reworded, owner, right)

    def percentage(values: np.ndarray) -> Estimate:
        return estimate(100.0 * values, clusters, num_samples=num_samples, seed=seed, is_percentage=True)

    change = 100.0 * ((other_rank == 0).astype(float) - (plain_rank == 0))
    return Rewording(
        r1=percentage(other_rank == 0),
        r10=percentage(other_rank < 10),
        change=estimate(change, clusters, num_samples=num_samples, seed=seed),
        lower=percentage(other_score < plain_score - TIE),
        below=percentage(other_rank > plain_rank),
        num_queries=len(plain_rank),
    )


def _rank(
    audio: Tensor, queries: Tensor, owner: Sequence[int], right: Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank from 0 of the best right clip, and the cosine of the query's own."""
    audio, queries = F.normalize(audio.float(), dim=1), F.normalize(queries.float(), dim=1)
    own = torch.as_tensor(owner, device=audio.device)
    ranks, cosines = torch.empty(len(queries), dtype=torch.int64), torch.empty(len(queries))
    for rows in blocks(len(queries), len(audio)):
        scores = queries[rows] @ audio.T
        cosines[rows] = scores.gather(1, own[rows, None])[:, 0].cpu()
        is_right = F.one_hot(own[rows], len(audio)).bool() if right is None else right[rows].to(audio.device)
        best = scores.masked_fill(~is_right, -torch.inf).amax(1)
        ranks[rows] = count_rows(scores.masked_fill(is_right, -torch.inf) >= best[:, None] - TIE)
    return ranks.numpy(), cosines.numpy()
