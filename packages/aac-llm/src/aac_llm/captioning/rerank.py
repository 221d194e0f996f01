"""The best of several captions: the one most like the others.

Under minimum Bayes risk the best caption is the one with the greatest expected similarity to what could have
been said, and the other candidates stand for that. A caption that says what none of the others says, often an
event that is not there, loses. No further model is needed with CIDEr-D as the similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from aac_llm.captioning.predictions import Candidate

Similarity = Callable[[Sequence[str]], np.ndarray]
"""Of n sentences, (n, n): in row i how like sentence i is to each; the diagonal is not used."""

DIGITS = 9
"""Risks are compared after rounding, so that the order of a sum does not decide between equal ones."""


def consensus(candidates: Sequence[Candidate], similarity: Similarity) -> Candidate:
    """The candidate most like the others; among equals the more probable one, then the first by alphabet.

    Its choice does not depend on the order of the candidates. One that was drawn several times counts so
    often.

    Args:
        candidates: of one sound, at least one.
        similarity: of their texts.

    Raises:
        ValueError: no candidate, or a similarity of another shape or not finite.
    """
    if not candidates:
        raise ValueError("expected at least one candidate, got none")
    if len(candidates) == 1:
        return candidates[0]
    agreement = mean_similarity(similarity([each.text for each in candidates])).round(DIGITS)
    ranks = [(-value, -each.score, each.text) for value, each in zip(agreement, candidates, strict=True)]
    return candidates[min(range(len(candidates)), key=ranks.__getitem__)]


def mean_similarity(similarities: np.ndarray) -> np.ndarray:
    """Of each sentence, the mean similarity to the others: (n, n) to (n,), n at least 2."""
    size = len(similarities)
    if similarities.shape != (size, size) or size < 2 or not np.isfinite(similarities).all():
        raise ValueError(f"expected finite similarities (n, n), n >= 2, got shape {similarities.shape}")
    others = ~np.eye(size, dtype=bool)
    return (similarities * others).sum(axis=1) / (size - 1)


def cider_similarity(references: Sequence[Sequence[str]] | None = None) -> Similarity:
    """CIDEr-D of each sentence with each other.

    Args:
        references: the captions of each clip of a training set: words that are common there count for less.
            None: every phrase counts the same, so that a choice does not depend on the other sounds.
    """
    from aac_llm.metrics.cider import DocumentFrequencies, pairwise_cider_d

    frequencies = None if references is None else DocumentFrequencies.from_references(references)
    return lambda sentences: pairwise_cider_d(sentences, frequencies)


class TextEncoder(Protocol):
    """What turns texts into vectors of length one, as `metrics.sentence.SentenceEncoder` does."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, dim), each of length one."""
        ...


def sentence_similarity(encoder: TextEncoder) -> Similarity:
    """Cosine similarity of sentence embeddings."""

    def similarity(sentences: Sequence[str]) -> np.ndarray:
        vectors = np.asarray(encoder.encode(sentences), dtype=np.float64)
        return vectors @ vectors.T

    return similarity
