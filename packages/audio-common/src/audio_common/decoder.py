"""Opening and decoding a sound: soundfile where libsndfile can, else PyAV (`audio_common.container`).

Read block by block, so that memory is bounded by what is decoded and never by what a header says. Four
defects of soundfile 0.14 with libsndfile 1.2.2 are worked around:

- soundfile seeks after every read; in mp3 that breaks the overlap of frames and clicks at each block's edge.
- After a seek the mp3 and opus decoders need time to converge, so a seek lands `PREROLL` samples early.
- A seek into the last page of an Ogg Vorbis file is off by the samples trimmed at the end (compare
  libsndfile issue 885), so no seek goes into the last `OGG_TAIL` samples.
- The length of an mp3 without a Xing or Info header is guessed from its first frame's bit rate, and reading
  stops there (libsndfile issue 1001); PyAV reads those if it is installed.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audio_common.raw_lines import caught_lines
from audio_common.reader import BLOCK, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioError, Reader, Source

logger = logging.getLogger(__name__)

PREROLL = {"MP3": 64 * 1152, "OGG": 20_000}
"""Samples decoded and dropped before a segment: mp3's small frames draw on data of many before them."""
OGG_TAIL = 1 << 18
"""More than the samples in one Ogg page: at most 255 packets of 1,024."""
MAX_CHANNELS = 64
PLAIN = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Kinds of samples that are counted by dividing bytes."""
QUIET_FORMATS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff", b".snd")
"""First bytes of files that libmpg123 is not asked about."""
MAX_COMPLAINTS = 10
"""Kept of one file."""
UNKNOWN_FRAMES = 1 << 62
"""libsndfile gives more than this where the file does not say."""


class _SequentialFile(soundfile.SoundFile):
    """Its reads are not followed by a seek: soundfile seeks only in what says it is seekable."""

    def seekable(self) -> bool:
        return False


class SoundFileReader:
    """A sound that libsndfile can read."""

    def __init__(self, source: Path | BinaryIO, name: str) -> None:
        self.name = name
        self.complaints: list[str] = []
        # libsndfile asks libmpg123 about whatever it does not know itself.
        self._is_noisy = not _head(source, 4).startswith(QUIET_FORMATS)
        with self._caught():
            # As bytes, since a file's name need not be valid Unicode.
            self._file = _SequentialFile(os.fsencode(source) if isinstance(source, Path) else source)
        self._is_noisy = self._file.format == "MP3"
        self.sample_rate = self._file.samplerate
        self.num_channels = self._file.channels
        self.num_frames = None if self._file.frames >= UNKNOWN_FRAMES else self._file.frames
        self.duration = None if self.num_frames is None else self.num_frames / self.sample_rate
        self.format = f"{self._file.format}/{self._file.subtype}".lower()
        is_plain = self._file.format != "FLAC" and self._file.subtype.startswith(PLAIN)
        self.is_exact = is_plain and self.num_frames is not None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
        """Yield float32 blocks (samples, channels); see `audio_common.reader.Reader`."""
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
        if self.num_frames is not None and position < min(stop, self.num_frames):
            why = f" ({self.complaints[-1]})" if self.complaints else ""
            logger.warning("%s ends after %d of %d samples%s", self.name, position, self.num_frames, why)
        elif self.complaints:  # odd tags, mostly; a frame that is left out is short
            logger.debug("%s: %s", self.name, "; ".join(self.complaints))

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
            self.complaints += lines[: MAX_COMPLAINTS - len(self.complaints)]

    def _seek(self, start: int) -> int:
        position = start - PREROLL.get(self._file.format, 0)
        if self._file.format == "OGG" and self.num_frames is not None:
            position = min(position, self.num_frames - OGG_TAIL)
        if position <= 0:
            return 0
        try:
            with self._caught():
                return self._file.seek(position)
        except soundfile.LibsndfileError as error:
            raise self._damaged(start, error) from error

    def _read(self, count: int, position: int) -> np.ndarray:
        buffer = np.empty((count, self.num_channels), np.float32)
        try:
            with self._caught():
                return self._file.read(out=buffer)
        except soundfile.LibsndfileError as error:
            reached = self._file.tell()
            if self._file.format == "FLAC":
                raise self._damaged(reached, error) from error
            return buffer[: max(0, reached - position)]

    def _damaged(self, position: int, error: soundfile.LibsndfileError) -> AudioError:
        seconds = position / self.sample_rate
        return AudioError(
            f"{self.name} is damaged or cut off: it cannot be decoded from {seconds:.3f} s on "
            f"({error.error_string or 'no reason given'}); replace it, or pass a duration that ends before"
        )


def open_reader(source: Source) -> Reader:
    """Open a path, bytes or a binary file object.

    Raises:
        AudioError: there is no such file, it is no sound, or its header is not plausible.
    """
    readable, name = _readable(source)
    reader = _open(readable, name)
    rate, channels = reader.sample_rate, reader.num_channels
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        reader.close()
        allowed = f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
        raise AudioError(
            f"{name} declares a sample rate of {rate} Hz, expected {allowed}; its header is damaged"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        reader.close()
        raise AudioError(
            f"{name} declares {channels} channels, expected 1 to {MAX_CHANNELS}; its header is damaged"
        )
    return reader


def _open(source: Path | BinaryIO, name: str) -> Reader:
    try:
        reader = SoundFileReader(source, name)
    except soundfile.LibsndfileError as error:
        return _open_container(source, name, error.error_string or "no reason given")
    if reader.num_frames == 0:
        reader.close()
        return _open_container(source, name, "its header declares no samples")
    if reader.format.startswith("mp3/") and not _mp3_declares_length(source) and find_spec("av"):
        reader.close()
        return _open_container(source, name, "")
    return reader


def _open_container(source: Path | BinaryIO, name: str, problem: str) -> Reader:
    if find_spec("av") is None:
        raise AudioError(
            f"{name} cannot be read by libsndfile ({problem}); if it is m4a, mp4, webm, wma or aac, or was "
            "written by a stream that could not fill in its header, install PyAV (the extra `av`)"
        )
    from audio_common.container import ContainerReader  # 36 MB of FFmpeg, only when needed

    return ContainerReader(source, name, problem)


def _readable(source: Source) -> tuple[Path | BinaryIO, str]:
    """Return a path or seekable file object, not empty, and what to call it in a message."""
    if isinstance(source, bytes | bytearray | memoryview):
        file: BinaryIO = io.BytesIO(source)
        name = f"<{len(source)} bytes>"
    elif isinstance(source, str | os.PathLike):
        return _readable_path(Path(source)), str(source)
    else:
        file, name = _seekable(source)
    if not _head(file, 1):
        raise AudioError(f"{name} is empty (0 bytes); fetch or record it again")
    file.seek(0)
    return file, name


def _readable_path(path: Path) -> Path:
    if path.exists() and not path.is_file():
        raise AudioError(f"{path} is not a file but a directory or device; pass the path of a sound file")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise AudioError(
            f"{path} cannot be opened: {error.strerror}; check the path and its permissions"
        ) from error
    if empty:
        raise AudioError(f"{path} is empty (0 bytes); fetch or record it again")
    return path


def _seekable(source: BinaryIO) -> tuple[BinaryIO, str]:
    try:
        file = source if source.seekable() else io.BytesIO(source.read())
        start = _head(file, 0)
    except AttributeError as error:
        kind = type(source).__name__
        raise AudioError(f"expected a path, bytes or a binary file object, got {kind}") from error
    name = str(getattr(source, "name", "<file object>"))
    if not isinstance(start, bytes):
        raise AudioError(f"{name} is open as text, expected a binary file; open it with mode 'rb'")
    return file, name


def _head(source: Path | BinaryIO, count: int, offset: int = 0) -> bytes:
    """Read `count` bytes from `offset`; a file object stays in its place, from which libsndfile reads on."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _head(file, count, offset)
    position = source.tell()
    source.seek(offset)
    head = source.read(count)
    source.seek(position)
    return head


def _mp3_declares_length(source: Path | BinaryIO) -> bool:
    """Tell whether the first frame, which follows the ID3v2 tag, carries a number of frames."""
    tag = _head(source, 10)
    size = 0
    if tag[:3] == b"ID3" and len(tag) == 10:
        size = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    frame = _head(source, 1024, size)
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if place < 0:
        return b"VBRI" in frame
    flags, count = frame[place + 4 : place + 8], frame[place + 8 : place + 12]
    return bool(flags[-1:] and flags[-1] & 1 and any(count))
