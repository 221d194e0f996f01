"""How well events are found in time: event-based and segment-based F1, and events that are not there at all.

By sed_eval's definitions (https://doi.org/10.3390/app6060162; tested against its numbers): an event is found
when one of the same label begins within `COLLAR` of it and ends within the collar or `LENGTH_SHARE` of its
length, whichever is more; no event is found twice, and of all pairings the largest counts. In a segment of
`SEGMENT_SECONDS` a label is there or not. F1 is of the counts of all clips together (micro).

Labels are the sound events that a text names (`events.py`): "a hound woofs" finds "a dog barks". A text that
names two is two events of the same times; one that names none has its own words for a label. English only.

    >>> from aac_llm.data.timestamps import parse_timed
    >>> said, wanted = parse_timed("[0.1-1.5] a hound woofs"), parse_timed("[0.0-1.6] a dog barks")
    >>> timestamp_scores([said], [wanted]).event_f1
    1.0
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aac_llm.metrics.events import sound_events

COLLAR = 0.2
"""Seconds."""
LENGTH_SHARE = 0.2
"""Of the reference event's length; the tolerance of its end where that is more than the collar."""
SEGMENT_SECONDS = 1.0
_ROUNDING = 1e-9  # seconds: 1.2 - 1.0 is above 0.2 in binary

Floats = NDArray[np.float64]


class Timed(Protocol):
    """What is heard from when to when: `aac_llm.data.timestamps.TimedEvent`."""

    @property
    def text(self) -> str:
        """In words."""

    @property
    def onset(self) -> float:
        """Seconds."""

    @property
    def offset(self) -> float:
        """Seconds."""


class Labelled(NamedTuple):
    """An event by its label."""

    label: str
    onset: float
    """Seconds."""
    offset: float
    """Seconds."""


@dataclass(frozen=True, kw_only=True)
class TimestampScores:
    """Scores of events with their times over all clips, in [0, 1], and the counts that they are made of."""

    num_clips: int
    event_f1: float
    """Micro F1 of events found with onset and offset."""
    event_precision: float
    event_recall: float
    event_macro_f1: float
    """Mean over the references' labels of each label's F1."""
    onset_f1: float
    """As event_f1, whenever the events end."""
    segment_f1: float
    """Micro F1 of the labels in each segment."""
    hallucination: float
    """Share of the events written whose label the clip does not have at any time."""
    empty_hallucination: float | None
    """Share of the clips without events of which events are written; None: all clips have events."""
    tables: dict[str, Floats]
    """`event`, `onset`, `segment`: (clips, 3) counts found, written, in the references; `hallucination`:
    (clips, 2) counts of written events, not there and all."""


def timestamp_scores(
    written: Sequence[Sequence[Timed]], references: Sequence[Sequence[Timed]]
) -> TimestampScores:
    """Score the events that were written of each clip against those that it has, none included.

    Raises:
        ValueError: no clip, or not as many of one as of the other.
    """
    if len(written) != len(references):
        raise ValueError(f"{len(written)} clips with written events, but references of {len(references)}")
    if not written:
        raise ValueError("timestamp_scores needs at least one clip")
    said, wanted = [label_events(one) for one in written], [label_events(one) for one in references]
    pairs = list(zip(said, wanted, strict=True))
    by_label = [count_events(*pair) for pair in pairs]
    tables = {
        "event": _table(by_label),
        "onset": _table(count_events(*pair, with_offset=False) for pair in pairs),
        "segment": _table(count_segments(*pair) for pair in pairs),
        "hallucination": np.array([_count_inventions(*pair) for pair in pairs], dtype=np.float64),
    }
    sums = {name: table.sum(axis=0) for name, table in tables.items()}
    empty = [bool(events) for events, there in pairs if not there]
    found, all_written, there = sums["event"]
    return TimestampScores(
        num_clips=len(pairs),
        event_f1=float(f1_of_counts(sums["event"])),
        event_precision=float(found / all_written) if all_written else 0.0,
        event_recall=float(found / there) if there else 0.0,
        event_macro_f1=_macro_f1(by_label),
        onset_f1=float(f1_of_counts(sums["onset"])),
        segment_f1=float(f1_of_counts(sums["segment"])),
        hallucination=float(share_of_counts(sums["hallucination"])),
        empty_hallucination=float(np.mean(empty)) if empty else None,
        tables=tables,
    )


