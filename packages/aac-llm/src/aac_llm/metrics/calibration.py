"""From a score to how likely it is right: Platt's sigmoid, and how well such numbers keep their word.

Platt, Probabilistic Outputs for Support Vector Machines (1999), fitted by the Newton method of Lin, Lin and
Weng, A Note on Platt's Probabilistic Outputs (2007).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MIN_CLIPS = 20
"""With fewer scores a slope would be an accident: every score then gets the share that is right."""
NUM_STEPS = 50
"""Newton's method needs about ten."""


def fit_sigmoid(scores: Sequence[float], is_right: Sequence[bool]) -> tuple[float, float]:
    """Return slope and intercept of the probability `sigmoid(slope * score + intercept)` of being right.

    As Platt has it, what is learned is not 0 and 1 but what the rule of succession makes of them, so that a
    few clips that are all right give no certainty. A slope that would be negative is 0: a caption that the
    model finds more probable is never less likely right.

    Args:
        scores: (clips,) finite.
        is_right: (clips,).

    Raises:
        ValueError: no score, one that is not finite, or not as many answers.
    """
    x, right = np.asarray(scores, dtype=np.float64), np.asarray(is_right, dtype=bool)
    if len(x) != len(right) or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"expected as many finite scores as answers, got {len(x)} and {len(right)}")
    count, total = int(right.sum()), len(right)
    targets = np.where(right, (count + 1) / (count + 2), 1 / (total - count + 2))
    if total < MIN_CLIPS or np.ptp(x) == 0:
        return 0.0, _logit(float(targets.mean()))
    slope, intercept = _newton((x - x.mean()) / x.std(), targets)
    if slope <= 0:
        return 0.0, _logit(float(targets.mean()))
    slope /= float(x.std())
    return slope, intercept - slope * float(x.mean())


def calibration_error(confidences: Sequence[float], is_right: Sequence[bool], bins: int = 10) -> float:
    """Return the expected calibration error: how far confidence and share of right ones are apart, in [0, 1].

    Over bins of equal width, weighted by what is in them (Guo et al., On Calibration of Modern Neural
    Networks, 2017, equation 3).
    """
    values, right = np.asarray(confidences, dtype=np.float64), np.asarray(is_right, dtype=np.float64)
    places = np.minimum((values * bins).astype(int), bins - 1)
    gaps = [abs(values[places == n].sum() - right[places == n].sum()) for n in range(bins)]
    return float(sum(gaps) / len(values))


def ranking(confidences: Sequence[float], is_right: Sequence[bool]) -> float:
    """Return how often a right one has more confidence than a wrong one (area under ROC), or NaN."""
    values, right = np.asarray(confidences, dtype=np.float64), np.asarray(is_right, dtype=bool)
    if right.all() or not right.any():
        return math.nan
    differences = values[right][:, None] - values[~right][None]
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def _newton(x: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Minimise the cross-entropy of the targets over slope and intercept; x has mean 0 and deviation 1."""
    weights = np.array([0.0, _logit(float(targets.mean()))])
    features = np.stack([x, np.ones_like(x)], axis=1)  # (clips, 2)
    for _ in range(NUM_STEPS):
        p = 1 / (1 + np.exp(-np.clip(features @ weights, -500, 500)))
        # A little on the diagonal, as Lin et al. have it, for scores that part right from wrong perfectly.
        hessian = features.T @ (features * (p * (1 - p))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, features.T @ (p - targets))
        loss = _cross_entropy(features @ weights, targets)
        scale = 1.0
        while scale > 1e-6 and _cross_entropy(features @ (weights - scale * step), targets) > loss + 1e-12:
            scale /= 2
        weights = weights - scale * step
        if np.abs(scale * step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])


def _cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    return float((np.logaddexp(0.0, logits) - targets * logits).sum())


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
