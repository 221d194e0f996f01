"""The threshold of a fluency detector, from captions that people wrote, and what it then finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLD = 0.5
"""From which score of `Standard` on a caption is held to be wrong."""
MARGIN = 1e-6  # far above what rounding does to a score, far below any difference that matters


@dataclass(frozen=True, kw_only=True)
class Standard:
    """What is usual in captions of people, for each kind of error, and what is too unusual.

    The kinds are not equally sure: people's captions never look cut off, but now and then a word is missing
    in them. One threshold for all would be that of the least sure kind, so each has its own spread.
    """

    mean: tuple[float, ...]
    """Of each kind's log-odds in captions of people."""
    deviation: tuple[float, ...]
    """Their standard deviation."""
    limit: float
    """So many deviations above its mean, a kind is found."""

    @classmethod
    def fit(cls, logits: ArrayLike, false_alarms: float = 0.01) -> Standard:
        """Make the standard of captions of people that the detector was not trained on.

        Args:
            logits: (captions, kinds) log-odds.
            false_alarms: see `calibrate`.
        """
        values = np.asarray(logits, dtype=np.float64)
        mean, deviation = values.mean(axis=0), values.std(axis=0) + MARGIN
        limit = calibrate(((values - mean) / deviation).max(axis=1), false_alarms) + MARGIN
        return cls(mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()), limit=limit)

    def score(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return how wrong captions are, (captions,) in [0, 1], from `THRESHOLD` on too wrong.

        The kind that is farthest above what is usual decides.

        Args:
            logits: (captions, kinds) log-odds.
        """
        values = np.asarray(logits, dtype=np.float64)
        highest = ((values - self.mean) / self.deviation).max(axis=1)
        # As a logistic function, which `np.tanh` computes without overflow.
        return 0.5 + 0.5 * np.tanh((highest - self.limit) / 2)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What a detector finds at its threshold: counts, so that intervals can be made of them."""

    false_alarms: int
    """Captions of people that are held to be wrong."""
    num_fluent: int
    """Captions of people."""
    found: dict[str, int]
    """Kind of error -> captions with it that are found."""
    made: dict[str, int]
    """Kind of error -> captions with it."""

    @property
    def recall(self) -> dict[str, float]:
        """Kind of error -> share that is found, of the kinds that were made."""
        return {kind: self.found[kind] / count for kind, count in self.made.items() if count}

    def __add__(self, other: Detection) -> Detection:
        """Add the counts of other captions."""
        return Detection(
            false_alarms=self.false_alarms + other.false_alarms,
            num_fluent=self.num_fluent + other.num_fluent,
            found={kind: count + other.found.get(kind, 0) for kind, count in self.found.items()},
            made={kind: count + other.made.get(kind, 0) for kind, count in self.made.items()},
        )


def calibrate(scores: ArrayLike, false_alarms: float = 0.01) -> float:
    """Return the lowest threshold at which a further fluent caption is a false alarm at most so often.

    Of n captions, k = floor(false_alarms * (n + 1)) may score as high as the threshold or higher less one:
    then the probability that another caption of the same source does is at most `false_alarms` (split
    conformal prediction; Vovk et al. 2005, proposition 4.1). Fewer captions than 1 / false_alarms - 1 cannot
    show so little: then the threshold is above all of them.

    >>> calibrate([0.1, 0.2, 0.3, 0.9], 0.25) > 0.9
    True
    >>> round(calibrate([0.1, 0.2, 0.3, 0.9], 0.5), 6)
    0.3

    Args:
        scores: (captions,) of fluent captions that the detector was not trained on, higher is worse.
        false_alarms: share of fluent captions that may be held to be wrong.

    Raises:
        ValueError: no scores, or a share out of range.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    if not len(ordered) or not 0 < false_alarms < 1:
        raise ValueError(f"expected scores and 0 < false_alarms < 1, got {len(ordered)}, {false_alarms}")
    allowed = int(false_alarms * (len(ordered) + 1))
    # Captions at the threshold are flagged, so it is just above the highest that must not be.
    return float(np.nextafter(ordered[max(allowed - 1, 0)], np.inf))


def detect(fluent: ArrayLike, broken: Mapping[str, ArrayLike], threshold: float) -> Detection:
    """Count what scores at a threshold or above.

    Args:
        fluent: (captions,) scores of fluent captions.
        broken: kind of error -> (captions,) scores of captions with it.
        threshold: from which on a caption is held to be wrong.
    """
    scores = {kind: np.asarray(values, dtype=np.float64) for kind, values in broken.items()}
    clean = np.asarray(fluent, dtype=np.float64)
    return Detection(
        false_alarms=int((clean >= threshold).sum()),
        num_fluent=len(clean),
        found={kind: int((values >= threshold).sum()) for kind, values in scores.items()},
        made={kind: len(values) for kind, values in scores.items()},
    )
