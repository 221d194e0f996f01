"""BLEU-1 to BLEU-4 (Papineni et al. 2002), of each clip and of the corpus, as coco-caption counts it.

n-grams of the candidate count up to their greatest number in one reference; the reference length is the
closest one, the shorter of two equally close. Corpus BLEU is made of the counts of all clips: it is not the
mean of the clips' BLEU, so its confidence interval needs the counts (`BleuCounts.table`), not the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aac_llm.metrics.ngrams import MAX_ORDER, CaptionSet, Floats, Ints, look_up, pair_keys

_SMALL = 1e-9  # coco-caption's two constants: no division by zero, and 0 matches of 0 n-grams is near 0
_TINY = 1e-15


@dataclass(frozen=True, kw_only=True)
class BleuCounts:
    """Counts of each clip for BLEU; their sums over clips give the corpus."""

    matches: Ints
    """(clips, 4) n-grams of the candidate that a reference has, clipped."""
    ngrams: Ints
    """(clips, 4) n-grams of the candidate."""
    length: Ints
    """(clips,) words of the candidate."""
    reference_length: Ints
    """(clips,) words of the reference closest in length."""

    def table(self) -> Floats:
        """Return counts (clips, 10) for `bleu_from_sums`, to be summed over any choice of clips."""
        return np.column_stack([self.matches, self.ngrams, self.length, self.reference_length]).astype(float)


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Floats, Floats]:
    """Compute BLEU-1..4: (4,) of the corpus and (clips, 4) of the clips, each in 0..1.

    Args:
        candidates: one caption a clip.
        references: of each clip, at least one.

    Raises:
        ValueError: a clip without references, or not as many candidates as clips.
    """
    table = bleu_counts(CaptionSet.from_captions(candidates, references)).table()
    return bleu_from_sums(table.sum(axis=0)), bleu_from_sums(table)


def bleu_from_sums(sums: Floats) -> Floats:
    """Compute BLEU-1..4 (..., 4) of counts (..., 10): matches, n-grams, length, reference length."""
    matches, ngrams, length, reference_length = np.split(sums, [MAX_ORDER, 2 * MAX_ORDER, -1], axis=-1)
    # Geometric mean of the n-gram precisions, as the n-th root of their product (Papineni et al., eq. 3).
    precision = np.cumprod((matches + _TINY) / (ngrams + _SMALL), axis=-1)
    ratio = (length + _TINY) / (reference_length + _SMALL)
    return precision ** (1 / np.arange(1, MAX_ORDER + 1)) * np.exp(np.minimum(0, 1 - 1 / ratio))


def bleu_counts(captions: CaptionSet) -> BleuCounts:
    """Count matches and lengths of each clip."""
    orders = range(1, MAX_ORDER + 1)
    length = captions.counted.lengths[: captions.num_clips]
    return BleuCounts(
        matches=np.column_stack([_matches(captions, order) for order in orders]),
        ngrams=np.column_stack([np.maximum(0, length - order + 1) for order in orders]),
        length=length,
        reference_length=_closest_lengths(captions),
    )


def _matches(captions: CaptionSet, order: int) -> Ints:
    candidate, reference = captions.of_candidates(order), captions.of_references(order)
    size = len(candidate.start)
    # The greatest count in any one reference of the clip allows as many matches.
    keys = pair_keys(captions.clip[reference.sentence], reference.ngram, size)
    by_key = np.lexsort((reference.count, keys))  # within a key the greatest count is last
    last = np.flatnonzero(np.diff(keys[by_key], append=-1))
    greatest = by_key[last]
    wanted = pair_keys(candidate.sentence, candidate.ngram, size)
    allowed = look_up(keys[greatest], reference.count[greatest], wanted)
    matched = np.bincount(candidate.sentence, np.minimum(candidate.count, allowed), captions.num_clips)
    return matched.astype(np.int64)


def _closest_lengths(captions: CaptionSet) -> Ints:
    lengths = captions.counted.lengths
    references = lengths[captions.num_clips :]
    distance = np.abs(references - lengths[captions.clip])
    # Within a clip by distance, then by length: the first is the closest, the shorter of two.
    ranked = np.lexsort((references, distance, captions.clip))
    return references[ranked[np.flatnonzero(np.diff(captions.clip, prepend=-1))]]
