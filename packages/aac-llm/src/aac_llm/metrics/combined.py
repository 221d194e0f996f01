"""Metrics made of others: SPIDEr (Liu et al. 2017), FER, SPIDEr-FL (DCASE 2023) and FENSE (Zhou et al. 2022).

All are computed for each clip and then averaged. A caption whose error probability is above 0.9 loses nine
tenths of its score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ERROR_THRESHOLD = 0.9
"""A caption is not fluent above this probability of an error."""
PENALTY = 0.9
"""Share of its score that a caption loses when it is not fluent."""


def spider(cider_d: ArrayLike, spice: ArrayLike) -> NDArray[np.float64]:
    """Average CIDEr-D and SPICE of each clip.

    >>> spider([1.0, 0.5], [0.2, 0.1]).tolist()
    [0.6, 0.3]
    """
    return (np.asarray(cider_d, dtype=np.float64) + np.asarray(spice, dtype=np.float64)) / 2


def fluency_errors(
    error_probability: ArrayLike, *, threshold: float = ERROR_THRESHOLD
) -> NDArray[np.float64]:
    """Return 1 for captions with an error, 0 for fluent ones; the mean is the fluency error rate (FER).

    >>> fluency_errors([0.9, 0.91, 0.1]).tolist()
    [0.0, 1.0, 0.0]
    """
    return (np.asarray(error_probability, dtype=np.float64) > threshold).astype(np.float64)


def spider_fl(
    cider_d: ArrayLike,
    spice: ArrayLike,
    error_probability: ArrayLike,
    *,
    penalty: float = PENALTY,
    threshold: float = ERROR_THRESHOLD,
) -> NDArray[np.float64]:
    """Compute SPIDEr of each clip, less the penalty where the caption is not fluent."""
    errors = fluency_errors(error_probability, threshold=threshold)
    return spider(cider_d, spice) * (1 - penalty * errors)


def fense(
    similarity: ArrayLike,
    error_probability: ArrayLike,
    *,
    penalty: float = PENALTY,
    threshold: float = ERROR_THRESHOLD,
) -> NDArray[np.float64]:
    """Return the sentence similarity of each clip, less the penalty where the caption is not fluent."""
    errors = fluency_errors(error_probability, threshold=threshold)
    return np.asarray(similarity, dtype=np.float64) * (1 - penalty * errors)
