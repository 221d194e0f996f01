"""How audio is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SoundConfig:
    """How audio becomes the samples that a model is given: mono, 16 kHz, not too long."""

    max_seconds: float = 30.0
    """Longest audio; Whisper-like encoders hear 30 s and would drop the rest without a word."""
    too_long: Literal["truncate", "center", "skip"] = "truncate"
    """Longer audio: keep its beginning, keep its middle, or skip the question and list it."""
    channels: Literal["mix", "first"] = "mix"
    """`mix` averages the channels; `first` takes the first alone, as the paper's code did."""

    def __post_init__(self) -> None:
        if not self.max_seconds > 0:
            raise ValueError(f"sound.max_seconds must be positive, got {self.max_seconds}")
