"""Clips with several classes each (FSD50K): how well the classes are ranked, by mean average precision.

For each class the clips are ranked by cosine; its average precision is the mean, over its clips, of the share
of its clips among those down to that rank. mAP is the mean over the classes that occur. Clips of equal cosine
count as if the wrong ones came first, so that embeddings that tell nothing apart score what chance would.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml_clap.evaluators.results import MultiLabel

if TYPE_CHECKING:
    from ml_clap.data.manifest import Clip

KEY = "labels"
"""Key of a manifest with the list of a clip's classes."""


def labels_of(clip: Clip | Path) -> list[str] | None:
    """Return the classes of a clip that has several, or None.

    Raises:
        ValueError: they are no list of texts.
    """
    if isinstance(clip, Path) or clip.label is not None or KEY not in clip.extra:
        return None
    labels = clip.extra[KEY]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{KEY} of {clip.id} must be a list of texts, got {labels!r}")
    return labels or None


def tag_matrix(clips: Sequence[Clip | Path], labels: Sequence[str]) -> np.ndarray:
    """Return `(clips, labels)` bool: which classes a clip has; all False where it has no list of them.

    Raises:
        ValueError: a class is none of `labels`.
    """
    places = {label: place for place, label in enumerate(labels)}
    tags = np.zeros((len(clips), len(labels)), bool)
    for row, clip in enumerate(clips):
        for label in labels_of(clip) or ():
            if label not in places:
                raise ValueError(f"the clips' label {label!r} is none of the prompts': add its description")
            tags[row, places[label]] = True
    return tags


def average_precision(scores: np.ndarray, is_of_class: np.ndarray) -> float:
    """Return the average precision of one class, 0 to 1.

    Args:
        scores: `(clips,)` cosines.
        is_of_class: `(clips,)` bool, at least one True.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True])).__round__(3)
    0.833
    """
    order = np.lexsort((is_of_class, -scores))  # of equal scores the wrong one first
    found = is_of_class[order]
    return float((np.cumsum(found) / np.arange(1, len(found) + 1))[found].mean())


def measure_ranking(scores: np.ndarray, tags: np.ndarray, labels: Sequence[str]) -> MultiLabel:
    """Return mAP and each class's average precision in percent, and what chance has.

    Args:
        scores: `(clips, labels)` cosines.
        tags: `(clips, labels)` bool.
        labels: names of the classes.
    """
    occurring = np.flatnonzero(tags.any(axis=0)).tolist()
    of_class = {
        labels[place]: 100.0 * average_precision(scores[:, place], tags[:, place]) for place in occurring
    }
    return MultiLabel(
        mean_average_precision=float(np.mean(list(of_class.values()))),
        average_precision=of_class,
        chance=100.0 * float(tags[:, occurring].mean()),
        num_clips=len(tags),
    )
