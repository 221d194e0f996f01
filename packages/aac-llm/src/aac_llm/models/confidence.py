"""How likely a caption is right, by the mean log-probability of its tokens.

The sigmoid is fitted at each validation of a training (`trainers/confidence.py`) and lies in the model's
`config.json` under `confidence`, with what "right" means and how many clips it was fitted on. A model without
it gives scores alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


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


def calibration_from(settings: Any) -> Calibration:
    """Make what `dataclasses.asdict` and JSON made of one.

    Raises:
        ValueError: something else.
    """
    kinds = {field.name: field.type for field in fields(Calibration)}
    if not isinstance(settings, Mapping) or set(settings) != set(kinds):
        raise ValueError(f"confidence must have {', '.join(kinds)}, got {settings!r}")
    for name, kind in kinds.items():
        wanted = {"str": str, "int": int}.get(str(kind), int | float)
        if not isinstance(settings[name], wanted) or isinstance(settings[name], bool):
            raise ValueError(f"confidence.{name} must be {kind}, got {settings[name]!r}")
    return Calibration(**settings)
