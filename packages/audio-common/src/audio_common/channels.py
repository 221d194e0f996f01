"""One waveform of a sound's channels: their average, the first or the loudest.

Channels that cancel each other (a plug wired the wrong way round gives the second as the first turned upside
down) would leave nearly nothing of their average: there the loudest is taken, with one warning a file.

Whether they do, and which is the loudest, is judged by the first `JUDGED_SECONDS` of the file, whatever part
of it is asked for, so that every way of reading it gives the same samples. Reading from the beginning judges
what is decoded anyway; for a part the beginning is decoded once, and what was found is remembered of paths
until the file changes. Where the beginning is silent, up to `SEARCHED` such stretches are looked at.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from audio_common.config import CHANNELS, Channel
from audio_common.decoder import open_reader
from audio_common.reader import AudioError, Source, name_of, reported

logger = logging.getLogger(__name__)

LARGEST = 1e10
"""Largest plausible magnitude; integer samples stored as floats reach 2^31."""
JUDGED_SECONDS = 10.0
JUDGED_VALUES = 1 << 22
"""The most values, of all channels together, that a stretch holds: memory for 64 channels at 768 kHz."""
SEARCHED = 12
QUIET = 1e-8
"""Power of a stretch after which another one is looked at: 80 dB below full scale."""
CANCELLED = 0.01
"""An average with less than this part of the loudest channel's power, 20 dB below it, is nearly nothing."""
LARGEST_STREAM = 1 << 30
"""Bytes of a file object that cannot go back, all of which are held in memory."""
REMEMBERED = 100_000
"""Files whose verdict is kept."""
CANCELLING = (
    "averaged, its %d channels cancel each other; channel %d, the loudest, is taken instead (choose "
    "channel 'first' or 'loudest' to average none)"
)
"""Filled in with the number of channels, and that of the loudest, from 1."""


@dataclass(frozen=True)
class Verdict:
    """What a sound's beginning says about its channels."""

    loudest: int
    """Number of the channel with the most power; the first of those that are equal within 0.1 %."""
    cancels: bool
    """Whether nearly nothing is left of the channels' average."""

    def chosen(self, channel: Channel) -> int | None:
        """Return the number of the channel to take, or None for their average."""
        if channel == "first":
            return 0
        return self.loudest if channel == "loudest" or self.cancels else None


def check_channel(channel: str) -> None:
    """Raise AudioError for a choice that there is not."""
    if channel not in CHANNELS:
        raise AudioError(f"channel must be {', '.join(CHANNELS[:-1])} or {CHANNELS[-1]}, got {channel!r}")


