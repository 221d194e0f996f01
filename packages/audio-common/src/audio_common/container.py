"""Sounds that libsndfile cannot read (m4a, mp4, webm, wma, aac, ...), by PyAV; imported only for those.

Positions are counted in decoded samples. A seek leaves a time stamp, which webm rounds to a millisecond; but
a codec's frames are mostly of one size, so that the exact position is the multiple of it nearest to the time
stamp. Where frames differ in size, or the file has no index, it is decoded from its beginning.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from audio_common.reader import BLOCK, AudioError

logger = logging.getLogger(__name__)

FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,gsm,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,"
    "mpeg,mpegts,ogg,oma,qcp,rm,shn,tak,tta,voc,w64,wav,wv,xwma"
)
"""Containers that hold their sound themselves. FFmpeg's playlists (hls, concat, dash) are not among them:
such a file could make it open other files and addresses."""
INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers in which a seek finds its place without a scan."""
PREROLL_SECONDS = 0.5
"""Decoded and dropped after a seek: opus and aac need it to converge."""
SLACK_SECONDS = 0.25
"""By which a container may declare more than there is: its video may be longer."""
FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}
"""FFmpeg's sample formats and what stands for 1.0 in them."""


class ContainerReader:
    """The first audio stream of a container, decoded by FFmpeg.

    Where packets are damaged or missing, silence stands for them if the container tells every packet's time
    (`INDEXED`); else they are left out. AAC's padding at the end (less than a frame) is kept.
    """

    def __init__(self, source: Path | BinaryIO, name: str, problem: str = "") -> None:
        self.name = name
        self.complaints: list[str] = []
        self.is_exact = False  # what encoders put before and after the sound is not all declared
        self._owned = isinstance(source, Path)
        self._file: BinaryIO = source.open("rb") if isinstance(source, Path) else source
        self._problem = f"libsndfile: {problem}; FFmpeg: " if problem else "FFmpeg: "
        self._num_damaged = 0
        try:
            with self._reported():
                self._begin()
        except AudioError:
            self.close()
            raise

    def _begin(self) -> None:
        """Open the container and decode the first frame: the header of HE-AAC states half the rate."""
        self._file.seek(0)
        options = {"format_whitelist": FORMATS}
        self._container = av.open(self._file, "r", options=options, metadata_errors="replace")
        if not self._container.streams.audio:
            raise AudioError(f"{self.name} has no audio stream; pass a file with sound")
        self._stream = self._container.streams.audio[0]
        self._time_base = float(self._stream.time_base or 0)
        self._frames = self._decode()
        self._first = next(self._frames, None)
        if self._first is None:
            raise AudioError(
                f"{self.name} has no sample that can be decoded; it is empty or damaged, replace it"
            )
        self.sample_rate = self._first.sample_rate
        self.num_channels = self._first.layout.nb_channels
        kind = self._container.format.name.split(",")[0]
        self.format = f"{kind}/{self._stream.codec_context.name}"
        self.num_frames, self.duration = self._declared_length()

    def _declared_length(self) -> tuple[int | None, float | None]:
        if self._stream.duration is None or self._container.format.name not in INDEXED:
            estimate = self._container.duration  # in microseconds
            return None, None if estimate is None else estimate / av.time_base
        duration = self._stream.duration * self._time_base
        return round(duration * self.sample_rate), duration

    def close(self) -> None:
        """Close the container, and the file if it was opened here."""
        if "_container" in vars(self):
            self._container.close()
        if self._owned:
            self._file.close()

    def blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
        """Yield float32 blocks (samples, channels); see `audio_common.reader.Reader`."""
        with self._reported():
            position, frames = self._seek(start)
            stop = sys.maxsize if count is None else start + count
            yield from _joined(self._cut(self._filled(frames, position, count), position, start, stop))
        if self._num_damaged:
            self._complain(f"{self._num_damaged} packets could not be decoded", 0)

    def _filled(
        self, frames: Iterator[av.AudioFrame], position: int, count: int | None
    ) -> Iterator[av.AudioFrame]:
        """Put silent frames where time stamps tell that some are missing."""
        end, length = None, 0  # of the frame before: where it ends by time stamps, and its samples
        tolerance = 2 * self._time_base * self.sample_rate + 1
        longest = (self.duration or 0) * self.sample_rate + self.sample_rate
        for frame in frames:
            stamped = None if frame.pts is None else self._stamped(frame)
            gap = 0 if stamped is None or end is None else stamped - end
            length = max(length, frame.samples)
            num_missing = round(gap / length) if length and gap > tolerance else 0
            if num_missing and stamped is not None:
                is_filled = self._container.format.name in INDEXED and stamped < longest
                what = "for which silence stands" if is_filled else "and are left out"
                self._complain(f"{num_missing * length} samples are missing, {what}", position)
                if is_filled:
                    yield from repeat(_silent(frame, length), num_missing)
                    position += num_missing * length
            yield frame
            position += frame.samples
            length = frame.samples
            end = None if stamped is None else stamped + length
        if count is None and self._container.format.name in INDEXED:
            declared = round((self.duration or 0) * self.sample_rate)
            if position < declared - SLACK_SECONDS * self.sample_rate:
                self._complain(f"ends after {position} of {declared} samples", position)

    def _complain(self, problem: str, position: int) -> None:
        complaint = f"at {position / self.sample_rate:.3f} s: {problem}" if position else problem
        self.complaints.append(complaint)
        logger.warning("%s, %s", self.name, complaint)

    def _stamped(self, frame: av.AudioFrame) -> float:
        """The number of a frame's first sample by its time stamp."""
        return float((frame.pts or 0) - (self._stream.start_time or 0)) * self._time_base * self.sample_rate

    def _cut(
        self, frames: Iterator[av.AudioFrame], position: int, start: int, stop: int
    ) -> Iterator[np.ndarray]:
        """Cut the samples from `start` to `stop` of frames whose first sample is number `position`."""
        for frame in frames:
            if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate, self.num_channels):
                changed = f"from {self.sample_rate} Hz x {self.num_channels} to {frame.sample_rate} Hz"
                raise AudioError(
                    f"{self.name} changes {changed} x {frame.layout.nb_channels} in its middle; split it"
                )
            block = _samples(frame)[max(0, start - position) : stop - position]
            position += frame.samples
            if len(block):
                yield block
            if position >= stop:
                return

    def _seek(self, start: int) -> tuple[int, Iterator[av.AudioFrame]]:
        """Find frames that begin at or before sample `start`, and the number of their first sample."""
        assert self._first is not None
        second = next(self._frames, None)
        head = [self._first] if second is None else [self._first, second]
        target = start - PREROLL_SECONDS * self.sample_rate
        if second is None or target <= 0 or self._container.format.name not in INDEXED:
            return 0, chain(head, self._frames)
        time_stamp = int(target / self.sample_rate / self._time_base) + (self._stream.start_time or 0)
        self._container.seek(time_stamp, stream=self._stream)
        frames = self._decode()
        found = next(frames, None)
        position = None if found is None else self._position(found, self._first.samples, second.samples)
        if found is None or position is None or position > start:
            self._begin()
            assert self._first is not None
            return 0, chain([self._first], self._frames)
        return position, chain([found], frames)

    def _position(self, frame: av.AudioFrame, first: int, length: int) -> int | None:
        """The number of a frame's first sample if frames have `length` samples, but the first one `first`."""
        if frame.pts is None or frame.samples != length:
            return None
        stamped = self._stamped(frame)
        position = first + length * round((stamped - first) / length)
        tolerance = self._time_base * self.sample_rate + 1
        return position if abs(position - stamped) <= tolerance else None

    def _decode(self) -> Iterator[av.AudioFrame]:
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    self._num_damaged += 1
                    continue
                yield from frames
        except av.FFmpegError as error:
            self._num_damaged += 1
            logger.debug("%s: %s", self.name, error)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """FFmpeg's errors are of a dozen builtin kinds; callers see one."""
        try:
            yield
        except AudioError:
            raise
        except (av.FFmpegError, OSError, ValueError, EOFError, LookupError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"{self.name} cannot be read ({self._problem}{reason}); check that it is a sound file"
            raise AudioError(message) from error


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """(samples, channels) float32."""
    kind = frame.format.name.removesuffix("p")
    if kind not in FULL_SCALE:
        raise ValueError(f"samples of kind {kind}, expected one of {', '.join(FULL_SCALE)}")
    array = frame.to_ndarray()
    channels = frame.layout.nb_channels
    array = array.T if frame.format.is_planar else array.reshape(-1, channels)
    samples = array.astype(np.float32)
    if kind == "u8":
        samples -= 128
    return samples if FULL_SCALE[kind] == 1 else samples / np.float32(FULL_SCALE[kind])


def _silent(like: av.AudioFrame, num_samples: int) -> av.AudioFrame:
    frame = av.AudioFrame(like.format.name, like.layout.name, num_samples)
    for plane in frame.planes:
        plane.update(
            bytes(plane.buffer_size) if like.format.name[:2] != "u8" else b"\x80" * plane.buffer_size
        )
    frame.sample_rate = like.sample_rate
    return frame


def _joined(pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Join the samples to blocks of about `BLOCK`: a call of the resampler for each frame is slow."""
    pending: list[np.ndarray] = []
    for piece in pieces:
        pending.append(piece)
        if sum(map(len, pending)) >= BLOCK:
            yield np.concatenate(pending)
            pending = []
    if pending:
        yield np.concatenate(pending)
