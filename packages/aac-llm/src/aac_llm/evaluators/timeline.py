"""Events of a clip on a line of time, as the page draws them: the reference's above the prediction's."""

from __future__ import annotations

from dataclasses import dataclass

from aac_llm.data.timeline import Bar, place_events, place_ticks
from aac_llm.evaluators.report import ScoredClip


@dataclass(frozen=True)
class Timeline:
    """All that is drawn for a clip."""

    seconds: float
    """Length of the line."""
    lanes: tuple[tuple[str, tuple[Bar, ...]], ...]
    """Name and events of each."""
    ticks: tuple[tuple[str, float], ...]
    """Text and place in percent of each mark."""


def draw_timeline(clip: ScoredClip) -> Timeline | None:
    """Place the events of a clip; None if there are none on either side."""
    sides = (("reference", clip.reference_timestamps or ()), ("prediction", clip.timestamps or ()))
    ends = [event.offset for _, events in sides for event in events]
    if not ends:
        return None
    seconds = max(ends)
    lanes = tuple((name, place_events(events, seconds)) for name, events in sides)
    return Timeline(seconds, lanes, place_ticks(seconds))
