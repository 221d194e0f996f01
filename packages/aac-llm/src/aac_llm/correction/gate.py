"""Gates: a score for each caption, higher is worse, and the threshold from which it needs repair.

    >>> sorted(faults("a dog dog barks and"))
    ['dangling end', 'doubled word']
    >>> faults("A dog barks and a man speaks.")
    {}

Most captions of a good model need none (of FENSE's detector, 1 in 1,000 on Clotho), so the gate is what keeps
correction cheap and harmless. Rules need nothing and say what they found; the detector of FENSE knows more
kinds of errors; a language model's surprise finds wrong grammar in any words, but not repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aac_llm.metrics.faults import faults, rule_scores

__all__ = ["THRESHOLDS", "Gate", "Score", "faults", "rule_gate", "rule_scores"]

THRESHOLDS = {"rules": 0.5, "fluency": 0.9, "lm": 7.0}
"""Default of each gate. That of fluency is FENSE's. That of lm, in nats per token, 99 of 100 captions of a
good model stay below by SmolLM2-135M-Instruct, and 14 of 20 broken ones do not; other models differ."""


Score = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Gate:
    """Decides which captions need repair."""

    name: str
    """Name in the settings: rules, fluency, lm."""
    threshold: float
    """Captions of this score or above need repair."""
    score: Score
    """From captions to (captions,), higher is worse."""


def rule_gate(threshold: float | None = None) -> Gate:
    """Make the gate that needs no model."""
    return Gate("rules", THRESHOLDS["rules"] if threshold is None else threshold, rule_scores)
