"""What an Ogg file holds: chained streams, and the rows of whole pages that damage leaves of each.

Pages carry a check sum, a number and the number of samples up to their end, so that what is damaged or
missing is known without decoding. libsndfile reads the first of chained streams only, and may stop where
pages are missing; it is given each row as a file of its own, behind the stream's headers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import BinaryIO

from audio_common.pieces import CHUNK, Piece

LARGEST_PAGE = 27 + 255 + 255 * 255
"""Bytes."""
BEGINS, ENDS = 2, 4
"""Flags of a stream's first and last page."""
MOST_PER_PAGE = 255 * 8192
"""Samples that the packets of one page may hold."""
_REVERSED = bytes(int(f"{number:08b}"[::-1], 2) for number in range(256))


@dataclass(frozen=True)
class Page:
    """Where a page stands, and what its header says."""

    start: int
    stop: int
    flags: int
    granule: int
    """Samples up to the end of its last packet; -1 if none ends in it."""
    serial: int
    number: int
    num_packets: int
    """That end in it."""


@dataclass
class Row:
    """Pages of one stream, none missing between them."""

    first_number: int
    pieces: list[tuple[int, int]]
    num_lost: int = 0
    """Pages missing before it."""
    num_pages: int = 1


@dataclass
class Stream:
    """One of the chained streams."""

    serial: int
    num_headers: int
    """Packets."""
    headers: list[tuple[int, int]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    granule: int = 0
    is_regular: bool = True
    """Whether its numbers of samples can be believed."""
    is_alone: bool = True
    """Whether the file begins no other stream, be it an empty one."""
    num_foreign: int = 0
    """Pages of another one among or after its own, whose beginning is missing."""
    is_ended: bool = False
    """Whether its last page is there."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing, but maybe at its end."""
        return self.is_regular and len(self.rows) == 1 and not self.rows[0].num_lost

    @property
    def is_plain(self) -> bool:
        """Whether nothing but its pages is in the file, and none is missing but maybe at its end."""
        if not (self.is_alone and self.is_whole):
            return False
        pieces = [*self.headers, *self.rows[0].pieces]
        return pieces[0][0] == 0 and all(one[1] == two[0] for one, two in pairwise(pieces))


def find_streams(file: BinaryIO) -> list[Stream] | None:
    """Read all pages of a file; None if it holds anything but chained sound that libsndfile knows."""
    streams: list[Stream] = []
    number = num_packets = -1
    begun_at = -1
    for page in _pages(file):
        if page.flags & BEGINS:
            num_headers = _num_headers(file, page)
            if num_headers is None or begun_at == page.start:  # unknown, or beside another one (a video's)
                return None
            begun_at = page.stop
            streams.append(Stream(page.serial, num_headers, [(page.start, page.stop)]))
            number, num_packets = page.number, page.num_packets
            continue
        if not streams:
            continue
        stream = streams[-1]
        if page.serial != stream.serial:
            stream.num_foreign += 1
            continue
        if num_packets < stream.num_headers:
            if page.number != number + 1:
                return None
            stream.headers.append((page.start, page.stop))
            num_packets += page.num_packets
        else:
            _add(stream, page, number)
        number = page.number
    for stream in streams:
        stream.is_alone = len(streams) == 1
    return [stream for stream in streams if stream.rows] or None


def _add(stream: Stream, page: Page, number: int) -> None:
    if page.granule >= 0:
        step = page.granule - stream.granule
        is_first = not stream.rows
        stream.is_regular &= 0 <= step <= (1 << 62 if is_first else MOST_PER_PAGE)
        stream.granule = page.granule
    stream.is_ended = bool(page.flags & ENDS)
    num_lost = page.number - number - 1
    if not stream.rows or num_lost:
        stream.rows.append(Row(page.number, [(page.start, page.stop)], num_lost))
        return
    stream.rows[-1].num_pages += 1
    pieces = stream.rows[-1].pieces
    if pieces[-1][1] == page.start:
        pieces[-1] = (pieces[-1][0], page.stop)
    else:
        pieces.append((page.start, page.stop))


def _num_headers(file: BinaryIO, page: Page) -> int | None:
    position = file.tell()
    file.seek(page.start)
    content = file.read(page.stop - page.start)
    file.seek(position)
    packet = content[27 + content[26] :]
    if packet.startswith(b"\x7fFLAC"):
        return 1 + int.from_bytes(packet[7:9]) if any(packet[7:9]) else None
    known = {b"\x01vorbis": 3, b"OpusHead": 2, b"Speex   ": 2}
    return next((count for magic, count in known.items() if packet.startswith(magic)), None)


def _pages(file: BinaryIO) -> Iterator[Page]:
    """Yield the pages whose check sum is right."""
    base, data = 0, b""
    inside = 0
    is_end = False
    while True:
        if len(data) - inside < LARGEST_PAGE and not is_end:
            base, data, inside = base + inside, data[inside:], 0
            file.seek(base + len(data))
            more = file.read(CHUNK)
            data += more
            is_end = not more
            continue
        found = data.find(b"OggS", inside)
        if found < 0 and is_end:
            return
        if found != inside:
            inside = found if found >= 0 else len(data) - 3
            continue
        size = _page_size(data, inside)
        page = data[inside : inside + size]
        if not size or len(page) < size or check_sum(page) != int.from_bytes(page[22:26], "little"):
            inside += 1
            continue
        lacing = page[27 : 27 + page[26]]
        yield Page(
            base + inside,
            base + inside + size,
            page[5],
            int.from_bytes(page[6:14], "little", signed=True),
            int.from_bytes(page[14:18], "little"),
            int.from_bytes(page[18:22], "little"),
            len(lacing) - lacing.count(255),
        )
        inside += size


def _page_size(data: bytes, start: int) -> int:
    if len(data) < start + 27:
        return 0
    num_segments = data[start + 26]
    return 27 + num_segments + sum(data[start + 27 : start + 27 + num_segments])


def check_sum(page: bytes) -> int:
    """The check sum of a page, whatever stands in its place.

    Ogg's CRC-32 is zlib's with the bits of each byte, and of the result, in the other order.
    """
    turned = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    value = zlib.crc32(turned, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(value.to_bytes(4).translate(_REVERSED), "little")


def row_pieces(file: BinaryIO, stream: Stream, row: Row) -> list[Piece]:
    """What a file of one row is made of: the stream's headers, numbered to go before it, and its pages."""
    first = row.first_number - len(stream.headers)
    pieces: list[Piece] = []
    for number, (start, stop) in enumerate(stream.headers, start=first):
        page = _read_page(file, start, stop)
        packet = 27 + page[26]
        if row.num_lost and page[packet : packet + 8] == b"OpusHead":
            page[packet + 10 : packet + 12] = bytes(
                2
            )  # samples to leave out: those of the stream's beginning
        page[18:22] = (number & 0xFFFFFFFF).to_bytes(4, "little")
        pieces.append(_signed(page))
    if not row.num_lost or row.num_pages > 1:
        return [*pieces, *row.pieces]
    # Of a page that is first and last at once, its number is taken for the length, not for the place.
    page = _read_page(file, *row.pieces[0])
    page[5] &= ~ENDS
    return [*pieces, _signed(page)]


def _read_page(file: BinaryIO, start: int, stop: int) -> bytearray:
    file.seek(start)
    return bytearray(file.read(stop - start))


def _signed(page: bytearray) -> bytes:
    page[22:26] = check_sum(bytes(page)).to_bytes(4, "little")
    return bytes(page)
