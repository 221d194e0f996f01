"""How varied the captions of a system are, of its candidates alone.

Captioners that score well may say little: many clips get the same few sentences. None of these measures knows
whether what is said is right, and all depend on the number of clips: compare systems on the same clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aac_llm.metrics.ngrams import Counted, Tokens, count_ngrams
from aac_llm.metrics.tokenizer import tokenize


def diversity(candidates: Sequence[str]) -> dict[str, float]:
    """Measure the variety of one caption a clip, see `diversity_of`.

    Raises:
        ValueError: no caption.
    """
    return diversity_of([tokenize(text) for text in candidates])


def diversity_of(candidates: Sequence[Tokens]) -> dict[str, float]:
    """Measure the variety of tokenised captions.

    - `vocabulary`: different words, in all captions together
    - `mean_length`: words a caption
    - `distinct_1`, `distinct_2`: different words and word pairs, as a share of all (Li et al. 2016)
    - `unique_captions`: share of different captions
    - `self_similarity`: mean cosine, over all pairs of captions, of their counts of words and word pairs: the
      same caption for every clip gives 1, captions without a common word 0. In closed form, where self-BLEU
      (Zhu et al. 2018) takes the square of the number of clips.
    """
    if not len(candidates):
        raise ValueError("expected at least one caption, got none")
    counted = count_ngrams(candidates, max_order=2)
    ones, pairs = counted.orders
    return {
        "vocabulary": float(len(ones.start)),
        "mean_length": float(counted.lengths.mean()),
        "distinct_1": len(ones.start) / max(1, int(ones.count.sum())),
        "distinct_2": len(pairs.start) / max(1, int(pairs.count.sum())),
        "unique_captions": len({tuple(words) for words in candidates}) / len(candidates),
        "self_similarity": _self_similarity(counted),
    }


def _self_similarity(counted: Counted) -> float:
    """Average the cosine of all pairs: for unit vectors u, (|sum u|^2 - sum |u|^2) / ordered pairs."""
    size = len(counted.lengths)
    if size < 2:
        return 0.0
    squares = sum(np.bincount(order.sentence, order.count**2, size) for order in counted.orders)
    norms = np.sqrt(np.maximum(1, squares))
    total = 0.0
    for order in counted.orders:
        summed = np.bincount(order.ngram, order.count / norms[order.sentence], len(order.start))
        total += float((summed**2).sum())
    # Empty captions have no unit vector.
    of_itself = int(np.count_nonzero(squares))
    return float(np.clip((total - of_itself) / (size * (size - 1)), 0, 1))
