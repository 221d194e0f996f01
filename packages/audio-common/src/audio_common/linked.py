"""Sounds one after another in one file, read as one: joined mp3, chained Ogg, what damage leaves of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audio_common.reader import AudioError
from audio_common.sndfile import SoundFileReader

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Link:
    """One sound of a file."""

    open: Callable[[], Path | BinaryIO]
    """Gives what libsndfile reads it from."""
    sample_rate: int
    num_channels: int
    num_frames: int | None
    """Samples per channel."""
    is_exact: bool = True
    """Whether these are cut or filled up to; else what there is is decoded, from the link's beginning."""
    problem: str = ""
    """What is lost before it; a sentence without the file's name."""
    end_problem: str = ""
    """What is lost at its end."""


class LinkedReader:
    """A file's links, decoded one after another, each by itself.

    Args:
        links: at least one; all of one rate. The first one's number of channels is everyone's.
        name: of the file, for messages.
        format_: container and codec.
        file: is closed with the reader; None where the caller's is read.
    """

    def __init__(self, links: Sequence[Link], name: str, format_: str, file: BinaryIO | None) -> None:
        self.name = name
        self.format = format_
        self.complaints: list[str] = []
        self._links = links
        self._file = file
        self.sample_rate = links[0].sample_rate
        self.num_channels = links[0].num_channels
        lengths = [link.num_frames for link in links]
        self.num_frames = None if None in lengths else sum(length or 0 for length in lengths)
        self.duration = None if self.num_frames is None else self.num_frames / self.sample_rate
        self.is_exact = all(link.is_exact and link.sample_rate == self.sample_rate for link in links)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
        """Yield float32 blocks (samples, channels); see `audio_common.reader.Reader`."""
        stop = sys.maxsize if count is None else start + count
        position = 0
        for link in self._links:
            if position >= stop:
                break
            length = link.num_frames if link.is_exact else None
            if length is not None and position + length <= start:
                position += length
                continue
            if link.problem and position >= start:
                self._complain(link.problem, position)
            self._refuse_change(link, position)
            # Without a length there is no seeking: what is before the segment is decoded and dropped.
            first = 0 if length is None else max(0, start - position)
            for block in self._decoded(link, first, stop - position, position):
                begin = position + first
                first += len(block)
                if begin + len(block) > start:
                    yield block[max(0, start - begin) :]
            position += first
            if link.end_problem and position < stop:
                self._complain(link.end_problem, position)

    def _refuse_change(self, link: Link, position: int) -> None:
        if link.sample_rate != self.sample_rate:
            raise AudioError(
                f"{self.name} changes from {self.sample_rate} Hz to {link.sample_rate} Hz at "
                f"{position / self.sample_rate:.3f} s; split it there, or pass a duration that ends before"
            )

    def _decoded(self, link: Link, first: int, last: int, at: int) -> Iterator[np.ndarray]:
        """Decode samples `first` to `last` of a link that begins at sample `at`."""
        length = link.num_frames if link.is_exact else None
        if length is not None:
            last = min(last, length)
        position = first
        try:
            with closing(SoundFileReader(link.open(), self.name, length)) as reader:
                for block in reader.blocks(first, last - first):
                    yield self._channels(block[: last - position])
                    position += len(block)
                    self._report_lines(reader, at + position - len(block), is_first=position == len(block))
        except soundfile.LibsndfileError as error:
            reason = error.error_string or "no reason given"
            if position == first and len(self._links) == 1:  # silence would stand for all of it
                raise AudioError(
                    f"{self.name} cannot be read by libsndfile ({reason}); check that it is a sound file"
                ) from error
            self._complain(f"cannot be decoded ({reason})", at + position)
        if length is not None and position < last:
            self._complain(f"lacks {last - position} samples, for which silence stands", at + position)
            while position < last:
                count = min(1 << 16, last - position)
                yield np.zeros((count, self.num_channels), np.float32)
                position += count

    def _channels(self, block: np.ndarray) -> np.ndarray:
        if block.shape[1] == self.num_channels:
            return block
        return np.repeat(block.mean(axis=1, dtype=np.float32, keepdims=True), self.num_channels, axis=1)

    def _report_lines(self, reader: SoundFileReader, position: int, *, is_first: bool) -> None:
        """Say where libmpg123 met a frame that it could not decode.

        A run that begins in a row's midst draws on frames that are not there; that is no damage.
        """
        errors = [line for line in reader.lines if " error: " in line and not (is_first and "bit" in line)]
        reader.lines.clear()
        if errors:
            self._complain(
                f"is damaged ({len(errors)} errors of libmpg123, the first: {errors[0]})", position
            )

    def _complain(self, problem: str, position: int) -> None:
        complaint = f"at {position / self.sample_rate:.3f} s: {problem}"
        self.complaints.append(complaint)
        logger.warning("%s, %s", self.name, complaint)
