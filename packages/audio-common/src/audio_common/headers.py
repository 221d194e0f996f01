"""Headers of writers that could not go back to fill in the length (to a pipe, or stopped), mended.

libsndfile takes most placeholders for what they are. It reads nothing where a length of 0 was left (wav, au,
rf64, aiff), and refuses CAF's own sign for an unknown length.
"""

from __future__ import annotations

from typing import BinaryIO, Literal

from audio_common.pieces import Piece, size_of

MAX_CHUNKS = 1000
"""Looked at in one file."""

ByteOrder = Literal["little", "big"]


def mended(file: BinaryIO) -> list[Piece] | None:
    """Return the file's pieces with a length in its header; None if that is not what is wrong with it.

    Args:
        file: of a sound that libsndfile refuses, or in which it finds no samples.
    """
    size = size_of(file)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b".snd":
        return [head[:8], b"\xff" * 4, (12, size)]
    if head[:4] == b"caff":
        # The length counts the four bytes of a number of edits before the samples.
        return _with_length(file, size, 8, b"data", 8, "big", 4)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _with_length(file, size, 12, b"SSND", 4, "big", 8)
    if head[8:12] != b"WAVE":
        return None
    if head[:4] == b"RF64":  # the length stands in a chunk of its own, as three numbers of eight bytes
        data = _find_chunk(file, size, 12, b"data", 4, "little")
        place = _find_chunk(file, size, 12, b"ds64", 4, "little")
        if data is None or place is None or _is_chunk(file, data + 8, size):
            return None
        return [(0, place + 16), (size - data - 8).to_bytes(8, "little"), (place + 24, size)]
    order: ByteOrder = "big" if head[:4] == b"RIFX" else "little"
    if pieces := _with_length(file, size, 12, b"data", 4, order, 0):
        return pieces
    end = 8 + int.from_bytes(head[4:8], order)
    return [(0, end)] if 12 < end < size else None  # libsndfile may refuse what follows: another file, say


def _with_length(
    file: BinaryIO, size: int, start: int, name: bytes, width: int, order: ByteOrder, num_before: int
) -> list[Piece] | None:
    """Put the true length into the header of the chunk that holds the samples.

    Args:
        file: the file.
        size: its bytes.
        start: where its chunks begin.
        name: of the chunk.
        width: bytes of the numbers that tell chunks' lengths.
        order: of these bytes.
        num_before: bytes of the chunk before its samples.
    """
    place = _find_chunk(file, size, start, name, width, order)
    if place is None:
        return None
    content = place + 4 + width
    file.seek(place + 4)
    declared = int.from_bytes(file.read(width), order, signed=True)
    if num_before < declared or content + num_before >= size or _is_chunk(file, content + num_before, size):
        return None
    length = min(size - content, (1 << 8 * width) - 1)
    return [(0, place + 4), length.to_bytes(width, order), (content, size)]


def _find_chunk(
    file: BinaryIO, size: int, start: int, name: bytes, width: int, order: ByteOrder
) -> int | None:
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(4 + width)
        if len(head) < 4 + width:
            return None
        if head[:4] == name:
            return start
        length = int.from_bytes(head[4:], order)
        start += len(head) + length + (length & 1 if width == 4 else 0)
        if start >= size:
            return None
    return None


def _is_chunk(file: BinaryIO, start: int, size: int) -> bool:
    """Whether another chunk, up to the file's end, follows instead of samples."""
    file.seek(start)
    head = file.read(8)
    lengths = [int.from_bytes(head[4:], order) for order in ("little", "big")]
    is_name = len(head) == 8 and head[:4].isascii() and head[:4].replace(b" ", b"").isalnum()
    return is_name and any(start + 8 + length <= size <= start + 9 + length for length in lengths)
