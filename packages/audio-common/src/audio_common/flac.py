"""flac that is damaged, cut off or without a length in its header: frame by frame, each at its place.

libsndfile stops at the first frame with a wrong check sum. But each frame tells the number of its first
sample, so that what comes after can be found and put where it belongs, with silence for what is lost. An
intact file is left to libsndfile; of each, only the last frame is looked at, which tells the true length.
"""

from __future__ import annotations

import logging
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audio_common.mp3 import tag_stop
from audio_common.pieces import CHUNK, Piece, pieced, size_of
from audio_common.reader import BLOCK
from audio_common.sndfile import SoundFileReader

logger = logging.getLogger(__name__)

SYNC = re.compile(rb"\xff[\xf8\xf9]")
LARGEST_HEADER = 16
"""Bytes of a frame's header."""
TAIL = 1 << 17
"""Bytes at the end of a file in which the last frame is looked for, or twice the largest frame."""
BLOCK_SIZES = {
    1: 192,
    **{code: 576 << code - 2 for code in range(2, 6)},
    **{code: 1 << code for code in range(8, 16)},
}
"""Samples of a frame by the code in its header; 6 and 7: told after it."""


def _sums() -> list[int]:
    sums = []
    for value in range(256):
        for _ in range(8):
            value = value << 1 ^ (0x107 if value & 0x80 else 0)
        sums.append(value)
    return sums


_CRC8 = _sums()


def header_sum(data: bytes) -> int:
    """The check sum of a frame's header; 0 with the sum at its end."""
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


@dataclass(frozen=True)
class Frame:
    """A frame whose header is right."""

    start: int
    """Byte of the file."""
    sample: int
    num_samples: int

    @property
    def end(self) -> int:
        """The number of the sample after its last one."""
        return self.sample + self.num_samples


@dataclass(frozen=True)
class Head:
    """What stands before the frames."""

    first: int
    """Byte of the file at which frames begin."""
    settings: bytes
    """The 34 bytes of STREAMINFO."""

    @property
    def largest_block(self) -> int:
        """Samples per frame, at most; in most files all have as many, but the last."""
        return int.from_bytes(self.settings[2:4])

    @property
    def is_uniform(self) -> bool:
        """Whether all frames but the last have as many samples."""
        return self.settings[:2] == self.settings[2:4]

    @property
    def largest_frame(self) -> int:
        """Bytes; 0 where it does not say."""
        return int.from_bytes(self.settings[7:10])

    @property
    def total(self) -> int:
        """Samples per channel; 0 where it does not say."""
        return int.from_bytes(self.settings[13:18]) & (1 << 36) - 1

    def with_total(self, total: int) -> bytes:
        """A file's beginning that tells another length, without the check sum of the samples."""
        word = int.from_bytes(self.settings[13:18]) >> 36 << 36 | total
        settings = self.settings[:13] + word.to_bytes(5) + bytes(16)
        return b"fLaC\x80\x00\x00\x22" + settings


def read_head(file: BinaryIO) -> Head | None:
    """Read what stands before the frames; None if that is not as it should be."""
    file.seek(0)
    position = tag_stop(file.read(10))
    file.seek(position)
    if file.read(4) != b"fLaC":
        return None
    position += 4
    settings = b""
    while True:
        file.seek(position)
        head = file.read(4)
        if len(head) < 4:
            return None
        if not settings:
            settings = file.read(34)
            if head[0] & 0x7F or len(settings) < 34:
                return None
        position += 4 + int.from_bytes(head[1:])
        if head[0] & 0x80:
            return Head(position, settings)


