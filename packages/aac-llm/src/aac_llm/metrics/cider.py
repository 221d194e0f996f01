"""CIDEr-D (Vedantam et al. 2015): similarity of tf-idf vectors of n-grams, as coco-caption computes it.

n = 1..4; counts are clipped to the reference's; a Gaussian (sigma 6) of the difference in length; times 10.
The weight of an n-gram is log(clips / clips that have it in a reference). The corpus value is the mean of the
clips. So a score depends on the other clips of the set: with one clip all weights, and the score, are 0, and
sets of different clips cannot be compared unless they share one `DocumentFrequencies`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aac_llm.metrics.ngrams import (
    MAX_ORDER,
    CaptionSet,
    Counted,
    Floats,
    Ints,
    NgramCounts,
    Tokens,
    check_references,
    count_ngrams,
    look_up,
    pair_keys,
)
from aac_llm.metrics.tokenizer import tokenize

SIGMA = 6.0
"""Standard deviation, in words, of the Gaussian of the difference in length."""
SCALE = 10.0
"""A candidate equal to all its references scores this (if it has at least four words)."""


@dataclass(frozen=True, kw_only=True)
class DocumentFrequencies:
    """In how many clips' references each n-gram is."""

    num_documents: int
    """Number of clips."""
    counts: dict[tuple[str, ...], int]
    """Clips that have the n-gram in at least one reference, n = 1..4."""

    @classmethod
    def from_references(cls, references: Sequence[Sequence[str]]) -> DocumentFrequencies:
        """Count the references of each clip, for instance those of a training set.

        Raises:
            ValueError: no clip, or a clip without references.
        """
        check_references(references)
        if not len(references):
            raise ValueError("expected the references of at least one clip, got none")
        counts: Counter[tuple[str, ...]] = Counter()
        for texts in references:
            # A set: an n-gram counts once a clip, however many of its references have it.
            counts.update({ngram for text in texts for ngram in _ngrams(tokenize(text))})
        return cls(num_documents=len(references), counts=dict(counts))

    def weights(self, ngrams: Iterable[tuple[str, ...]]) -> Floats:
        """Compute log(clips / clips with the n-gram); an n-gram never seen weighs as one seen once."""
        # Seen once instead of never, as in the authors' code: log(N/0) would be infinite.
        log_size = math.log(self.num_documents)
        return np.array([log_size - math.log(self.counts.get(ngram, 1)) for ngram in ngrams])


def _ngrams(words: Tokens) -> Iterable[tuple[str, ...]]:
    for order in range(1, MAX_ORDER + 1):
        yield from zip(*(words[at:] for at in range(order)), strict=False)


class CiderD:
    """CIDEr-D against fixed references, for scoring many systems or checkpoints.

    >>> metric = CiderD([["rain falls", "it rains hard"], ["a dog barks"]])
    >>> round(metric(["it rains", "a dog barks"])[0], 3)
    4.689
    """

    def __init__(
        self, references: Sequence[Sequence[str]], document_frequencies: DocumentFrequencies | None = None
    ) -> None:
        check_references(references)
        self.references = references
        self.document_frequencies = document_frequencies or DocumentFrequencies.from_references(references)

    def __call__(self, candidates: Sequence[str]) -> tuple[float, Floats]:
        """Compute CIDEr-D of one candidate a clip: the mean, and (clips,)."""
        return cider_d(candidates, self.references, self.document_frequencies)


def cider_d(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    document_frequencies: DocumentFrequencies | None = None,
) -> tuple[float, Floats]:
    """Compute CIDEr-D: the mean over clips, and (clips,) of each, in 0..10.

    Args:
        candidates: one caption a clip.
        references: of each clip, at least one.
        document_frequencies: of another set of clips (none: of these references).

    Raises:
        ValueError: a clip without references, or not as many candidates as clips.
    """
    clips = cider_d_clips(CaptionSet.from_captions(candidates, references), document_frequencies)
    return float(clips.mean()), clips


def cider_d_clips(captions: CaptionSet, document_frequencies: DocumentFrequencies | None = None) -> Floats:
    """Compute CIDEr-D (clips,) of tokenised captions."""
    similarity = np.zeros(len(captions.clip))
    for order in range(1, MAX_ORDER + 1):
        if document_frequencies is None:
            weights = _own_weights(captions, order)
        else:
            weights = document_frequencies.weights(captions.counted.ngrams(order))
        similarity += _cosine(captions, order, weights)
    lengths = captions.counted.lengths
    similarity *= _length_penalty(lengths[captions.clip], lengths[captions.num_clips :])
    # Mean over a clip's references, then over n, times 10 (eq. 5).
    total = np.bincount(captions.clip, similarity, captions.num_clips)
    return SCALE / MAX_ORDER * total / np.bincount(captions.clip)


