"""The words and n-grams of a set of captions, counted once for all the metrics that need them.

n-grams are numbered and counted with sorts of whole integer arrays: a thousand clips of five references take
some hundredths of a second, where a dictionary for every sentence takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aac_llm.metrics.tokenizer import tokenize

Tokens = Sequence[str]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MAX_ORDER = 4
"""BLEU and CIDEr-D both go up to four words."""


@dataclass(frozen=True, kw_only=True)
class NgramCounts:
    """How often each n-gram of one order occurs in each sentence: a sparse matrix (sentences, n-grams).

    Entries are in the order of their sentence, then n-gram.
    """

    sentence: Ints
    """(entries,) index of the sentence."""
    ngram: Ints
    """(entries,) number of the n-gram, from 0."""
    count: Ints
    """(entries,) occurrences, at least 1."""
    start: Ints
    """(n-grams,) a place in the joined sentences where the n-gram stands."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Sentences as words and as counts of their n-grams."""

    words: list[str]
    """All words of all sentences, one sentence after the other."""
    lengths: Ints
    """(sentences,) number of words."""
    orders: tuple[NgramCounts, ...]
    """Counts for n = 1, 2, 3, 4."""

    def ngrams(self, order: int) -> list[tuple[str, ...]]:
        """Return the n-grams of this order by their numbers."""
        return [tuple(self.words[at : at + order]) for at in self.orders[order - 1].start.tolist()]


def count_ngrams(sentences: Sequence[Tokens], max_order: int = MAX_ORDER) -> Counted:
    """Count the n-grams of sentences, for n up to `max_order`."""
    words = [word for sentence in sentences for word in sentence]
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    # Integers instead of tuples of words: numpy then does the counting, many times faster.
    numbers: dict[str, int] = {}
    word_ids = np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), np.int64, len(words))
    sentence = np.repeat(np.arange(len(sentences)), lengths)
    rest = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # words from here to the end
    orders, ids = [], np.zeros(len(words), np.int64)
    for order in range(1, max_order + 1):
        starts = np.flatnonzero(rest >= order)
        # An n-gram is its first n-1 words, numbered in the round before, and its last word.
        keys = ids[starts] * max(1, len(numbers)) + word_ids[starts + order - 1]
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        ids[starts] = inverse
        orders.append(_counts(sentence[starts], inverse, starts[first]))
    return Counted(words=words, lengths=lengths, orders=tuple(orders))


def _counts(sentence: Ints, ngram: Ints, start: Ints) -> NgramCounts:
    keys, count = np.unique(pair_keys(sentence, ngram, len(start)), return_counts=True)
    size = max(1, len(start))
    return NgramCounts(sentence=keys // size, ngram=keys % size, count=count, start=start)


def pair_keys(row: Ints, column: Ints, num_columns: int) -> Ints:
    """One integer for each (row, column)."""
    return row * max(1, num_columns) + column


def look_up(keys: Ints, values: NDArray, wanted: Ints) -> NDArray:
    """Return the values of the wanted keys, sorted as `keys` are; 0 for those that are not there."""
    if not len(keys):
        return np.zeros(len(wanted), values.dtype)
    # Where it would stand; past the end means that it is not there.
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


@dataclass(frozen=True, kw_only=True)
class CaptionSet:
    """Tokenised candidates, one a clip, and the references of each clip."""

    candidates: list[list[str]]
    """(clips,) words of the candidate, perhaps none."""
    references: list[list[str]]
    """The references of all clips, one clip after the other."""
    clip: Ints
    """(references,) the clip each belongs to, ascending."""
    counted: Counted
    """n-grams of the candidates, then the references."""

    @property
    def num_clips(self) -> int:
        """Number of clips."""
        return len(self.candidates)

    def of_candidates(self, order: int) -> NgramCounts:
        """Counts in the candidates; sentence = clip."""
        return _slice(self.counted.orders[order - 1], 0, self.num_clips)

    def of_references(self, order: int) -> NgramCounts:
        """Counts in the references; sentence = index of the reference."""
        return _slice(self.counted.orders[order - 1], self.num_clips, len(self.counted.lengths))

    @classmethod
    def from_captions(
        cls, candidates: Sequence[str], references: Sequence[Sequence[str]], *, tokenised: bool = False
    ) -> CaptionSet:
        """Tokenise, or split at spaces what is `tokenised` already, and count.

        Raises:
            ValueError: no clip, another number of candidates than of clips, a clip without references.
            TypeError: a caption that is not a text, or one text where a list of references belongs.
        """
        check_captions(candidates, references)
        split: Callable[[str], list[str]] = str.split if tokenised else tokenize
        tokens = [split(text) for text in candidates]
        flat = [split(text) for texts in references for text in texts]
        clip = np.repeat(np.arange(len(tokens)), [len(texts) for texts in references])
        return cls(candidates=tokens, references=flat, clip=clip, counted=count_ngrams([*tokens, *flat]))


def _slice(counts: NgramCounts, first: int, end: int) -> NgramCounts:
    # Counts are sorted by sentence, so a range of sentences is a slice.
    low, high = np.searchsorted(counts.sentence, (first, end))
    part = slice(low, high)
    return NgramCounts(
        sentence=counts.sentence[part] - first,
        ngram=counts.ngram[part],
        count=counts.count[part],
        start=counts.start,
    )


def check_captions(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse what cannot be scored, see `CaptionSet.from_captions`."""
    # A text is a sequence of texts, and would be scored letter by letter.
    if isinstance(candidates, str):
        raise TypeError("expected a list of candidates, one a clip, got one text")
    if not len(candidates) or len(candidates) != len(references):
        raise ValueError(
            f"expected as many candidates as clips with references, at least one, got {len(candidates)} "
            f"candidates and {len(references)} clips"
        )
    for clip, text in enumerate(candidates):
        if not isinstance(text, str):
            raise TypeError(f"clip {clip}: expected a candidate that is a text, got {text!r}")
    check_references(references)


def check_references(references: Sequence[Sequence[str]]) -> None:
    """Refuse references that are not a list of texts, at least one, for every clip."""
    for clip, texts in enumerate(references):
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"clip {clip}: expected a list of references that are texts, got {texts!r}")
        if not len(texts):
            raise ValueError(f"clip {clip}: expected at least one reference, got none; leave the clip out")
