"""Parts put into an index: what `index_block` encoded becomes the entries, windows and vectors of this one.

The parts are read twice: for what they say of their clips, which the index then lists in its own order, and
for their vectors, one part at a time. So memory is bounded by the clips' records and one part. What the index
has already is not written again: a run that was killed here goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml_clap.bulk.places import written
from ml_clap.models.embedding_parts import read_rows, read_vectors
from ml_clap.search.filling import Problem
from ml_clap.search.scan import Found
from ml_clap.search.store import Entry, IndexWriter

Row = dict[str, Any]
Key = tuple[str, int, int]
"""A clip's id, and the size and time of change of its file."""
ABOUT = (
    "id",
    "name",
    "size",
    "mtime_ns",
    "sha256",
    "duration",
    "entry_problem",
    "problem",
    "partly",
    "complaints",
)
"""Columns that are read first."""
WINDOWS = ("id", "starts", "ends", "silent_starts", "silent_ends")


@dataclass
class Merged:
    """What was put into an index."""

    num_windows: int = 0
    audio_seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)
    complaints: list[tuple[str, str]] = field(default_factory=list)
    """A sound's name, and what is odd about it."""


def key_of(clip: Found | Row) -> Key:
    """Return what tells a clip in parts: it is encoded again when its file has changed."""
    if isinstance(clip, Found):
        return clip.id, clip.size, clip.mtime_ns
    return clip["id"], clip["size"], clip["mtime_ns"]


def choose_rows(parts: Sequence[str], clips: Iterable[Found]) -> dict[Key, tuple[str, Row]]:
    """Return for each clip the part that has it, and what the part says of it.

    A clip may be in several parts, of runs that were stopped; one that could be read goes before.
    """
    wanted = {key_of(clip) for clip in clips}
    chosen: dict[Key, tuple[str, Row]] = {}
    for part in parts:
        for row in read_rows(part, ABOUT):
            key = key_of(row)
            if key in wanted and (key not in chosen or chosen[key][1]["sha256"] is None):
                chosen[key] = part, row
    return chosen


def merge_parts(writer: IndexWriter, clips: Sequence[Found], chosen: dict[Key, tuple[str, Row]]) -> Merged:
    """Put clips and their windows into an index.

    Args:
        writer: of the index.
        clips: that the index lacks, or of which it lacks windows, in the order in which it is to list them.
        chosen: of `choose_rows`.
    """
    merged = Merged()
    numbers = {entry.id: number for number, entry in enumerate(writer.entries)}
    entries, parts = [], defaultdict(set)
    for clip in clips:
        if key_of(clip) not in chosen:
            continue
        part, row = chosen[key_of(clip)]
        name = written(clip.path)
        if row["problem"] is not None:
            merged.problems.append(Problem(name, row["problem"], row["partly"]))
        merged.complaints += [(name, text) for text in row["complaints"]]
        if row["sha256"] is None:
            continue
        if clip.id not in numbers:
            entries.append(_entry(clip, row))
        elif writer.entries[numbers[clip.id]].sha256 != row["sha256"]:
            merged.problems.append(Problem(name, f"{name} was changed while it was indexed: index it again"))
            continue
        parts[part].add(clip.id)
    numbers |= {entries[place].id: number for place, number in enumerate(writer.add_entries(entries))}
    starts = _starts_there(writer, [numbers[id] for ids in parts.values() for id in ids])
    for part in sorted(parts):
        _merge_part(writer, part, {id: numbers[id] for id in parts[part]}, starts, merged)
    return merged


def _entry(clip: Found, row: Row) -> Entry:
    return Entry(
        id=clip.id,
        file=clip.file,
        size=clip.size,
        mtime_ns=clip.mtime_ns,
        sha256=row["sha256"],
        duration=row["duration"],
        captions=clip.captions,
        label=clip.label,
        licence=clip.licence,
        metadata=clip.metadata,
        problem=row["entry_problem"],
    )


def _starts_there(writer: IndexWriter, numbers: Sequence[int]) -> dict[int, set[float]]:
    """Return where the windows begin that the index has of some clips."""
    starts: dict[int, set[float]] = defaultdict(set)
    present = np.concatenate([writer.windows(), writer.silent_windows()])
    for number, start, _ in present[np.isin(present["entry"], numbers)].tolist():
        starts[number].add(start)
    return starts


def _merge_part(
    writer: IndexWriter,
    part: str,
    numbers: dict[str, int],
    starts: dict[int, set[float]],
    merged: Merged,
) -> None:
    """Write the windows of some clips of a part, in one append."""
    windows, vectors, silent = [], [], []
    for row, own in zip(read_rows(part, WINDOWS), read_vectors(part), strict=True):
        number = numbers.pop(row["id"], None)
        if number is None:
            continue
        there = starts.get(number, ())
        for place, span in enumerate(_spans(number, row["starts"], row["ends"])):
            if span[1] not in there:
                windows.append(span)
                vectors.append(own[place])
        silent += [
            span for span in _spans(number, row["silent_starts"], row["silent_ends"]) if span[1] not in there
        ]
    if windows:
        writer.add_windows(windows, np.stack(vectors))
    if silent:
        writer.add_silent(silent)
    merged.num_windows += len(windows)
    merged.audio_seconds += sum(end - start for _, start, end in windows)


def _spans(number: int, starts: Sequence[float], ends: Sequence[float]) -> Iterator[tuple[int, float, float]]:
    return ((number, start, end) for start, end in zip(starts, ends, strict=True))