def _own_weights(captions: CaptionSet, order: int) -> Floats:
    """Compute log(clips / clips with the n-gram in a reference), (n-grams,)."""
    counts = captions.of_references(order)
    size = len(counts.start)
    # A clip counts once for an n-gram, however many of its references have it.
    pairs = np.unique(pair_keys(captions.clip[counts.sentence], counts.ngram, size))
    frequency = np.bincount(pairs % max(1, size), minlength=size)
    return np.log(captions.num_clips) - np.log(np.maximum(1, frequency))


def _cosine(captions: CaptionSet, order: int, weights: Floats) -> Floats:
    """Compute the clipped cosine of references and their clips' candidates, (references,)."""
    candidate, reference = captions.of_candidates(order), captions.of_references(order)
    size = len(weights)
    candidate_values, reference_values = _values(candidate, weights), _values(reference, weights)
    clip = captions.clip[reference.sentence]
    wanted = pair_keys(clip, reference.ngram, size)
    common = look_up(pair_keys(candidate.sentence, candidate.ngram, size), candidate_values, wanted)
    # Clipping: what a candidate says more often than the reference counts as often as there (the D).
    products = np.minimum(common, reference_values) * reference_values
    num_references = len(captions.clip)
    dot = np.bincount(reference.sentence, products, num_references)
    norms = _norms(candidate, candidate_values, captions.num_clips)[captions.clip]
    return _divide(dot, norms * _norms(reference, reference_values, num_references))


def _values(counts: NgramCounts, weights: Floats) -> Floats:
    return counts.count * weights[counts.ngram]


def _norms(counts: NgramCounts, values: Floats, num_sentences: int) -> Floats:
    return np.sqrt(np.bincount(counts.sentence, values**2, num_sentences))


def _divide(numerator: NDArray, denominator: Floats) -> Floats:
    """Divide; 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator > 0)


def _length_penalty(first: Ints, second: Ints) -> Floats:
    """Compute the Gaussian of the difference in length, in bigrams as coco-caption: 0 words equal 1."""
    difference = np.maximum(0, first - 1) - np.maximum(0, second - 1)
    return np.exp(-(difference**2) / (2 * SIGMA**2))


def pairwise_cider_d(
    sentences: Sequence[str], document_frequencies: DocumentFrequencies | None = None
) -> Floats:
    """Compare all sentences by CIDEr-D, symmetric (n, n), in 0..10; for choosing among candidates.

    CIDEr-D itself is not symmetric (counts are clipped to the reference's), so this is the mean of the two
    directions. Without document frequencies every n-gram weighs the same: those of the sentences themselves
    would give weight 0 to all that the candidates of one clip agree on.

    Args:
        sentences: candidates, of one clip as a rule.
        document_frequencies: of a training set; common words then count for less.
    """
    counted = count_ngrams([tokenize(text) for text in sentences])
    size = len(counted.lengths)
    similarity = np.zeros((size, size))
    for order in range(1, MAX_ORDER + 1):
        vectors = _dense_vectors(counted, order, document_frequencies)
        norms = np.sqrt((vectors**2).sum(axis=1))
        # Row i as the candidate, column j as the reference.
        dot = (np.minimum(vectors[:, None], vectors[None]) * vectors[None]).sum(axis=-1)
        similarity += _divide(dot, np.outer(norms, norms))
    similarity *= _length_penalty(counted.lengths[:, None], counted.lengths[None])
    return SCALE / MAX_ORDER * (similarity + similarity.T) / 2


def _dense_vectors(counted: Counted, order: int, frequencies: DocumentFrequencies | None) -> Floats:
    """Compute tf-idf (sentences, n-grams) of one order."""
    counts = counted.orders[order - 1]
    size = len(counts.start)
    weights = np.ones(size) if frequencies is None else frequencies.weights(counted.ngrams(order))
    vectors = np.zeros((len(counted.lengths), size))
    vectors[counts.sentence, counts.ngram] = _values(counts, weights)
    return vectors
