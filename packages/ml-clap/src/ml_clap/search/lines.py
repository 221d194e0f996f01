"""The lines of a file that may be larger than memory: mapped, found by where they begin."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np

from ml_clap.search.store import ENDS_SUFFIX, Entry, read_entry
from ml_clap.search.vectors import write_array

SCANNED = 2**24
"""Bytes that are looked through for line ends at once; of a larger file the line ends are kept."""
KEPT = 50_000
"""Clips that are remembered once they are read: some 100 MB."""


class Lines(Sequence[bytes]):
    """The complete lines of a file as it is now; one that a kill cut short is none. Takes 8 bytes a line.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # Bytes that are appended later are no part of it.
            self._data: mmap.mmap | bytes = (
                mmap.mmap(file.fileno(), status.st_size, access=mmap.ACCESS_READ) if status.st_size else b""
            )
        self._ends = _line_ends(np.frombuffer(self._data, np.uint8), path, status)

    def __len__(self) -> int:
        """Count them."""
        return len(self._ends)

    @overload
    def __getitem__(self, number: int) -> bytes: ...
    @overload
    def __getitem__(self, number: slice) -> list[bytes]: ...
    def __getitem__(self, number: int | slice) -> bytes | list[bytes]:
        """Return a line, or some, without their ends."""
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"line {number} of {len(self)}")
        number %= len(self)
        first = int(self._ends[number - 1]) + 1 if number else 0
        return self._data[first : int(self._ends[number])]

    def __iter__(self) -> Iterator[bytes]:
        """Give each line."""
        first = 0
        for end in self._ends.tolist():
            yield self._data[first:end]
            first = end + 1


def _line_ends(data: np.ndarray, path: Path, status: os.stat_result) -> np.ndarray:
    """Return where the lines end: (lines,) int64; of a large file this is kept beside it."""
    place, state = path.with_suffix(ENDS_SUFFIX), [status.st_size, status.st_mtime_ns]
    if len(data) > SCANNED:
        with suppress(OSError, ValueError):
            kept = np.load(place, mmap_mode="r")
            if kept[:2].tolist() == state:
                return kept[2:]
    found = [
        first + np.flatnonzero(data[first : first + SCANNED] == ord("\n"))
        for first in range(0, len(data), SCANNED)
    ]
    ends = np.concatenate(found) if found else np.empty(0, np.int64)
    if len(data) > SCANNED:
        with suppress(OSError):  # a read-only archive
            write_array(place, np.concatenate([np.array(state, np.int64), ends]))
    return ends


class Entries(Sequence[Entry]):
    """The clips of an index by their line numbers; a line is parsed when it is asked for.

    Args:
        lines: of the entries' file.
        path: of that file, for errors.
    """

    def __init__(self, lines: Sequence[bytes], path: Path) -> None:
        self._lines = lines
        self._path = path
        self._read = lru_cache(KEPT)(self._parse)

    def __len__(self) -> int:
        """Count them."""
        return len(self._lines)

    @overload
    def __getitem__(self, number: int) -> Entry: ...
    @overload
    def __getitem__(self, number: slice) -> list[Entry]: ...
    def __getitem__(self, number: int | slice) -> Entry | list[Entry]:
        """Return a clip, or some."""
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        return self._read(number)

    def __iter__(self) -> Iterator[Entry]:
        """Give each clip."""
        # All of a small index are remembered; of a large one they would push each other out.
        if len(self) <= KEPT:
            yield from (self._read(number) for number in range(len(self)))
        else:
            yield from (self._entry(line, number) for number, line in enumerate(self._lines))

    def holding(self, parts: Sequence[Sequence[bytes]]) -> Iterator[tuple[int, Entry]]:
        """Give the clips in whose record one of each group of parts stands, with their numbers.

        The others are not parsed, which takes thirty times as long as looking for a part.
        """
        for number, line in enumerate(self._lines):
            if all(any(part in line for part in group) for group in parts):
                yield number, (self._read(number) if len(self) <= KEPT else self._entry(line, number))

    def _parse(self, number: int) -> Entry:
        return self._entry(self._lines[number], number)

    def _entry(self, line: bytes, number: int) -> Entry:
        return read_entry(line, f"{self._path}:{number + 1}")
