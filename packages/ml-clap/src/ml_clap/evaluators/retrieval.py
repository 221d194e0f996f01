"""Ranks of the right answers in retrieval, both ways.

Text to audio, every caption looks for its clip. Audio to text, every clip looks for its captions: its rank is
that of the best of them, and average precision counts all of them. Ranks are 0-based, scores are cosines.

Ties count against the model: a wrong candidate whose score is within `TIE` of the right one's comes before
it. So embeddings that tell nothing apart get R@1 = 0, and the metrics depend neither on the order of the
clips nor on float32 rounding. Without ties the numbers are those of the paper's evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TIE = 1e-6
"""Cosines nearer than this count as equal; float32 rounding is about 1e-7."""
BLOCK_SCORES = 2**24
"""Scores held at once (64 MB), so that 100,000 captions need no matrix of all of them."""
PRECISION_CUTOFF = 10
"""Hits that average precision counts (mAP@10)."""


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


def rank_text_to_audio(
    audio: Tensor, captions: Tensor, caption_to_clip: Sequence[int] | np.ndarray | Tensor
) -> Ranking:
    """Rank all clips for each caption.

    Args:
        audio: `(clips, dim)` embeddings, normalized or not.
        captions: `(captions, dim)` embeddings, in any order.
        caption_to_clip: `(captions,)` the row of `audio` that each caption describes.

    Raises:
        ValueError: Shapes that do not match, values that are not finite, or a clip without a caption.
    """
    audio, captions, owner = check_embeddings(audio, captions, caption_to_clip)
    # Made before the blocks: small results between large freed blocks would keep their memory in pieces.
    ranks, top1 = torch.empty(2, len(captions), dtype=torch.int64)
    for rows in blocks(len(captions), len(audio)):
        scores = captions[rows] @ audio.T  # (block, clips)
        right = scores.gather(1, owner[rows, None])
        ranks[rows] = count_rows(scores >= right - TIE) - 1  # the right one counts itself
        top1[rows] = scores.argmax(1)
    precision = torch.where(ranks < PRECISION_CUTOFF, 1.0 / (ranks.double() + 1.0), 0.0)
    return make_ranking(ranks, precision, top1, owner, len(audio))


def rank_audio_to_text(
    audio: Tensor, captions: Tensor, caption_to_clip: Sequence[int] | np.ndarray | Tensor
) -> Ranking:
    """Rank all captions for each clip; arguments as for `rank_text_to_audio`.

    A clip's rank is that of its best caption. Its average precision is the sum, over its own captions among
    the first 10, of k / (rank from 1) of the k-th one, divided by the number of its captions.
    """
    audio, captions, owner = check_embeddings(audio, captions, caption_to_clip)
    own = _own_captions(owner, len(audio))  # (clips, most captions of a clip), -1 where there are fewer
    ranks = torch.empty(len(audio), min(own.shape[1], PRECISION_CUTOFF), dtype=torch.int64)
    top1 = torch.empty(len(audio), dtype=torch.int64)
    for rows in blocks(len(audio), len(captions)):
        scores = audio[rows] @ captions.T  # (block, captions)
        top1[rows] = scores.argmax(1)
        right = scores.gather(1, own[rows].clamp(min=0)).masked_fill(own[rows] < 0, -torch.inf)
        clips = torch.arange(len(audio), device=audio.device)[rows, None]
        # In place: the largest array of all is needed no more as it was.
        wrong = scores.masked_fill_(owner == clips, -torch.inf)
        # Beyond the cutoff nothing is read: a clip of a thousand captions costs no more than one of ten.
        best = right.sort(1, descending=True).values[:, :PRECISION_CUTOFF]
        for k, score in enumerate(best.T):
            ranks[rows, k] = k + count_rows(wrong >= score[:, None] - TIE)
    counts = owner.bincount().cpu()
    precision = _average_precision(ranks, counts)
    return make_ranking(ranks[:, 0], precision, top1, torch.arange(len(audio)), len(captions))


def count_rows(mask: Tensor) -> Tensor:
    """Count the true values of each row; on a CPU with NumPy, which is seven times as fast."""
    if mask.device.type != "cpu":
        return mask.sum(1)
    return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=1))


def _average_precision(ranks: Tensor, counts: Tensor) -> Tensor:
    """Return `(clips,)` average precision of ranks `(clips, k)`, best first; a row has `counts` real ones."""
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


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Give slices of so many rows that their scores against all columns fit into `BLOCK_SCORES`."""
    step = max(1, BLOCK_SCORES // columns)
    return (slice(first, first + step) for first in range(0, rows, step))


def make_ranking(ranks: Tensor, precision: Tensor, top1: Tensor, clips: Tensor, candidates: int) -> Ranking:
    """Return a ranking as NumPy has it."""
    return Ranking(
        ranks.cpu().numpy(), precision.cpu().numpy(), top1.cpu().numpy(), clips.cpu().numpy(), candidates
    )


def check_embeddings(
    audio: Tensor, captions: Tensor, caption_to_clip: Sequence[int] | np.ndarray | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return both kinds of embeddings normalized, and the clip of each caption.

    Raises:
        ValueError: see `rank_text_to_audio`.
    """
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
    # Cosines: only then is TIE the same for every model.
    return F.normalize(audio.float(), dim=1), F.normalize(captions.float(), dim=1), owner
