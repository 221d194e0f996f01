"""What an mp3 file holds: runs of whole frames, counted without decoding, and a clean file made of each.

An mp3 has no header of its own: it is a row of frames with anything before, between and after them (tags,
padding, a second file). Its length stands, if at all, in a silent first frame, of which encoders, cutters and
joiners often leave a wrong one or none. So the frames are walked along, header to header, and libsndfile is
given files that have none of these oddities: a first frame that tells the right number, then the frames.

A new run begins where a file was joined on (a tag, or another silent first frame), where the kind of sound
changes, and where frames are lost: they draw on the bits of those before them, and a decoder that is set
going anew is silent for a moment where one that runs on over the gap gives noise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from audio_common.mp3 import (
    DECODER_DELAY,
    Info,
    Kind,
    frame_length,
    frame_lengths,
    info_frame,
    kind_of,
    read_info,
    tag_stop,
)
from audio_common.pieces import CHUNK, Piece, size_of

SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]")
MARKS = (b"Xing", b"Info", b"VBRI")
HEAD = 64
"""More bytes than a frame has up to the end of such a mark."""
NUM_IN_A_ROW = 3
"""Headers, each where the frame before it ends, by which sound is told from bytes that look like it."""
MAX_JUNK = 1 << 17
"""Bytes before the first frame, tags not counted, after which a file is not taken for mp3."""
MAX_INSERTED = 24
"""Bytes between two frames that are taken for put in: fewer than any frame has."""


@dataclass
class Run:
    """Frames of one kind, and the bytes they stand in."""

    kind: Kind
    header: bytes
    """The first four bytes of its first frame."""
    start: int
    """In the file, the silent first frame included."""
    pieces: list[tuple[int, int]] = field(default_factory=list)
    num_frames: int = 0
    info: Info | None = None
    num_lost: int = 0
    """Bytes just before it that are neither frames nor tags."""
    is_followed: bool = False
    """Whether the next run goes on with the same sound, after something lost."""

    @property
    def stop(self) -> int:
        """Where its last frame stops."""
        return self.pieces[-1][1]

    def drop_last(self, stop: int) -> None:
        """Leave out the last frame, which begins at `stop`."""
        if self.num_frames:
            self.pieces[-1] = (self.pieces[-1][0], stop)
            self.num_frames -= 1

    @property
    def is_cut(self) -> bool:
        """Whether frames are missing at its end: by their number and, if told, by the bytes."""
        num_missing = 0 if self.info is None else (self.info.num_frames or 0) - self.num_frames
        if self.info is None or num_missing <= 0:
            return False
        if self.info.num_bytes:
            return self.stop - self.start < self.info.num_bytes - 2 * frame_length(self.header[:3])
        return num_missing > 1  # some writers count the silent frame, too

    @property
    def declared_trim(self) -> tuple[int, int]:
        """Samples that its silent first frame tells to leave out at its beginning and end."""
        if self.info is None or not self.info.is_trimmed:
            return 0, 0
        delay, padding = self.info.trimmed or (0, 0)
        return delay + DECODER_DELAY, max(0, padding - DECODER_DELAY)

    @property
    def trimmed(self) -> tuple[int, int]:
        """Samples left out at its beginning and, if that is there, at its end."""
        before, after = self.declared_trim
        return before, 0 if self.is_followed or self.is_cut else after

    @property
    def num_samples(self) -> int:
        """Samples that decoding gives."""
        return max(0, self.num_frames * self.kind.frame_samples - sum(self.trimmed))


def find_runs(file: BinaryIO) -> list[Run]:
    """Walk along the frames of a file; empty if it is not mp3."""
    return _Scan(file).runs()


class _Scan:
    """One walk through a file, of which it holds a chunk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = size_of(file)
        self._base, self._data = 0, b""
        self._runs: list[Run] = []
        self._last_frame = 0
        self._marked: tuple[int, Kind] | None = None
        self._places: list[int] = []

    def runs(self) -> list[Run]:
        """The runs with sound in them."""
        position, num_lost = 0, 0
        is_new = True  # whether a file begins here; else sound goes on
        while position < self._size:
            if after := self._after_tag(position):
                position, num_lost, is_new = after, 0, True
                continue
            if self._is_sound(position):
                position = self._add(position, is_new, num_lost)
                num_lost, is_new = 0, False
                continue
            # The frame before may be broken off, and the next one begin within the length it should have.
            start = position if is_new or num_lost else self._last_frame + 1
            found = self._next_sound(start, self._size if self._runs else position + MAX_JUNK)
            if found is None:
                break
            num_lost = found - position
            if found < position:
                num_lost = found - self._last_frame
                self._runs[-1].drop_last(self._last_frame)
            position = found
        return [run for run in self._runs if run.num_samples]

    def _add(self, start: int, is_new: bool, num_lost: int) -> int:
        """Walk along the row of frames that begins here; return where it ends."""
        header = self._at(start, 4)
        kind = kind_of(header)
        assert kind is not None
        info = self._info(start, kind)
        first = start if info is None else start + frame_length(header[:3])
        stop, num_frames = self._walk(first, kind)
        last = self._runs[-1] if self._runs else None
        goes_on = last is not None and not is_new and info is None and last.kind == kind
        if last is not None and goes_on:
            if last.num_frames and 0 <= start - last.stop <= MAX_INSERTED:
                last.pieces.append((start, stop))
                last.num_frames += num_frames
                return stop
            last.is_followed = True
        lost = num_lost if goes_on else 0
        self._runs.append(Run(kind, header, start, [(first, stop)], num_frames, info, lost))
        return stop

    def _walk(self, position: int, kind: Kind) -> tuple[int, int]:
        """Return where the row of frames that begins here ends, and how many there are."""
        lengths, is_mono, begin = frame_lengths(kind), kind.is_mono, position
        length = count = 0
        while position + 4 <= self._size:
            self._load(position)
            data, base = self._data, self._base
            limit = len(data) - (3 if base + len(data) >= self._size else HEAD)
            marks = [mark for mark in self._marks(kind) if mark + base > begin]
            inside = position - base
            for stop in [*marks, limit]:
                while inside < stop and inside < limit:
                    step = lengths.get(data[inside : inside + 3], 0)
                    if not step or (data[inside + 3] >= 0xC0) != is_mono:
                        return self._ended(base + inside, count, length)
                    inside += step
                    length = step
                    count += 1
                if inside == stop and stop in marks:  # another file's first frame
                    return self._ended(base + inside, count, length)
            position = base + inside
        return self._ended(position, count, length)

    def _ended(self, stop: int, count: int, length: int) -> tuple[int, int]:
        self._last_frame = stop - length
        if stop > self._size:  # cut off in the midst of the last frame
            return stop - length, count - 1
        return stop, count

    def _marks(self, kind: Kind) -> list[int]:
        """Where silent first frames begin in the chunk."""
        if self._marked == (self._base, kind):
            return self._places
        data, places = self._data, []
        for mark in MARKS:
            found = data.find(mark)
            while found >= 0:
                at = found - (36 if mark == b"VBRI" else kind.mark_at)
                if at >= 0 and not any(data[at + 6 : found]) and frame_length(data[at : at + 3]):
                    places.append(at)
                found = data.find(mark, found + 4)
        self._marked, self._places = (self._base, kind), sorted(places)
        return self._places

    def _info(self, start: int, kind: Kind) -> Info | None:
        frame = self._at(start, 4)
        if kind.layer == 3:
            frame = self._at(start, frame_length(frame[:3]))
        return read_info(frame, kind)

    def _is_sound(self, position: int) -> bool:
        """Tell whether frames of one kind begin here, `NUM_IN_A_ROW` of them or as many as there are."""
        kind = kind_of(header := self._at(position, 4))
        if kind is None:
            return False
        for number in range(1, NUM_IN_A_ROW):
            position += frame_length(header[:3])
            if position >= self._size:
                return number > 1 or position == self._size
            header = self._at(position, 4)
            if kind_of(header) != kind:
                return bool(self._after_tag(position))
        return True

    def _next_sound(self, start: int, limit: int) -> int | None:
        """Search for frames that begin at `start` or later, and before `limit`."""
        while start < min(limit, self._size):
            self._load(start)
            data, base = self._data, self._base
            for found in SYNC.finditer(data, start - base):
                place = base + found.start()
                if place >= limit:
                    return None
                if kind_of(data[found.start() : found.start() + 4]) and self._is_sound(place):
                    return place
            start = max(start + 1, base + len(data) - 3)
        return None

    def _after_tag(self, position: int) -> int:
        """Return where the tag ends that begins here; 0 if none does."""
        head = self._at(position, 32)
        if stop := tag_stop(head):
            return position + stop
        if head[:3] == b"TAG":
            return position + 128
        if head[:8] == b"APETAGEX" and len(head) == 32:
            return position + 32 + int.from_bytes(head[12:16], "little") * (head[23] >> 5 & 1)
        return 0

    def _at(self, position: int, count: int) -> bytes:
        """Bytes of the file, fewer at its end."""
        inside = position - self._base
        if inside >= 0 and inside + count <= len(self._data):
            return self._data[inside : inside + count]
        self._file.seek(position)
        return self._file.read(count)

    def _load(self, position: int) -> None:
        """Have a chunk with the bytes at `position`, many more, or all to the file's end."""
        inside, size = position - self._base, len(self._data)
        is_end = self._base + size >= self._size
        if inside < 0 or inside >= size or (size - inside < CHUNK // 16 and not is_end):
            self._file.seek(position)
            self._base, self._data = position, self._file.read(CHUNK)


def run_pieces(run: Run) -> tuple[list[Piece], int]:
    """What a file is to be made of from which libsndfile decodes a run, and how much longer to call it.

    Where no first frame tells of a length, libmpg123 guesses one from the first frame's bit rate and the
    file's size, and libsndfile reads no further than that.
    """
    if run.info is not None and run.info.is_trimmed:
        return [info_frame(run.kind, run.header, run.num_frames, run.trimmed), *run.pieces], 0
    return list(run.pieces), 40 * sum(stop - start for start, stop in run.pieces)


def is_plain(runs: Sequence[Run], head: bytes) -> bool:
    """Whether libsndfile reads the file as it is: one run, whose first frame, at the start, tells its length.

    Args:
        runs: of the file.
        head: its first 10 bytes.
    """
    run = runs[0]
    begins = run.start == 0 or (head[:3] == b"ID3" and run.start == tag_stop(head))
    return (
        len(runs) == len(run.pieces) == 1
        and begins
        and run.info is not None
        and run.info.is_trimmed
        and run.info.num_frames == run.num_frames
    )
