"""Gates: a score for each caption, higher is worse, and the threshold from which it needs repair.

    >>> sorted(faults("a dog dog barks and"))
    ['dangling end', 'doubled word']
    >>> faults("A dog barks and a man speaks.")
    {}

Most captions of a good model need none (of FENSE's detector, 1 in 1,000 on Clotho), so the gate is what keeps
correction cheap and harmless. Rules need nothing and say what they found; a trained detector (ours, or that
of FENSE) knows other errors, and where one is present either of the two holds a caption back; a language
model's surprise finds wrong grammar in any words, but not repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from aac_llm.config.correct import CorrectionConfig
from aac_llm.metrics.faults import faults, rule_scores
from aac_llm.metrics.fluency_folder import default_detector, is_detector, threshold_of

__all__ = [
    "THRESHOLDS",
    "Gate",
    "Score",
    "both_gate",
    "faults",
    "rule_gate",
    "rule_scores",
    "threshold_used",
    "with_default_detector",
]

THRESHOLDS = {"rules": 0.5, "both": 0.5, "lm": 7.0}
"""Default of each gate; a detector has its own. That of lm, in nats per token, 99 of 100 captions of a
good model stay below by SmolLM2-135M-Instruct, and 14 of 20 broken ones do not; other models differ."""


Score = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Gate:
    """Decides which captions need repair."""

    name: str
    """Name in the settings: rules, fluency, both, lm."""
    threshold: float
    """Captions of this score or above need repair."""
    score: Score
    """From captions to (captions,), higher is worse."""


Settings = TypeVar("Settings", bound=CorrectionConfig)


def with_default_detector(settings: Settings) -> Settings:
    """Name the detector in the default place, if there is one, where none is named and one is wanted.

    Raises:
        ValueError: gate fluency or both, and neither is a detector named nor is one there.
    """
    if settings.gate not in ("auto", "fluency", "both") or settings.fluency_model is not None:
        return settings
    folder = default_detector()
    if is_detector(folder):
        return replace(settings, fluency_model=str(folder))
    if settings.gate in ("fluency", "both"):
        raise ValueError(
            f"gate {settings.gate} needs a detector: there is none in {folder}, where `aac-llm fluency --out "
            f"{folder}` would put one; or name one with fluency_model"
        )
    return settings


def threshold_used(settings: CorrectionConfig) -> float:
    """Return the threshold of the gate that is used: the one that is set, or the gate's own."""
    if settings.threshold is not None:
        return settings.threshold
    if settings.gate_used == "fluency":
        return threshold_of(str(settings.fluency_model))
    return THRESHOLDS[settings.gate_used]


def rule_gate(threshold: float | None = None) -> Gate:
    """Make the gate that needs no model."""
    return Gate("rules", THRESHOLDS["rules"] if threshold is None else threshold, rule_scores)


def both_gate(detector: Score, detector_threshold: float, threshold: float | None = None) -> Gate:
    """Make the gate that holds back what the rules or a detector hold to be wrong.

    Args:
        detector: from captions to (captions,) in [0, 1].
        detector_threshold: from which it holds a caption to be wrong.
        threshold: of the gate.
    """

    def score(captions: Sequence[str]) -> np.ndarray:
        # On one scale: the limit of each is the rules' 0.5.
        scaled = np.interp(
            detector(captions), (0.0, detector_threshold, 1.0), (0.0, THRESHOLDS["rules"], 1.0)
        )
        return np.maximum(scaled, rule_scores(captions))

    return Gate("both", THRESHOLDS["both"] if threshold is None else threshold, score)