def read_frame(data: bytes, at: int, start: int, head: Head) -> Frame | None:
    """Read the header of the frame at `data[at:]`, byte `start` of the file; None if none begins there."""
    code, kind = data[at + 2 : at + 3], data[at + 3 : at + 4]
    if not kind or kind[0] & 1 or kind[0] >> 4 > 10 or code[0] >> 4 == 0 or code[0] & 15 == 15:
        return None
    number, place = _coded_number(data, at + 4)
    if number is None:
        return None
    size_code = code[0] >> 4
    num_extra = size_code - 5 if size_code in (6, 7) else 0
    num_samples = 1 + int.from_bytes(data[place : place + num_extra]) if num_extra else BLOCK_SIZES[size_code]
    rate_code = code[0] & 15
    stop = place + num_extra + (1 if rate_code == 12 else 2 if rate_code in (13, 14) else 0) + 1
    if stop > len(data) or header_sum(data[at:stop]) or num_samples > head.largest_block:
        return None
    counts_samples = data[at + 1] & 1
    if not counts_samples and not head.is_uniform:
        return None
    return Frame(start, number if counts_samples else number * head.largest_block, num_samples)


def _coded_number(data: bytes, at: int) -> tuple[int | None, int]:
    """Read a number coded as UTF-8 codes characters; and where it ends."""
    if at >= len(data):
        return None, at
    first = data[at]
    num_ones = 8 - (first ^ 0xFF).bit_length()
    if num_ones == 0:
        return first, at + 1
    num_more = num_ones - 1
    more = data[at + 1 : at + 1 + num_more]
    if not 0 < num_more < 7 or len(more) < num_more or any(byte >> 6 != 2 for byte in more):
        return None, at
    number = first & (1 << 6 - num_more) - 1
    for byte in more:
        number = number << 6 | byte & 0x3F
    return number, at + 1 + num_more


