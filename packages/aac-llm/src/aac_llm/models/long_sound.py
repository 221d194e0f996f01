"""Sound longer than a captioner was trained on: how it is cut, and its captions put together.

A captioner that has learned from 10 s of sound knows nothing of what it says of a minute. Such a sound is
heard in windows of the trained length, each beginning a fifth of it before the last one ends, and the caption
says what was heard in their order: neighbours of the same words once, and silence not at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aac_llm.data.captions import plain_words
from aac_llm.data.predictions import NO_SOUND, CaptionPart
from aac_llm.data.timestamps import TimedEvent

if TYPE_CHECKING:
    from aac_llm.models.windows import Cut

TOLERANCE = 1.05
"""Clips of ten seconds have 10.03 as often: so much more than the trained length is heard in one go."""
OVERLAP = 0.2
"""Share of a window that the next one hears again, so that no event is cut in all of them."""
MIN_WINDOW_SECONDS = 1.0
"""In less than this nothing is recognised; a sound that fits only so is refused."""
TOUCHING_SECONDS = 0.2
"""An event that begins again within so much of its end in the window before went on."""
JOINT = "; "
"""Between the captions of windows; a mark, since captions are of any language."""


@dataclass(frozen=True)
class WindowPlan:
    """Up to which length a sound is heard in one go, and how a longer one is."""

    whole_seconds: float
    """Longest sound that is captioned in one go."""
    window_seconds: float
    """Length of the windows of a longer one; 0: it is not captioned."""

    @property
    def hop_seconds(self) -> float:
        """Seconds from the start of one window to the next."""
        return self.window_seconds * (1 - OVERLAP)

    @property
    def cut(self) -> Cut:
        """What makes the windows of a sound that comes in blocks."""
        from aac_llm.models.windows import SAMPLE_RATE, cut_overlapping

        window, hop = round(self.window_seconds * SAMPLE_RATE), round(self.hop_seconds * SAMPLE_RATE)
        return partial(cut_overlapping, window=window, hop=hop)


def plan_listening(longest: float, wanted: float | None) -> WindowPlan:
    """Choose how sound is heard.

    Args:
        longest: seconds that fit into the decoder's context.
        wanted: seconds of a window, if sound is longer: what the model was trained on; None: not known.

    >>> plan_listening(25.0, 10.0), plan_listening(25.0, None)
    (WindowPlan(whole_seconds=10.5, window_seconds=10.0), WindowPlan(whole_seconds=25.0, window_seconds=25.0))
    """
    window = longest if wanted is None else min(wanted, longest)
    whole = longest if wanted is None else min(wanted * TOLERANCE, longest)
    if math.isinf(window) or window >= MIN_WINDOW_SECONDS:
        return WindowPlan(whole, window)
    return WindowPlan(longest, 0.0)


def join_captions(parts: Sequence[CaptionPart]) -> str:
    """Return the caption of a sound from those of its windows, in order.

    >>> texts = ["rain falls", "no sound", "Rain falls.", "a dog barks"]
    >>> join_captions([CaptionPart(8.0 * n, 8.0 * n + 10, text) for n, text in enumerate(texts)])
    'rain falls; a dog barks'
    """
    said: list[str] = []
    for part in parts:
        if part.text != NO_SOUND and (not said or plain_words(part.text) != plain_words(said[-1])):
            said.append(part.text)
    return JOINT.join(said) if said else NO_SOUND


def merge_events(windows: Sequence[Sequence[TimedEvent]]) -> tuple[TimedEvent, ...]:
    """Join the events of overlapping windows, in order of their onsets.

    What two windows heard of one event (the same words, at the same time or without a pause between) is one
    event. Two of the same words within a window are two: the captioner told them apart.

    Args:
        windows: of each window its events, with times from the sound's beginning.
    """
    merged: list[tuple[TimedEvent, int]] = []  # and the window that it was heard in last
    for number, events in enumerate(windows):
        for event in events:
            place = next(
                (n for n, (one, last) in enumerate(merged) if last < number and _same(one, event)), None
            )
            if place is None:
                merged.append((event, number))
            else:
                one = merged[place][0]
                onset, offset = min(one.onset, event.onset), max(one.offset, event.offset)
                merged[place] = TimedEvent(one.text, onset, offset), number
    return tuple(sorted((one for one, _ in merged), key=lambda one: (one.onset, one.offset)))


def _same(one: TimedEvent, other: TimedEvent) -> bool:
    touch = one.onset <= other.offset + TOUCHING_SECONDS and other.onset <= one.offset + TOUCHING_SECONDS
    return touch and plain_words(one.text) == plain_words(other.text)
