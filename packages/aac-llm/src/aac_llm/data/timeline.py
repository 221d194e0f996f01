"""Events on a line of time: where each is drawn, in percent, and the marks below the line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aac_llm.data.timestamps import TimedEvent

NUM_TICKS = 6
"""Most marks below a line of time: more would run into each other on a phone."""
ROOM = 60
"""Percent of the line in which the words of most events have room, also on a phone."""
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds from one mark to the next."""


@dataclass(frozen=True)
class Bar:
    """An event's place in percent of the line."""

    text: str
    onset: float
    """Seconds."""
    offset: float
    """Seconds."""
    left: float
    """Percent from the line's beginning."""
    width: float
    """Percent."""

    @property
    def is_late(self) -> bool:
        """Whether its words end where it ends: they begin with it while there is room for them."""
        return self.left > 100 - ROOM and self.left + self.width > 100 - self.left

    @property
    def times(self) -> str:
        """Onset and offset in print."""
        return f"{self.onset:.1f} to {self.offset:.1f} s"


def place_events(events: Sequence[TimedEvent], seconds: float) -> tuple[Bar, ...]:
    """Return the bars of events on a line of so many seconds, in order of their onsets."""
    ordered = sorted(events, key=lambda event: (event.onset, event.offset))
    return tuple(
        Bar(
            event.text,
            event.onset,
            event.offset,
            round(100 * event.onset / seconds, 3),
            round(100 * (event.offset - event.onset) / seconds, 3),
        )
        for event in ordered
    )


def place_ticks(seconds: float) -> tuple[tuple[str, float], ...]:
    """Return text and place in percent of each mark below a line of so many seconds."""
    step = next((step for step in STEPS if seconds / step < NUM_TICKS), seconds)
    marks = [number * step for number in range(math.floor(seconds / step + 1e-9) + 1)]
    return tuple((f"{mark:g}", round(100 * mark / seconds, 3)) for mark in marks)
