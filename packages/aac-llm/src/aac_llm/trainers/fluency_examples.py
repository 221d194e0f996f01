"""What a fluency detector learns from and is measured on: captions as they are, and with errors.

Everything depends on seeds alone, so that a resumed training sees what an undisturbed one would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from aac_llm.metrics.fluency_errors import KINDS, make_error, strip_punctuation

SHARES = {
    "incomplete_tail": 0.07,
    "repeated_event": 0.12,
    "repeated_adverb": 0.08,
    "missing_conjunction": 0.3,
    "missing_verb": 0.25,
    "wrong_order": 0.18,
}
"""Of the kinds among the errors: what is hard to see comes more often."""
TWO_ERRORS = 0.2
"""Share of the broken texts that have a second error."""
TRIES = 50
"""Captions that are tried for an error that not every caption can have."""


@dataclass(frozen=True)
class Example:
    """A text and what is wrong with it."""

    text: str
    kinds: frozenset[str] = frozenset()
    """Kinds of error; none: as people wrote it."""
    opinion: float | None = None
    """Instead of kinds: the probability of an error that another detector gave."""


@dataclass(frozen=True)
class Parts:
    """Captions by what they are for; those of a clip are all in one part."""

    train: list[str]
    held_out: list[list[str]]
    """Two halves: the threshold of each is tried on the other."""
    num_shared: int
    """Captions of the clips kept aside that stand in training, too; left out."""


def split_clips(clips: Sequence[Sequence[str]], held_out: float, seed: int) -> Parts:
    """Keep a share of the clips aside, in two halves.

    Raises:
        ValueError: too few clips for three parts.
    """
    order = Random(f"clips {seed}").sample(range(len(clips)), len(clips))
    count = max(2, round(held_out * len(clips)))
    if len(clips) < count + 1:
        raise ValueError(f"expected captions of at least {count + 1} clips, got {len(clips)}")
    aside, rest = sorted(order[:count]), sorted(order[count:])
    train = [text for place in rest for text in clips[place]]
    known = {strip_punctuation(text) for text in train}
    halves = [
        [text for place in aside[first::2] for text in clips[place] if strip_punctuation(text) not in known]
        for first in (0, 1)
    ]
    total = sum(len(clips[place]) for place in aside)
    if not all(halves):
        raise ValueError(
            f"no captions are left to judge by: the {total} of the {count} clips kept aside are in training, "
            "too; give captions that differ more, or raise held_out"
        )
    return Parts(train, halves, total - sum(map(len, halves)))


def draw_examples(captions: Sequence[str], step: int, batch_size: int, seed: int) -> list[Example]:
    """Return the texts of an update: captions as they are, and as many with errors."""
    half, rng = batch_size // 2, Random(f"errors {seed} {step}")
    drawn = [_at(tuple(captions), step * half + number, seed) for number in range(half)]
    return [Example(strip_punctuation(text)) for text in drawn] + [
        broken(text, captions, rng) for text in drawn
    ]


def draw_scored(scored: Sequence[tuple[str, float]], step: int, count: int, seed: int) -> list[Example]:
    """Return captions of an update with another detector's opinion."""
    rng = Random(f"scored {seed} {step}")
    return [Example(strip_punctuation(text), opinion=value) for text, value in rng.choices(scored, k=count)]


def broken(caption: str, captions: Sequence[str], rng: Random) -> Example:
    """Break a caption, or another one where the kind of error that is drawn cannot be made in it."""
    (kind,) = rng.choices(KINDS, [SHARES[kind] for kind in KINDS])
    for text in (caption, *rng.choices(captions, k=TRIES)):
        if (found := make_error(text, kind, rng)) is not None:
            break
    else:
        kind, found = "incomplete_tail", f"{strip_punctuation(caption)} and a"
    kinds = {kind}
    if rng.random() < TWO_ERRORS:
        second = rng.choice(KINDS)
        if (twice := make_error(found, second, rng)) is not None:
            found = twice
            kinds.add(second)
    return Example(found, frozenset(kinds))


def broken_captions(captions: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Return, for each kind, every caption in which that error can be made, with it."""
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        rng = Random(f"measure {seed} {kind}")
        made = [make_error(text, kind, rng) for text in captions]
        found[kind] = [text for text in made if text is not None]
    return found


def _at(captions: tuple[str, ...], place: int, seed: int) -> str:
    """Return the caption at a place of an endless row of passes, each in an order of its own."""
    number, within = divmod(place, len(captions))
    return captions[_order(len(captions), number, seed)[within]]


@lru_cache(maxsize=2)
def _order(count: int, number: int, seed: int) -> tuple[int, ...]:
    return tuple(Random(f"order {seed} {number}").sample(range(count), count))
