"""How audio is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from audio_common.config import CHANNELS, Channel

TooLong = Literal["truncate", "center", "windows", "skip"]
"""What is done about a sound beyond `max_seconds`."""


@dataclass(frozen=True, kw_only=True)
class SoundConfig:
    """How audio becomes the samples that a model is given: mono, 16 kHz, not too long."""

    max_seconds: float | None = 30.0
    """Longest audio; Whisper-like encoders hear 30 s. Less where the model's encoder takes less; none: as
    long as the model hears."""
    too_long: TooLong = "truncate"
    """Longer audio: keep its beginning or its middle; ask about each of its `windows` and take the answer
    that most give (not in training); or skip the question. What is cut or skipped is counted and said."""
    channel: Channel = "mean"
    """`mean` averages the channels (the louder one where they cancel each other); `first`, as the paper's
    code does; or the `loudest`."""

    def __post_init__(self) -> None:
        # From Python any text may come: an unknown rule would cut without a word.
        for name, known in (("too_long", get_args(TooLong)), ("channel", CHANNELS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"sound.{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.max_seconds is None:
            return
        if not isinstance(self.max_seconds, int | float):
            raise TypeError(f"sound.max_seconds must be a number, got {self.max_seconds!r}")
        if not self.max_seconds > 0:
            raise ValueError(f"sound.max_seconds must be positive, got {self.max_seconds}")

    @property
    def limit(self) -> float:
        """Return the longest audio in seconds, infinite where there is no limit."""
        return float("inf") if self.max_seconds is None else float(self.max_seconds)

    def within(self, seconds: float) -> SoundConfig:
        """Return the same for a model that hears at most `seconds`."""
        limit = min(self.limit, seconds)
        return replace(self, max_seconds=None if limit == float("inf") else limit)
