"""What can be answered without hearing: a reader who learned from other questions which options are right.

It counts, for every option that it was shown, how often that one was right: altogether, with this question,
beside each other option, at this place, and by the words in it. On questions whose text tells nothing it is
right as often as a guess. A language model may know more of the world, and learns less of these questions.

    >>> from collections import namedtuple
    >>> Asked = namedtuple("Asked", "question choices answer")
    >>> asked = [Asked("What?", ("a dog", "rain"), "a dog"), Asked("What?", ("rain", "a dog"), "a dog")]
    >>> text_only_accuracy(asked, asked)
    1.0
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

PRIOR = 5.0
"""Showings of every feature that are presumed, at which options were right as often as a guess is."""


class Asked(Protocol):
    """A question with options; its answer is one of them."""

    @property
    def question(self) -> str: ...  # noqa: D102
    @property
    def choices(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def answer(self) -> str | None: ...  # noqa: D102


def text_only_accuracy(known: Sequence[Asked], asked: Sequence[Asked]) -> float:
    """Return the accuracy on questions of a reader who knows the answers of others.

    Args:
        known: it learns from these.
        asked: it answers these, at least one.
    """
    shown, right = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for question in known:
        for choice in question.choices:
            features = list(_features(question, choice))
            shown.update(features)
            if choice == question.answer:
                right.update(features)

    def score(question: Asked, choice: str) -> float:
        chance = 1 / len(question.choices)
        return sum(
            math.log((right[feature] + chance * PRIOR) / (shown[feature] + PRIOR))
            for feature in _features(question, choice)
        )

    hits = 0
    for question in asked:
        scores = [score(question, choice) for choice in question.choices]
        hits += question.choices[scores.index(max(scores))] == question.answer
    return hits / len(asked)


def _features(question: Asked, choice: str) -> Iterator[tuple[str, ...]]:
    yield "option", choice
    yield "asked", question.question, choice
    yield "place", str(question.choices.index(choice))
    for word in choice.split():
        yield "word", word.casefold()
    for other in question.choices:
        if other != choice:
            yield "beside", choice, other
