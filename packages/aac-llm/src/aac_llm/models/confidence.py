"""How likely a caption is right, by the mean log-probability of its tokens.

The sigmoid is fitted at the end of a training (`trainers/confidence.py`) and lies in the model's
`config.json` under `confidence`, with what "right" means and how many clips it was fitted on; captions with
times have one of their own. A model without it gives scores alone, as does another way of generation: a
greedy caption's score is lower, a sampled one's is chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from aac_llm.config.caption import GenerationConfig

CAPTIONS, TIMESTAMPS = "captions", "timestamps"
"""Kinds of captions."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """From the score of a caption to its confidence."""

    slope: float
    """Of the sigmoid, by the mean log-probability."""
    intercept: float
    """Of the sigmoid."""
    criterion: str
    """What a right caption is."""
    num_clips: int
    """Validation clips that it was fitted on."""
    share_right: float
    """Share of them whose caption was right."""

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.slope, self.intercept, self.share_right)):
            raise ValueError(f"confidence must have finite numbers, got {self}")

    def confidence(self, score: float) -> float:
        """Return how likely a caption of this mean log-probability is right, in [0, 1]."""
        value = self.slope * score + self.intercept
        return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def calibrations_from(settings: Any) -> dict[str, Calibration]:
    """Make calibrations by kind of what `dataclasses.asdict` and JSON made of them.

    Raises:
        ValueError: something else.
    """
    if not isinstance(settings, Mapping) or not set(settings) <= {CAPTIONS, TIMESTAMPS}:
        raise ValueError(f"confidence must have {CAPTIONS} and {TIMESTAMPS} alone, got {settings!r}")
    return {kind: _calibration_from(one, f"confidence.{kind}") for kind, one in settings.items()}


def _calibration_from(settings: Any, name: str) -> Calibration:
    kinds = {field.name: str(field.type) for field in fields(Calibration)}
    if not isinstance(settings, Mapping) or set(settings) != set(kinds):
        raise ValueError(f"{name} must have {', '.join(kinds)}, got {settings!r}")
    for key, kind in kinds.items():
        wanted = {"str": str, "int": int}.get(kind, int | float)
        if not isinstance(settings[key], wanted) or isinstance(settings[key], bool):
            raise ValueError(f"{name}.{key} must be {kind}, got {settings[key]!r}")
    return Calibration(**settings)


def choose_calibration(
    calibrations: Mapping[str, Calibration], config: GenerationConfig
) -> Calibration | None:
    """Choose what holds for captions that are generated so; None: nothing does."""
    if config.do_sample or config.num_beams == 1 or config.repetition_penalty != 1.0:
        return None
    return calibrations.get(TIMESTAMPS if config.timestamps else CAPTIONS)
