"""Choose the best of several captions: the one most like the others.

Under minimum Bayes risk the best caption is the one with the greatest expected similarity to what could have
been said, and the other candidates stand for that. A caption that says what none of the others says, often an
event that is not there, loses. No further model is needed with CIDEr-D as the similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from aac_llm.data.captions import plain_words
from aac_llm.data.predictions import Candidate
from aac_llm.data.timestamps import parse_timed

Similarity = Callable[[Sequence[str]], np.ndarray]
"""From n sentences to (n, n): how like sentence i is to sentence j; the diagonal is not used."""

DIGITS = 9
"""Risks are compared after rounding, so that the order of a sum does not decide between equal ones."""


def consensus(candidates: Sequence[Candidate], similarity: Similarity) -> Candidate:
    """Return the candidate most like the others; among equals the more probable, then the first by alphabet.

    Its choice does not depend on the order of the candidates. Those that differ by case or punctuation alone
    are one caption, of which the most probable spelling is taken; like one that was drawn several times it
    counts so often. Of events with times only the words are compared.

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
    spellings: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda one: (-one.score, one.text)):
        spellings.setdefault(plain_words(_words(candidate)), candidate)
    merged = [spellings[plain_words(_words(candidate))] for candidate in candidates]
    agreement = mean_similarity(similarity([_words(candidate) for candidate in merged])).round(DIGITS)
    ranks = [
        (-value, -candidate.score, candidate.text) for value, candidate in zip(agreement, merged, strict=True)
    ]
    return merged[min(range(len(merged)), key=ranks.__getitem__)]


def _words(candidate: Candidate) -> str:
    return ", ".join(event.text for event in parse_timed(candidate.text)) or candidate.text


def mean_similarity(similarities: np.ndarray) -> np.ndarray:
    """Average the similarity of each sentence to the others: (n, n) to (n,), n at least 2."""
    size = len(similarities)
    if similarities.shape != (size, size) or size < 2 or not np.isfinite(similarities).all():
        raise ValueError(f"expected finite similarities (n, n), n >= 2, got shape {similarities.shape}")
    # A caption's likeness to itself would favour none, but CIDEr-D of short ones is below 10.
    others = ~np.eye(size, dtype=bool)
    return (similarities * others).sum(axis=1) / (size - 1)


def cider_similarity(references: Sequence[Sequence[str]] | None = None) -> Similarity:
    """Compare sentences by CIDEr-D.

    Args:
        references: the captions of each clip of a training set: words that are common there count for less.
            None: every phrase counts the same, so that a choice does not depend on the other sounds.
    """
    from aac_llm.metrics.cider import DocumentFrequencies, pairwise_cider_d

    frequencies = None if references is None else DocumentFrequencies.from_references(references)
    return lambda sentences: pairwise_cider_d(sentences, frequencies)


class TextEncoder(Protocol):
    """Turns texts into vectors of length one, as `metrics.sentence.SentenceEncoder` does."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return vectors (texts, dim) of length one."""
        ...


def sentence_similarity(encoder: TextEncoder) -> Similarity:
    """Compare sentences by the cosine of their embeddings."""

    def similarity(sentences: Sequence[str]) -> np.ndarray:
        vectors = np.asarray(encoder.encode(sentences), dtype=np.float64)
        return vectors @ vectors.T

    return similarity