def stretch_length(sample_rate: float, num_channels: int) -> int:
    """Return the samples per channel of a stretch that is judged."""
    return min(round(JUDGED_SECONDS * sample_rate), JUDGED_VALUES // num_channels)


class _Stretch:
    """Sums over a stretch's first `length` samples that tell the power of its channels and their average.

    An offset common to all samples of a channel is no sound and is left out.
    """

    def __init__(self, num_channels: int, length: int) -> None:
        self.num_left = length
        self._count = 0
        self._sums = np.zeros(num_channels)
        self._products = np.zeros((num_channels, num_channels))

    def add(self, block: np.ndarray) -> None:
        """Take the next samples (samples, channels) in."""
        with np.errstate(all="ignore"):  # NaN and infinity are refused when they are read
            values = block[: self.num_left]
            self.num_left -= len(values)
            self._count += len(values)
            # As a product, since numpy is 100 times slower at adding up narrow rows.
            self._sums += np.ones(len(values), np.float32) @ values
            self._products += values.T @ values

    def verdict(self) -> Verdict:
        """Judge it; silence is averaged."""
        covariance = self._covariance()
        powers, average = covariance.diagonal(), covariance.mean()
        if not powers.max() > 0:
            return Verdict(0, False)
        # A channel alone among many is quiet in their average, too; but it is not cancelled.
        cancels = average < CANCELLED * powers.max() and average < powers.sum() / len(powers) ** 2
        return Verdict(int(np.argmax(powers >= 0.999 * powers.max())), bool(cancels))

    @property
    def is_quiet(self) -> bool:
        """Whether a later stretch would tell more."""
        return not self._covariance().diagonal().max() > QUIET

    def _covariance(self) -> np.ndarray:
        count = max(1, self._count)
        with np.errstate(all="ignore"):
            return self._products / count - np.outer(self._sums, self._sums) / count**2


def judge(samples: np.ndarray, sample_rate: float) -> Verdict:
    """Judge a whole sound (samples, channels) by its beginning, as files are."""
    length = stretch_length(sample_rate, samples.shape[1])
    stretches = []
    for start in range(0, min(len(samples), SEARCHED * length), length):
        stretches.append(_Stretch(samples.shape[1], length))
        stretches[-1].add(samples[start : start + length])
        if not stretches[-1].is_quiet:
            break
    return _deciding(stretches).verdict()


def _deciding(stretches: Sequence[_Stretch]) -> _Stretch:
    """Return the last of consecutive stretches, which has sound, or else the first."""
    return stretches[0] if stretches[-1].is_quiet else stretches[-1]


def taken(block: np.ndarray, index: int | None) -> np.ndarray:
    """Take one channel of (samples, channels), or their average, as (samples,) of its own memory."""
    num_channels = block.shape[1]
    if index is not None or num_channels == 1:
        return block[:, index or 0].copy()
    mono = block[:, 0] + block[:, 1]
    for channel in range(2, num_channels):
        mono += block[:, channel]
    return mono / np.float32(num_channels)


class OneChannelReader:
    """An open sound of which one waveform is read.

    Args:
        source: as `load_audio` takes it.
        channel: which.
        asks: the caller asks for the verdict, even where the choice does not depend on it, and tells of it.
    """

    def __init__(self, source: Source, channel: Channel = "mean", *, asks: bool = False) -> None:
        check_channel(channel)
        self._source = _rereadable(source)
        self._channel = channel
        self._asks = asks
        self.reader = open_reader(self._source)
        self.verdict = Verdict(0, False)
        """Of the beginning, once the first block is read."""
        self._length = stretch_length(self.reader.sample_rate, self.reader.num_channels)

    def close(self) -> None:
        """Close what was opened here."""
        self.reader.close()

    @property
    def complaints(self) -> list[str]:
        """What is odd about the sound, in words; complete after `blocks`."""
        if not (self.verdict.cancels and self._channel == "mean"):
            return list(self.reader.complaints)
        averaged = CANCELLING % (self.reader.num_channels, self.verdict.loudest + 1)
        return [averaged, *self.reader.complaints]

    def blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
        """Yield `count` samples (None: all) from `start` as float32 (samples,); once per reader.

        Raises:
            AudioError: a sample is no finite, plausible value, or decoding fails.
        """
        position = start
        with reported(self.reader.name):
            for block in self._judged_blocks(start, count):
                # The maximum of values with a NaN is NaN, so one comparison finds all three faults.
                if not max(block.max(), -block.min()) <= LARGEST:
                    refuse_values(block, self.reader.name, self.reader.sample_rate, position)
                position += len(block)
                yield taken(block, self.verdict.chosen(self._channel))

    def _judged_blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
        if self.reader.num_channels == 1 or (self._channel == "first" and not self._asks):
            return self.reader.blocks(start, count)
        known = _memory.get(self._source)
        if known is None and start == 0:
            return self._judged_on_the_way(count)
        self._settle(known or self._judged_apart())
        return self.reader.blocks(start, count)

    def _judged_on_the_way(self, count: int | None) -> Iterator[np.ndarray]:
        """Hold the beginning back until it is judged: nothing is decoded twice unless it is silent."""
        blocks = self.reader.blocks(0, None if count is None else max(count, self._length))
        held: list[np.ndarray] = []
        stretch, error = self._read_stretch(blocks, held)
        if error or (stretch.is_quiet and not stretch.num_left):
            # The error may lie beyond what is asked for; after silence there may be sound.
            held.clear()
            self._open_anew()
            self._settle(self._judged_apart())
            yield from self.reader.blocks(0, count)
            return
        self._settle(stretch.verdict())
        yield from _first(chain(_released(held), blocks), count)

    def _judged_apart(self) -> Verdict:
        """Decode the beginning up to a stretch with sound, and open the file anew."""
        blocks = self.reader.blocks(0, SEARCHED * self._length)
        stretches = []
        for _ in range(SEARCHED):
            stretch, error = self._read_stretch(blocks)
            stretches.append(stretch)
            if error or stretch.num_left or not stretch.is_quiet:
                break
        self._open_anew()
        return _deciding(stretches).verdict()

    def _open_anew(self) -> None:
        self.reader.close()
        self.reader = open_reader(self._source)

    def _read_stretch(
        self, blocks: Iterator[np.ndarray], held: list[np.ndarray] | None = None
    ) -> tuple[_Stretch, AudioError | None]:
        """Read the next stretch, keep its blocks if asked to, and say what ended it before its length."""
        stretch = _Stretch(self.reader.num_channels, self._length)
        try:
            while stretch.num_left and (block := next(blocks, None)) is not None:
                stretch.add(block)
                if held is not None:
                    held.append(block)
        except AudioError as error:
            return stretch, error
        return stretch, None

    def _settle(self, verdict: Verdict) -> None:
        self.verdict = verdict
        _memory.add(self._source, verdict)
        if verdict.cancels and self._channel == "mean" and not self._asks and _memory.warns(self._source):
            averaged = CANCELLING % (self.reader.num_channels, verdict.loudest + 1)
            logger.warning("%s: %s", self.reader.name, averaged)


def refuse_values(block: np.ndarray, name: str, sample_rate: float, position: int = 0) -> None:
    """Raise AudioError that names the first of the implausible values that (samples, channels) holds."""
    faults = ~(np.abs(block) <= LARGEST)
    index = int(np.argmax(faults.any(axis=1)))
    value = block[index][faults[index]][0]
    number = position + index
    raise AudioError(
        f"{name} holds {value} at sample {number} ({number / sample_rate:.3f} s), expected "
        f"finite values within ±{LARGEST:g}; repair or replace it"
    )


def _released(held: list[np.ndarray]) -> Iterator[np.ndarray]:
    while held:
        yield held.pop(0)


def _first(blocks: Iterator[np.ndarray], count: int | None) -> Iterator[np.ndarray]:
    """Yield the first `count` samples (None: all) of blocks."""
    num_left = sys.maxsize if count is None else count
    for block in blocks:
        yield block[:num_left]
        num_left -= len(block)
        if num_left <= 0:
            return


class _NamedBytes(io.BytesIO):
    name = "<file object>"


def _rereadable(source: Source) -> Source:
    """Read a pipe into memory, since it can be read once only."""
    if isinstance(source, str | bytes | bytearray | memoryview | os.PathLike):
        return source
    name = name_of(source)
    with reported(name):
        is_seekable = getattr(source, "seekable", None)
        if is_seekable is None or is_seekable():
            return source
        content = source.read(LARGEST_STREAM + 1)
    if not isinstance(content, bytes):
        raise AudioError(f"{name} is open as text, expected a binary file; open it with mode 'rb'")
    if len(content) > LARGEST_STREAM:
        raise AudioError(
            f"{name} is a stream of more than {LARGEST_STREAM >> 20} MiB, which would be held in memory; "
            "write it to a file and pass that"
        )
    copy = _NamedBytes(content)
    copy.name = name
    return copy


class _Memory:
    """Verdicts of files, known by path, size and time of last change, and which of them were warned of."""

    def __init__(self) -> None:
        self._verdicts: dict[tuple[str, int, int], Verdict] = {}
        self._warned: set[tuple[str, int, int]] = set()
        self._lock = threading.Lock()

    def get(self, source: Source) -> Verdict | None:
        """Return what is known of a path that has not changed since."""
        key = self._key(source)
        return None if key is None else self._verdicts.get(key)

    def add(self, source: Source, verdict: Verdict) -> None:
        """Remember the verdict on a path."""
        key = self._key(source)
        if key is None:
            return
        with self._lock:
            if len(self._verdicts) >= REMEMBERED:
                self._verdicts.clear()
            self._verdicts[key] = verdict

    def warns(self, source: Source) -> bool:
        """Tell whether this is the first warning of a source."""
        key = self._key(source)
        if key is None:
            return True
        with self._lock:
            is_first = key not in self._warned
            self._warned.add(key)
        return is_first

    def _key(self, source: Source) -> tuple[str, int, int] | None:
        if not isinstance(source, str | os.PathLike):
            return None
        try:
            status = os.stat(source)
        except (OSError, ValueError):
            return None
        return os.path.abspath(os.fsdecode(source)), status.st_size, status.st_mtime_ns


_memory = _Memory()
