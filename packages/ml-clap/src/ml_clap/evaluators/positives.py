"""Retrieval where captions that are equal word for word count as right for each other's clips.

In a labelled set every clip of a class has the same captions: which of eight barking dogs a caption was
written for nobody can tell, and `ml_clap.evaluators.retrieval`, which counts the other seven as wrong, gives
R@1 = 0. Here a caption's right clips are all that have it, a clip's right captions all that are equal to one
of its own.

A query's rank is that of its best right candidate; ties count against the model as there. Of average
precision at 10 the denominator is the number of right candidates, 10 at most: there cannot be more among ten
hits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ml_clap.evaluators.retrieval import (
    PRECISION_CUTOFF,
    TIE,
    Ranking,
    blocks,
    check_embeddings,
    count_rows,
    make_ranking,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RightOf = Callable[[slice], Tensor]
"""Rows of queries -> bool `(rows, candidates)`: which candidates are right."""


def rank_equal_captions(
    audio: Tensor,
    captions: Tensor,
    caption_to_clip: Sequence[int] | np.ndarray | Tensor,
    texts: Sequence[str],
) -> tuple[Ranking, Ranking]:
    """Rank all clips for each caption, and all captions for each clip.

    Args:
        audio: `(clips, dim)` embeddings, normalized or not.
        captions: `(captions, dim)` embeddings, in any order.
        caption_to_clip: `(captions,)` the row of `audio` that each caption describes.
        texts: `(captions,)` the captions; equal ones are right for each other's clips.

    Returns:
        Text to audio, and audio to text.

    Raises:
        ValueError: As `rank_text_to_audio`, or `texts` are not as many as `captions`.
    """
    audio, captions, owner = check_embeddings(audio, captions, caption_to_clip)
    if len(texts) != len(captions):
        raise ValueError(f"expected the text of each of {len(captions)} captions, got {len(texts)}")
    numbers, has = _incidence(texts, owner.cpu().numpy(), len(audio))

    def clips_of(rows: slice) -> Tensor:
        return torch.from_numpy(has[numbers[rows]].toarray() > 0).to(audio.device)

    def captions_of(rows: slice) -> Tensor:
        found = has[:, np.arange(len(audio))[rows]].toarray() > 0  # (texts, block)
        return torch.from_numpy(found[numbers].T).to(audio.device)

    to_audio = _rank(captions, audio, clips_of, owner)
    return to_audio, _rank(audio, captions, captions_of, torch.arange(len(audio)))


def clips_with(texts: Sequence[str], caption_to_clip: Sequence[int], num_clips: int) -> Tensor:
    """Return bool `(captions, clips)`: which clips have a caption equal to each."""
    numbers, has = _incidence(texts, np.asarray(caption_to_clip), num_clips)
    return torch.from_numpy(has[numbers].toarray() > 0)


def _incidence(texts: Sequence[str], owner: np.ndarray, num_clips: int) -> tuple[np.ndarray, csr_array]:
    """Return the number of each caption's text, and (texts, clips): how often a clip has a text."""
    from scipy.sparse import csr_array

    number_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    numbers = np.array([number_of[text] for text in texts])
    return numbers, csr_array((np.ones(len(owner)), (numbers, owner)), shape=(len(number_of), num_clips))


def _rank(queries: Tensor, candidates: Tensor, right_of: RightOf, clips: Tensor) -> Ranking:
    ranks, top1 = torch.empty(2, len(queries), dtype=torch.int64)
    precision = torch.empty(len(queries), dtype=torch.float64)
    for rows in blocks(len(queries), len(candidates)):
        scores, is_right = queries[rows] @ candidates.T, right_of(rows)  # (block, candidates)
        top1[rows] = scores.argmax(1)
        most = min(PRECISION_CUTOFF, scores.shape[1])
        best = scores.masked_fill(~is_right, -torch.inf).topk(most, dim=1).values
        wrong = scores.masked_fill_(is_right, -torch.inf)
        before = torch.stack(  # wrong candidates before the k-th right one
            [count_rows(wrong >= score[:, None] - TIE) for score in best.T], dim=1
        )
        ranks[rows] = before[:, 0]
        precision[rows] = _precision(before, is_right.sum(1).cpu())
    return make_ranking(ranks, precision, top1, clips, len(candidates))


def _precision(before: Tensor, counts: Tensor) -> Tensor:
    """Return average precision at 10 of `(block, k)` wrong candidates before the k-th right one."""
    hits = torch.arange(1, before.shape[1] + 1)
    places = before.double() + hits  # from 1
    counted = (hits <= counts[:, None]) & (places <= PRECISION_CUTOFF)
    return torch.where(counted, hits / places, 0.0).sum(1) / counts.clamp(max=PRECISION_CUTOFF)
