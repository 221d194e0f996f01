"""ROUGE-L (Lin 2004): F-measure of the longest common subsequence of words, as coco-caption computes it.

Best precision and best recall may come from two references; recall weighs more (beta 1.2). Departure: two
empty captions score 0 here and 1 there, where splitting an empty text gives one empty word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aac_llm.metrics.ngrams import CaptionSet, Floats, Tokens

BETA = 1.2
"""Weight of the recall."""


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, Floats]:
    """Compute ROUGE-L: the mean over clips, and (clips,) of each, in 0..1.

    Args:
        candidates: one caption a clip.
        references: of each clip, at least one.

    Raises:
        ValueError: a clip without references, or not as many candidates as clips.
    """
    clips = rouge_l_clips(CaptionSet.from_captions(candidates, references))
    return float(clips.mean()), clips


def rouge_l_clips(captions: CaptionSet) -> Floats:
    """Compute ROUGE-L (clips,) of tokenised captions."""
    pairs = list(zip(captions.clip.tolist(), captions.references, strict=True))
    common = np.array([common_subsequence(captions.candidates[clip], words) for clip, words in pairs])
    lengths = captions.counted.lengths
    first = np.flatnonzero(np.diff(captions.clip, prepend=-1))  # of each clip's references
    precision = np.maximum.reduceat(common / np.maximum(1, lengths[captions.clip]), first)
    recall = np.maximum.reduceat(common / np.maximum(1, lengths[captions.num_clips :]), first)
    # coco-caption has beta at precision, which weighs recall more.
    denominator = recall + BETA**2 * precision
    return (1 + BETA**2) * precision * recall / np.where(denominator == 0, 1, denominator)


def common_subsequence(first: Tokens, second: Tokens) -> int:
    """Return the length of the longest common subsequence.

    One row of the usual table is the bits of one integer (Hyyrö 2004), so a word costs a few operations on
    integers and not a loop over the other sentence.

    >>> common_subsequence("a dog barks at a cat".split(), "the dog at the cat".split())
    3
    """
    places: dict[str, int] = {}
    for at, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << at
    ones = (1 << len(first)) - 1
    row = ones
    for word in second:
        # A 0 bit is a step of the table: where the common subsequence grows by one.
        if matches := row & places.get(word, 0):
            row = (row + matches | row - matches) & ones
    return len(first) - row.bit_count()
