"""A file made of parts of another one, and the reading of bytes from a path or a file object alike."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

Piece = bytes | tuple[int, int]
"""Bytes to put in, or where they begin and stop in the source."""
CHUNK = 1 << 20
"""Bytes read at once."""
TAG = 128
"""Bytes of a tag at the end of an mp3."""


class PiecedFile(io.RawIOBase):
    """A read-only file of pieces of `source`, which stays open and is read where this one is read.

    Args:
        source: a seekable binary file.
        pieces: what the file holds, in order.
        num_beyond: bytes that its size is overstated by; reading stops before them.
    """

    def __init__(self, source: BinaryIO, pieces: Sequence[Piece], num_beyond: int = 0) -> None:
        self._source = source
        self._pieces = [piece for piece in pieces if _length(piece)]
        self._stops = list(accumulate(map(_length, self._pieces)))
        self._stop = self._stops[-1] if self._stops else 0
        self._num_beyond = num_beyond
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        base = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._position,
            os.SEEK_END: self._stop + self._num_beyond,
        }[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # a buffer of any kind
        """Read at most up to the end of a piece."""
        number = bisect_right(self._stops, self._position)
        if number == len(self._pieces):
            return self._beyond(buffer)
        piece = self._pieces[number]
        stop = self._stops[number]
        inside = self._position - (stop - _length(piece))
        count = min(len(buffer), stop - self._position)
        if isinstance(piece, bytes):
            data = piece[inside : inside + count]
        else:
            self._source.seek(piece[0] + inside)
            data = self._source.read(count)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _beyond(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Give zeros at the very end of what there is not: libmpg123 looks there for a tag."""
        count = min(len(buffer), self._stop + self._num_beyond - self._position)
        if not 0 < count <= TAG:
            return 0
        buffer[:count] = bytes(count)
        self._position += count
        return count


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]


def pieced(source: BinaryIO, pieces: Sequence[Piece], num_beyond: int = 0) -> BinaryIO:
    """A `PiecedFile` with a buffer: libsndfile reads mp3 by the few bytes of a header."""
    return io.BufferedReader(PiecedFile(source, pieces, num_beyond), 1 << 16)  # type: ignore[return-value]


def read_at(source: Path | BinaryIO, offset: int, count: int) -> bytes:
    """Read `count` bytes from `offset`; a file object stays in its place, from which libsndfile reads on."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_at(file, offset, count)
    position = source.tell()
    source.seek(offset)
    data = source.read(count)
    source.seek(position)
    return data


def size_of(source: BinaryIO) -> int:
    """The number of bytes of an open file, which stays in its place."""
    position = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(position)
    return size
