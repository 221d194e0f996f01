"""Decoding by libsndfile, block by block.

Memory is bounded by what is decoded and never by what a header says. Defects of soundfile 0.14 with
libsndfile 1.2.2 are worked around here:

- soundfile seeks after every read; in mp3 that breaks the overlap of frames and clicks at each block's edge.
- After a seek the mp3 and opus decoders need time to converge, so a seek lands `PREROLL` samples early.
- A seek into the last page of an Ogg Vorbis file is off by the samples trimmed at the end (compare
  libsndfile issue 885), so no seek goes into the last `OGG_TAIL` samples.
- Some files cannot be sought (gsm, say): they are decoded from their beginning.
- Ogg Opus with an unusual pre-skip begins elsewhere unless there is a seek to its beginning.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audio_common.headers import promised_share
from audio_common.pieces import read_at
from audio_common.raw_lines import QuietFile, caught_lines
from audio_common.reader import BLOCK

logger = logging.getLogger(__name__)

PREROLL = {"MP3": 64 * 1152, "OGG": 20_000}
"""Samples decoded and dropped before a segment: mp3's small frames draw on data of many before them."""
OGG_TAIL = 1 << 18
"""More than the samples in one Ogg page: at most 255 packets of 1,024."""
COUNTED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU")
PLAIN = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Formats and kinds of samples that libsndfile counts by dividing the bytes that are there."""
QUIET_FORMATS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff", b".snd")
"""First bytes of files that libmpg123 is not asked about."""
MAX_LINES = 10
"""Kept of one file."""
UNKNOWN_FRAMES = 1 << 62
"""libsndfile gives more than this where the file does not say."""


class _SequentialFile(soundfile.SoundFile):
    """Its reads are not followed by a seek: soundfile seeks only in what says it is seekable."""

    def seekable(self) -> bool:
        return False


class SoundFileReader:
    """A sound that libsndfile can read.

    Args:
        source: a path, or a file object that stands at its beginning.
        name: of the file, for messages.
        num_frames: samples per channel, where that is known better than by the header.
        raises: whether `blocks` raises libsndfile's errors; else the sound ends where one comes.
    """

    def __init__(
        self, source: Path | BinaryIO, name: str, num_frames: int | None = None, *, raises: bool = False
    ) -> None:
        self.name = name
        self.complaints: list[str] = []
        self.lines: list[str] = []
        """What libmpg123 said: on odd tags, mostly."""
        # libsndfile asks libmpg123 about whatever it does not know itself.
        self._is_noisy = not read_at(source, 0, 4).startswith(QUIET_FORMATS)
        self._source = source
        self._opened: BinaryIO | None = None
        self._file = self._open()
        self._is_noisy = self._file.format == "MP3"
        self.sample_rate = self._file.samplerate
        self.num_channels = self._file.channels
        declared = None if self._file.frames >= UNKNOWN_FRAMES else self._file.frames
        self._raises = raises
        self._is_sure = num_frames is not None
        self.num_frames = declared if num_frames is None else num_frames
        self.duration = None if self.num_frames is None else self.num_frames / self.sample_rate
        self.format = f"{self._file.format}/{self._file.subtype}".lower()
        is_counted = self._file.format in COUNTED and self._file.subtype.startswith(PLAIN)
        self.is_exact = self._is_sure or (is_counted and declared is not None)
        share = None if self._is_sure or self.num_frames is None else promised_share(source)
        self._promised = None if share is None else round(share * (self.num_frames or 0))

    def _open(self) -> _SequentialFile:
        source = self._source
        if isinstance(source, Path):
            # soundfile takes `.raw` for a wish to read samples without a header, and asks for their rate.
            if not self._is_noisy and source.suffix.lower() != ".raw":
                # As bytes, since a file's name need not be valid Unicode.
                return _SequentialFile(os.fsencode(source))
            # By its path, an mp3 beside which macOS has left metadata (`._NAME`) would be taken for an SD2.
            source = self._opened = source.open("rb")
        try:
            with self._caught():
                return _SequentialFile(QuietFile(source, self.lines))
        except soundfile.LibsndfileError:
            self._close_opened()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._close_opened()

    def _close_opened(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
        """Yield float32 blocks (samples, channels); see `audio_common.reader.Reader`.

        Raises:
            LibsndfileError: it cannot be decoded from here on, if `raises`.
        """
        if self.num_frames is not None and start >= self.num_frames:
            return
        position = self._seek(start)
        stop = sys.maxsize if count is None else start + count
        while position < stop:
            block = self._read(min(BLOCK, stop - position), position)
            if not len(block):
                break
            skipped = max(0, start - position)
            position += len(block)
            if skipped < len(block):
                yield block[skipped:]
        expected = self._promised or self.num_frames
        if not self._is_sure and expected is not None and position < min(stop, expected):
            self.complaints.append(f"ends after {position} of {expected} samples{self.reason}")
            logger.warning("%s %s", self.name, self.complaints[-1])
        elif self.lines:
            logger.debug("%s: %s", self.name, "; ".join(self.lines))

    @property
    def reason(self) -> str:
        """The library's last words in brackets, if it said any."""
        return f" ({self.lines[-1]})" if self.lines else ""

    @contextmanager
    def _caught(self) -> Iterator[None]:
        """Keep what libmpg123 says instead of letting it print."""
        if not self._is_noisy:
            yield
            return
        lines: list[str] = []
        try:
            with caught_lines() as lines:
                yield
        finally:
            self.lines += lines[: MAX_LINES - len(self.lines)]

    def _seek(self, start: int) -> int:
        position = start - PREROLL.get(self._file.format, 0)
        if self._file.format == "OGG" and self.num_frames is not None:
            position = min(position, self.num_frames - OGG_TAIL)
        position = max(0, position)
        if position == 0 and self._file.subtype != "OPUS":
            return 0
        try:
            with self._caught():
                return self._file.seek(position)
        except soundfile.LibsndfileError:
            if self._raises:
                raise
        self.close()
        if not isinstance(self._source, Path):
            self._source.seek(0)
        self._file = self._open()
        return 0

    def _read(self, count: int, position: int) -> np.ndarray:
        buffer = np.empty((count, self.num_channels), np.float32)
        try:
            with self._caught():
                return self._file.read(out=buffer)
        except soundfile.LibsndfileError:
            if self._raises:
                raise
            return buffer[: max(0, self._file.tell() - position)]
