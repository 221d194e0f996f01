"""Similarities of any sentence encoder on the scale of the published one.

Encoders differ in how like each other they find captions that have nothing in common: for one a cosine of 0.2
means that, for multilingual-e5 one of 0.8. Each is therefore measured on captions of our own that are all of
different sounds (`UNRELATED`), and its cosines are mapped linearly, so that unrelated captions have the
similarity `UNRELATED_SIMILARITY` and equal ones 1:

    1 - (1 - UNRELATED_SIMILARITY) * (1 - cosine) / (1 - baseline)

as BERTScore's rescaling (Zhang et al. 2020) does with a baseline of random sentences. The map depends on the
encoder alone, not on the captions that are scored, and does not change what is better than what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from aac_llm.metrics.sentence import SentenceEncoder

UNRELATED_SIMILARITY = 0.216
"""What the published encoder gives captions of different sounds, as far as the golden rows tell: fitted on
half of them, so that their mean is the published one (docs/metrics.md)."""
UNRELATED = (
    "a dog barks twice and then whimpers",
    "heavy rain falls on a metal roof",
    "a man gives a speech to a large crowd",
    "an old engine starts and idles roughly",
    "church bells ring in the distance",
    "someone types quickly on a keyboard",
    "waves break on a stony beach",
    "a baby cries and then laughs",
    "a train passes by with its horn blowing",
    "glass breaks on a hard floor",
    "several birds sing in a forest in the morning",
    "a helicopter flies overhead",
    "food sizzles in a hot pan",
    "a door creaks open and slams shut",
    "an acoustic guitar is played slowly",
    "a clock ticks in a quiet room",
    "someone walks on crunching gravel",
    "a vacuum cleaner is switched on and off",
    "a cat meows loudly again and again",
    "thunder rolls and rumbles far away",
    "paper is crumpled and torn apart",
    "a crowd cheers and applauds in a stadium",
    "water drips slowly into a bucket",
    "a telephone rings and nobody answers",
    "wood is sawn by hand in a workshop",
    "a horse gallops along a dirt road",
    "a siren wails as an ambulance speeds past",
    "frogs croak beside a pond at night",
    "coins are poured onto a wooden table",
    "a sewing machine runs at a steady pace",
    "someone coughs and clears the throat",
    "fireworks explode above a city",
    "a woman whispers something close by",
    "a tennis ball is hit back and forth",
    "wind howls through bare trees",
    "a cash register opens with a ring",
    "bees buzz around a hive",
    "a camera shutter clicks several times",
    "a toilet is flushed and fills again",
    "steam escapes from a valve with a hiss",
)
"""Captions of forty different sounds, written for this file."""


def baseline(encoder: SentenceEncoder) -> float:
    """Return the mean cosine of an encoder between captions of different sounds."""
    vectors = encoder.encode(UNRELATED).astype(np.float64)
    cosines = vectors @ vectors.T
    return float(cosines[np.triu_indices(len(cosines), k=1)].mean())


def rescale(cosines: ArrayLike, baseline: float) -> NDArray[np.float64]:
    """Map cosines of an encoder with this baseline, of any shape, to the published encoder's scale.

    Raises:
        ValueError: the encoder finds all captions equal.

    >>> rescale([0.8, 0.9, 1.0], baseline=0.8).round(3).tolist()
    [0.216, 0.608, 1.0]
    """
    if not baseline < 1:
        raise ValueError(f"expected an encoder that tells captions apart, got a mean cosine of {baseline:g}")
    distances = (1 - np.asarray(cosines, dtype=np.float64)) / (1 - baseline)
    return 1 - (1 - UNRELATED_SIMILARITY) * distances