def label_events(events: Iterable[Timed]) -> list[Labelled]:
    """Return events by the labels that their texts name."""
    return [
        Labelled(label, event.onset, event.offset)
        for event in events
        for label in sorted(sound_events(event.text)) or [" ".join(event.text.lower().split())]
    ]


def count_events(
    written: Sequence[Labelled], references: Sequence[Labelled], *, with_offset: bool = True
) -> dict[str, tuple[int, int, int]]:
    """Count events by label: found, written, in the references."""
    counts = {}
    for label in {event.label for event in (*written, *references)}:
        said = [event for event in written if event.label == label]
        wanted = [event for event in references if event.label == label]
        fits = [[_fits(event, other, with_offset) for other in said] for event in wanted]
        counts[label] = (largest_matching(fits), len(said), len(wanted))
    return counts


def count_segments(
    written: Sequence[Labelled], references: Sequence[Labelled]
) -> dict[str, tuple[int, int, int]]:
    """Count segments by label: where it is in both, written, in the references."""
    counts = {}
    for label in {event.label for event in (*written, *references)}:
        said, wanted = (
            {place for event in events if event.label == label for place in _segments(event)}
            for events in (written, references)
        )
        counts[label] = (len(said & wanted), len(said), len(wanted))
    return counts


def largest_matching(fits: Sequence[Sequence[bool]]) -> int:
    """Return how many rows can be paired with columns that fit, no column twice (Kuhn's algorithm).

    >>> largest_matching([[True, True], [True, False]])
    2
    """
    row_of_column: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if not fit or column in tried:
                continue
            tried.add(column)
            # A row that has the column may have another one, too.
            if column not in row_of_column or place(row_of_column[column], tried):
                row_of_column[column] = row
                return True
        return False

    return sum(place(row, set()) for row in range(len(fits)))


def f1_of_counts(counts: Floats) -> Floats:
    """Return F1 (...) of counts (..., 3) found, written, in the references; 1 where there is nothing."""
    found, total = counts[..., 0], counts[..., 1] + counts[..., 2]
    return np.where(total > 0, 2 * found / np.maximum(total, 1), 1.0)


def share_of_counts(counts: Floats) -> Floats:
    """Return the share (...) of counts (..., 2) of a part and of all; 0 where there is nothing."""
    return counts[..., 0] / np.maximum(counts[..., 1], 1)


def _fits(event: Labelled, other: Labelled, with_offset: bool) -> bool:
    if abs(event.onset - other.onset) > COLLAR + _ROUNDING:
        return False
    tolerance = max(COLLAR, LENGTH_SHARE * (event.offset - event.onset))
    return not with_offset or abs(event.offset - other.offset) <= tolerance + _ROUNDING


def _segments(event: Labelled) -> range:
    # The parts of a segment at an event's ends count as whole ones.
    first = math.floor(event.onset / SEGMENT_SECONDS + _ROUNDING)
    return range(first, max(first + 1, math.ceil(event.offset / SEGMENT_SECONDS - _ROUNDING)))


def _count_inventions(written: Sequence[Labelled], references: Sequence[Labelled]) -> tuple[int, int]:
    there = {event.label for event in references}
    return sum(event.label not in there for event in written), len(written)


def _table(clips: Iterable[dict[str, tuple[int, int, int]]]) -> Floats:
    rows = [np.sum([[0, 0, 0], *counts.values()], axis=0) for counts in clips]
    return np.array(rows, dtype=np.float64)


def _macro_f1(clips: Sequence[dict[str, tuple[int, int, int]]]) -> float:
    sums: tuple[Counter[str], ...] = (Counter(), Counter(), Counter())
    for counts in clips:
        for label, numbers in counts.items():
            for total, number in zip(sums, numbers, strict=True):
                total[label] += number
    labels = [label for label, number in sums[2].items() if number]
    rows = np.array([[total[label] for total in sums] for label in labels], dtype=np.float64)
    return float(f1_of_counts(rows).mean()) if labels else 1.0
