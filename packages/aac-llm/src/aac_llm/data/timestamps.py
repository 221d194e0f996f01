"""Sound events with their times: what manifests and predictions hold, and the text that a captioner writes.

    >>> events = [TimedEvent("a dog barks", 0.0, 1.5), TimedEvent("rain falls", 1.2, 4.0)]
    >>> write_timed(events)
    '[0.0-1.5] a dog barks, [1.2-4.0] rain falls'
    >>> parse_timed("[0.0-1.5] a dog barks, [1.2-4.0] while rain falls") == events
    True

In files they stand under `timestamps`: `[{"text": "a dog barks", "onset": 0.0, "offset": 1.5}, ...]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from audio_common.strict_json import is_writable_text

DECIMALS = 1
"""Of seconds, in the text; sounds do not begin more sharply for a listener (collars are of 0.2 s)."""

# The brackets are found first and the words are what is between two of them, so that one event that cannot be
# read does not take the next with it.
_MARK = re.compile(r"\[\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*\]")
_JOINT = re.compile(r"^[\s,;.]*(?:(?:and then|and|then|while|as|followed by)\b)?[\s,]*", re.IGNORECASE)


@dataclass(frozen=True)
class TimedEvent:
    """What is heard from when to when."""

    text: str
    """In words: a clause ("a dog barks") or a name ("dog")."""
    onset: float
    """Seconds from the sound's beginning."""
    offset: float
    """Seconds from the sound's beginning, after `onset`."""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("the text of an event must not be empty")
        if not 0 <= self.onset < self.offset:
            raise ValueError(
                f"an event must begin at 0 s or later and end after that, got {self.onset} to {self.offset} s"
            )

    def shifted(self, seconds: float) -> TimedEvent:
        """Return the event as it is in a sound that begins so much earlier."""
        return TimedEvent(self.text, self.onset + seconds, self.offset + seconds)


def write_timed(events: Iterable[TimedEvent]) -> str:
    """Write events as a captioner does, in the order of their onsets.

    An event shorter than the text can say gets the shortest time that it can.
    """
    parts = []
    for event in sorted(events, key=lambda event: (event.onset, event.offset)):
        onset = round(event.onset, DECIMALS)
        offset = max(round(event.offset, DECIMALS), onset + 10**-DECIMALS)
        parts.append(f"[{onset:.{DECIMALS}f}-{offset:.{DECIMALS}f}] {' '.join(event.text.split())}")
    return ", ".join(parts)


def parse_timed(text: str, seconds: float | None = None) -> list[TimedEvent]:
    """Read the events of such a text; without those that make no sense (no words, end before onset).

    Args:
        text: of a captioner.
        seconds: length of the sound, at which events end and after which none begins; None: not known.
    """
    marks = list(_MARK.finditer(text))
    events = []
    for number, mark in enumerate(marks):
        end = marks[number + 1].start() if number + 1 < len(marks) else len(text)
        # Up to a bracket that is no mark: the text was stopped within, or it is nonsense.
        words = _JOINT.sub("", text[mark.end() : end].partition("[")[0]).strip(" ,;.")
        onset, offset = float(mark[1]), float(mark[2])
        offset = offset if seconds is None else min(offset, seconds)
        if words and onset < offset:
            events.append(TimedEvent(words, onset, offset))
    return events


def cut_events(events: Iterable[TimedEvent], start: float, end: float) -> tuple[TimedEvent, ...]:
    """Return the events as they are in the part of a sound from `start` to `end` seconds.

    Of an event that is not wholly in the part its piece there is left; what is too short for the text to say
    is no event of it.
    """
    pieces = [
        (event.text, max(event.onset, start) - start, min(event.offset, end) - start) for event in events
    ]
    least = 0.5 * 10**-DECIMALS
    return tuple(TimedEvent(*piece) for piece in pieces if piece[2] - piece[1] >= least)


def count_marks(text: str) -> int:
    """Count the events that a text sets out to name, those that make no sense included."""
    return text.count("[")


def events_of_row(value: Any) -> tuple[TimedEvent, ...]:
    """Make the events of a row's `timestamps`.

    Raises:
        ValueError: it holds something else; the message says what.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"timestamps must be a list of events, got {value!r}")
    return tuple(map(_event_of_row, value))


def rows_of_events(events: Iterable[TimedEvent]) -> list[dict[str, Any]]:
    """Return what a row holds of events."""
    return [{"text": event.text, "onset": event.onset, "offset": event.offset} for event in events]


def _event_of_row(row: Any) -> TimedEvent:
    expected = 'expected {"text": text, "onset": seconds, "offset": seconds} under timestamps'
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not is_writable_text(row["text"]):
        raise ValueError(f"{expected}, got {row!r}")
    for key in ("onset", "offset"):
        if not isinstance(row.get(key), int | float) or isinstance(row[key], bool):
            raise ValueError(f"{expected}, got {row!r}")
    try:
        return TimedEvent(row["text"], float(row["onset"]), float(row["offset"]))
    except (ValueError, OverflowError) as e:
        raise ValueError(f"timestamps: {e}") from e
