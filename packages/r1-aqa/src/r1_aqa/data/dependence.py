"""Decide which questions depend on their audio, of what probes answered that were given none.

A probe is a model that gets no sound: an audio LLM that hears silence, or a language model that reads the
text. It gives each option a log-probability, once for every rotation of the options, so that each option
stands once in each place. A liking for a place adds the same to all options over the rotations and falls out
of their mean (`option_probabilities`): a probe that always takes the first option knows nothing here.

A probe answers a question if the right option is the likeliest of them. It is so by luck in one of
n questions with n options, whatever the probe is; `luck` says how many questions fall to it. A question
depends on its audio if fewer than a share of the probes answer it.

The finding is a column of the question, `audio_dependence`:

    {"is_dependent": true, "answered": 0.5, "probability": 0.31, "probes": {"models/text": 0.2, ...}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import comb
from typing import Any

import numpy as np

from r1_aqa.data.options import take_letters_off
from r1_aqa.data.questions import Question

COLUMN = "audio_dependence"
LEAST = 1e-4
"""By so much the likeliest option must lead: places alone leave the options apart by rounding."""


def why_not_probed(question: Question) -> str | None:
    """Return why nobody can say whether a probe answers a question; None if it can be probed."""
    if question.answer is None:
        return "its answer is not known"
    return None if len(options_of(question)[0]) > 1 else "it has no options"


def options_of(question: Question) -> tuple[tuple[str, ...], int]:
    """Return the options without letters, each once, and which of them is right.

    Letters would move with their options: `(B) Woman, (A) Man` is a puzzle of its own.
    """
    _, texts = take_letters_off(question.choices)
    options = tuple(dict.fromkeys(texts))
    right = question.choices.index(question.answer or "") if question.answer in question.choices else 0
    return options, options.index(texts[right]) if texts else 0


def rotations(options: Sequence[str]) -> list[tuple[str, ...]]:
    """Return as many orders as there are options: each option stands once in each place.

    >>> rotations(["a", "b", "c"])
    [('a', 'b', 'c'), ('b', 'c', 'a'), ('c', 'a', 'b')]
    """
    return [(*options[start:], *options[:start]) for start in range(len(options))]


def option_probabilities(log_probs: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the probability of each option, `(options,)`, from what it has in each order.

    Args:
        log_probs: `(orders, options)`, nats; the columns are options, whatever their place.
    """
    mean = np.asarray(log_probs, dtype=float).mean(0)
    weights = np.exp(mean - mean.max())
    return weights / weights.sum()


def is_answered(probabilities: Sequence[float], right: int) -> bool:
    """Return whether the right option is likelier than every other one, by more than rounding."""
    others = [value for place, value in enumerate(probabilities) if place != right]
    return probabilities[right] > max(others) + LEAST


def luck(num_probes: int, num_options: int, share: float) -> float:
    """Return the probability that a question which no probe knows does not count as dependent.

    As if they guessed on their own; probes that resemble each other guess alike, and more often all at once.

    >>> luck(1, 4, 0.5), luck(2, 4, 0.5)
    (0.25, 0.4375)
    """
    enough = [count for count in range(num_probes + 1) if not is_dependent(count / num_probes, share)]
    p = 1 / num_options
    return sum(comb(num_probes, n) * p**n * (1 - p) ** (num_probes - n) for n in enough)


def is_dependent(answered: float, share: float) -> bool:
    """Return whether fewer than `share` of the probes answer a question, given the share that does."""
    return answered < share - 1e-9  # thirds are no decimals


def with_dependence(question: Question, found: Mapping[str, Sequence[float]], share: float) -> Question:
    """Return a question with its column.

    Args:
        question: that was probed.
        found: probe -> probability of each of `options_of`.
        share: of the probes that must answer it if it is not to depend on its audio.
    """
    _, right = options_of(question)
    answered = sum(is_answered(values, right) for values in found.values()) / len(found)
    own = {probe: round(float(values[right]), 4) for probe, values in found.items()}
    column = {
        "is_dependent": is_dependent(answered, share),
        "answered": round(answered, 4),
        "probability": round(sum(own.values()) / len(own), 4),
        "probes": own,
    }
    return replace(question, extra=question.extra | {COLUMN: column})


def dependence_of(question: Question) -> dict[str, Any] | None:
    """Return the column of a question that was probed, None for one that was not.

    Raises:
        ValueError: it is not what `prepare` writes.
    """
    column = question.extra.get(COLUMN)
    if column is None:
        return None
    known = isinstance(column, dict) and isinstance(column.get("is_dependent"), bool)
    value = column.get("probability") if known else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"question {question.id}: {COLUMN}: expected what prepare --audio_dependence writes, "
            f"got {column!r}"
        )
    return column


def is_marked_dependent(question: Question) -> bool:
    """Return whether a question was probed and depends on its audio; errors as `dependence_of`."""
    column = dependence_of(question)
    return column is not None and column["is_dependent"]


def share_above_chance(silent: Mapping[str, float], chance: float) -> dict[str, float]:
    """Return the share of questions that need their audio, from the accuracy of answers to silence.

    What is right by chance is taken off: of questions that are not known without the sound, `chance` are
    right nevertheless, so that 1 - silent = share * (1 - chance).

    Args:
        silent: the accuracy in silence and its interval: `value`, `low`, `high`, `count`.
        chance: accuracy of options drawn at random.

    Returns:
        `value`, `low`, `high` from 0 to 1, and `count`.
    """
    ends = {"value": "value", "low": "high", "high": "low"}
    found = {name: min(1.0, (1 - silent[end]) / (1 - chance)) for name, end in ends.items()}
    return found | {"count": silent["count"]}