class FlacReader:
    """A flac file, decoded by libsndfile from one damaged place to the next.

    Args:
        source: the sound.
        file: the same, open; closed with the reader if it is another object than `source`.
        name: for messages.
        head: what `read_head` gave.
    """

    def __init__(self, source: Path | BinaryIO, file: BinaryIO, name: str, head: Head) -> None:
        self.name = name
        self.complaints: list[str] = []
        self._file, self._is_owned = file, file is not source
        self._head = head
        self._size = size_of(file)
        self._frames: list[Frame] = []
        self._num_lost = self._lost_from = 0
        end = self._find_end()
        total = end or head.total
        # libsndfile believes the header; where that is right, it gets the file itself.
        begin: list[Piece] = [head.with_total(total), (head.first, self._size)]
        is_right = end == head.total
        self._whole = source if is_right and isinstance(source, Path) else pieced(file, begin)
        with closing(SoundFileReader(_from_start(self._whole), name)) as reader:
            self.sample_rate, self.num_channels = reader.sample_rate, reader.num_channels
            self.format = reader.format
        self.num_frames = total or None
        self.duration = None if self.num_frames is None else self.num_frames / self.sample_rate
        self.is_exact = end is not None

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._is_owned:
            self._file.close()

    def blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
        """Yield float32 blocks (samples, channels); see `audio_common.reader.Reader`."""
        stop = sys.maxsize if self.num_frames is None else self.num_frames
        stop = stop if count is None else min(stop, start + count)
        position, source, first = start, self._whole, 0
        while position < stop:
            try:
                for block in self._decoded(source, first, position, stop):
                    yield block
                    position += len(block)
                break
            except soundfile.LibsndfileError:
                pass
            # With one frame a whole block is lost: its frames are decoded one by one, to beyond the damage.
            for block in self._one_by_one(position, min(stop, position + BLOCK)):
                yield block
                position += len(block)
            following = self._frame_at(position)
            if following is None:
                break
            rest: list[Piece] = [self._head.with_total(0), (following.start, self._size)]
            source, first = pieced(self._file, rest), following.sample
        yield from self._ended(position, stop)

    def _ended(self, position: int, stop: int) -> Iterator[np.ndarray]:
        total = self.num_frames
        if total is not None and position < stop:
            if self.is_exact:
                yield from self._silence(position, stop)
                self._complain_of_silence()
            else:
                self._complain(f"ends after {position} of {total} samples", position)
        if stop == total and total < self._head.total:
            self._complain(f"ends after {total} of {self._head.total} samples", stop)

    def _decoded(self, source: Path | BinaryIO, first: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Decode samples `start` to `stop` of a file that begins with sample `first`."""
        with closing(SoundFileReader(_from_start(source), self.name, raises=True)) as reader:
            if first == 0:
                yield from reader.blocks(start, stop - start)
                return
            for block in reader.blocks(0, stop - first):  # frames that tell other numbers cannot be sought
                if first + len(block) > start:
                    yield block[max(0, start - first) :]
                first += len(block)

    def _one_by_one(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Decode frames each by itself, with silence for those that are damaged or missing."""
        self._frames = self._frames or list(self._find_frames())
        position = start
        while position < stop:
            frame = self._frame_at(position)
            if frame is None:
                break
            if frame.sample > position:
                yield from self._silence(position, min(stop, frame.sample))
                position = min(stop, frame.sample)
                continue
            end = min(stop, frame.end)
            samples = self._decode_frame(frame)
            if samples is None:
                yield from self._silence(position, end)
            else:
                yield samples[position - frame.sample : end - frame.sample]
            position = end
        self._complain_of_silence()

    def _decode_frame(self, frame: Frame) -> np.ndarray | None:
        source = pieced(self._file, [self._head.with_total(0), (frame.start, self._size)])
        try:
            with closing(SoundFileReader(source, self.name, raises=True)) as reader:
                samples = next(reader.blocks(0, frame.num_samples), None)
        except soundfile.LibsndfileError:
            return None
        return samples if samples is not None and len(samples) == frame.num_samples else None

    def _frame_at(self, position: int) -> Frame | None:
        """The first frame that ends after a sample."""
        number = bisect_right(self._frames, position, key=lambda frame: frame.end)
        return self._frames[number] if number < len(self._frames) else None

    def _find_frames(self) -> Iterator[Frame]:
        """Find all frames whose header is right, in order."""
        start, end = self._head.first, 0
        limit = self.num_frames or _most_samples(self._size)
        while start < self._size:
            self._file.seek(start)
            data = self._file.read(CHUNK + LARGEST_HEADER)
            for found in SYNC.finditer(data, 0, CHUNK + 1):
                frame = read_frame(data, found.start(), start + found.start(), self._head)
                if frame is not None and end <= frame.sample and frame.end <= limit:
                    end = frame.end
                    yield frame
            start += CHUNK

    def _find_end(self) -> int | None:
        """The number of samples up to the end of the last frame; None if it is not found whole."""
        begin = max(self._head.first, self._size - max(TAIL, 2 * self._head.largest_frame))
        self._file.seek(begin)
        data = self._file.read()
        places = [found.start() for found in SYNC.finditer(data)]
        frames = [frame for at in places if (frame := read_frame(data, at, begin + at, self._head))]
        for frame in reversed(frames[-4:]):
            if frame.end <= _most_samples(self._size) and self._decode_frame(frame) is not None:
                return frame.end
        return None

    def _silence(self, start: int, stop: int) -> Iterator[np.ndarray]:
        if not self._num_lost:
            self._lost_from = start
        self._num_lost += stop - start
        for begin in range(start, stop, BLOCK):
            yield np.zeros((min(BLOCK, stop - begin), self.num_channels), np.float32)

    def _complain_of_silence(self) -> None:
        if self._num_lost:
            problem = f"{self._num_lost} samples are damaged or missing, for which silence stands"
            self._complain(problem, self._lost_from)
            self._num_lost = 0

    def _complain(self, problem: str, position: int) -> None:
        complaint = f"at {position / self.sample_rate:.3f} s: {problem}"
        self.complaints.append(complaint)
        logger.warning("%s, %s", self.name, complaint)


def _most_samples(size: int) -> int:
    """More than a file of so many bytes can hold: a frame has at least nine, and at most 65,535 samples."""
    return size // 9 * 65_535


def _from_start(source: Path | BinaryIO) -> Path | BinaryIO:
    if not isinstance(source, Path):
        source.seek(0)
    return source
