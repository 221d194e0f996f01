"""Losses made of the comparison of two sets of embeddings: several languages at once, several widths at once.

All functions are pure, and take the comparison itself (`contrastive_loss` or `sigmoid_loss`, with its
temperature bound) as an argument, so that each goes with any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ml_clap.models.shared_space import shorten

Compare = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(rows `(n, dim)`, other rows `(m, dim)`, number of the clip of each of the n, of each of the m) -> loss."""


def one_to_k_loss(compare: Compare, audio: Tensor, texts: Tensor, ids: Tensor) -> Tensor:
    """Return the loss of sounds against their captions in K languages together (1-to-K).

    ATRI (arXiv 2502.14627) takes it from the 1-to-K contrastive learning of images and texts (Nie et al.,
    2024): a sound has K right texts, which share its target, and all texts of the other sounds, in every
    language, are wrong. So no language is drawn, and each counts in every update.

    Args:
        compare: The loss of a set of sounds and a set of texts.
        audio: `(batch, dim)`.
        texts: `(batch, languages, dim)`, those of row i describing row i of `audio`.
        ids: `(batch,)`, the same number where rows match.
    """
    return compare(audio, texts.flatten(0, 1), ids, ids.repeat_interleave(texts.shape[1]))


def co_anchor_loss(compare: Compare, audio: Tensor, texts: Tensor, ids: Tensor) -> Tensor:
    """Return ATRI's audio-English co-anchor loss (arXiv 2502.14627): the mean over three pairs of sets.

    Sound and English caption are two anchors, to each other and to the caption in a drawn language; so the
    cost is that of two languages, whatever their number.

    Args:
        compare: The loss of two sets.
        audio: `(batch, dim)`.
        texts: `(batch, 2, dim)`: English, then the drawn language.
        ids: `(batch,)`, the same number where rows match.
    """
    english, drawn = texts.unbind(dim=1)
    pairs = ((audio, english), (audio, drawn), (english, drawn))
    return torch.stack([compare(one, other, ids, ids) for one, other in pairs]).mean()


def nested(compare: Compare, dims: Sequence[int]) -> Compare:
    """Return the comparison of whole embeddings and of their prefixes: the mean over all widths.

    Matryoshka representation learning (arXiv 2205.13147): the first `dims` numbers of an embedding,
    normalized again, are then an embedding too.
    """

    def compare_all(one: Tensor, other: Tensor, ids: Tensor, other_ids: Tensor) -> Tensor:
        whole = compare(one, other, ids, other_ids)
        parts = [compare(shorten(one, dim), shorten(other, dim), ids, other_ids) for dim in dims]
        return torch.stack([whole, *parts]).mean()

    return compare_all
