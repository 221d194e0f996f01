"""Headers of writers that could not go back to fill in the length (to a pipe, or stopped), mended.

libsndfile takes most placeholders for what they are. It reads nothing where a length of 0 was left (wav, au,
rf64, aiff), and refuses CAF's own sign for an unknown length. A file that was cut off it shortens without
a word: what its header promised is read here.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal

from audio_common.pieces import Piece, size_of

MAX_CHUNKS = 1000
"""Looked at in one file."""

PLACEHOLDER_BYTES = 0x7FFF_0000
"""Lengths from here on stand in files that were written to a pipe."""

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


def promised_share(source: Path | BinaryIO) -> float | None:
    """Return the bytes of samples that a header promises, divided by those that are there, if it is above 1.

    None for all else: a whole file, a format that tells no length in bytes, and the placeholder of a writer
    that could not go back.

    Args:
        source: a path, or a file object, which stays where it is.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _promised_share(file)
    position = source.tell()
    try:
        return _promised_share(source)
    finally:
        source.seek(position)


def _promised_share(file: BinaryIO) -> float | None:
    found = _find_samples(file)
    if found is None:
        return None
    start, promised = found
    there = size_of(file) - start
    return promised / there if 0 < there < promised < PLACEHOLDER_BYTES else None


def _find_samples(file: BinaryIO) -> tuple[int, int] | None:
    """Return where a file's samples begin, and how many bytes of them its header promises."""
    size = size_of(file)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b".snd":
        return int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    order: ByteOrder = "little" if head[:4] == b"RIFF" else "big"
    if head[:4] in (b"RIFF", b"RIFX") and head[8:] == b"WAVE":
        chunk, width = _find_chunk(file, size, 12, b"data", 4, order), 4
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        chunk, width = _find_chunk(file, size, 12, b"SSND", 4, order), 4
    elif head[:4] == b"caff":
        chunk, width = _find_chunk(file, size, 8, b"data", 8, order), 8
    else:
        return None
    if chunk is None:
        return None
    file.seek(chunk + 4)
    return chunk + 4 + width, int.from_bytes(file.read(width), order)


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
