"""Loading sound: any common format from a path, bytes or file object to mono float32 at one rate.

`load_audio` decodes, averages the channels (or takes one: `audio_common.channels`) and resamples with soxr's
HQ quality, block by block: memory beyond the result is bounded, and the result is the same as in one go. A
segment (`offset`, `duration`) is cut at the file's own rate and then resampled: it equals that segment
resampled alone. What is before is skipped.

What is not a clean sound file has a defined result, and none is believed about its size:

- missing, a directory, no access, empty (0 bytes), no samples: AudioError; so is what is no sound, which is
  called what it is (`audio_common.identify`);
- cut off: as far as it goes; damaged in its middle: all the rest. In flac, m4a, webm and mkv, which tell the
  time of every frame, silence stands for what is lost; in others it is left out. A warning names the file,
  the second and what is missing; but an m4a whose index, at its end, is lost raises AudioError;
- joined mp3 and chained Ogg: one part after the other; AudioError where one of another rate begins;
- a header that declares a wrong number of samples, or none, as writers leave it that cannot go back: those
  that are there (of wav and its kin, if fewer are declared, so many);
- a rate outside 1-768 kHz, or not 1 to 64 channels: AudioError;
- NaN, infinity or values beyond ±1e10: AudioError that names the first. Other values beyond ±1, which a file
  of floats may hold, are passed through.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import soxr
import torch
from torch import Tensor

from audio_common.channels import OneChannelReader
from audio_common.config import Channel
from audio_common.decoder import open_reader
from audio_common.reader import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioError, Reader, Source

__all__ = ["AudioError", "AudioInfo", "audio_info", "load_audio", "measure_audio", "stream_audio"]

MAX_OFFSET = 1e9
"""Seconds; 30 years, so that no time stamp overflows."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says (`audio_info`), or what decoding gives (`measure_audio`)."""

    sample_rate: int
    """Samples per second of the file, Hz."""
    num_channels: int
    """Channels of the file; loading makes one of them."""
    num_frames: int | None
    """Samples per channel; None where the file does not say. Believe it only if `is_exact`."""
    duration: float | None
    """Seconds; None where the file does not say; an estimate for streams without a header (.aac)."""
    format: str
    """Container and codec, such as `wav/pcm_16` or `mov/aac`."""
    is_exact: bool
    """Whether the length is what decoding gives; if not, it is an estimate, or None."""


def audio_info(source: Source) -> AudioInfo:
    """Read the rate, channels and length of a sound from its header.

    Args:
        source: path, bytes or binary file object (read from its beginning, not closed).

    Raises:
        AudioError: it cannot be read as sound.
    """
    with closing(open_reader(source)) as reader:
        return _info(reader)


def measure_audio(source: Source) -> AudioInfo:
    """Tell the rate, channels and length of a sound, always exactly.

    What the header leaves open is counted by decoding, in bounded memory: m4a, webm, aac and their like cost
    as much as loading them, everything else as much as `audio_info`.

    Args:
        source: path, bytes or binary file object (read from its beginning, not closed).

    Raises:
        AudioError: it cannot be read as sound, or holds no sample.
    """
    with closing(open_reader(source)) as reader:
        info = _info(reader)
        if info.is_exact:
            return info
        num_frames = sum(map(len, reader.blocks(0, None)))
        if not num_frames:
            raise AudioError(f"{reader.name} has no sample that can be decoded; replace it")
        return replace(info, num_frames=num_frames, duration=num_frames / info.sample_rate, is_exact=True)


def _info(reader: Reader) -> AudioInfo:
    return AudioInfo(
        reader.sample_rate,
        reader.num_channels,
        reader.num_frames,
        reader.duration,
        reader.format,
        reader.is_exact,
    )


def load_audio(
    source: Source,
    *,
    sample_rate: int = 16_000,
    offset: float = 0.0,
    duration: float | None = None,
    channel: Channel = "mean",
) -> Tensor:
    """Load a sound, or a segment of one, as mono float32 of shape (samples,), never empty.

    Args:
        source: path, bytes or binary file object (read from its beginning, not closed).
        sample_rate: rate of the result, Hz.
        offset: where the segment starts, seconds; rounded to the file's nearest sample.
        duration: length of the segment, seconds (None: to the end); less where the file ends before.
        channel: "mean" averages the channels, but takes the loudest, with a warning, where they cancel each
            other; "first" and "loudest" take one. The file's beginning decides, whatever the segment.

    A segment starts at the exact sample in every format. Its values are those of the whole file's samples
    exactly, but in mp3 within 1e-6, in webm's opus within 1e-3, and in m4a's aac except for bands that the
    encoder left to the decoder's random numbers.

    Raises:
        AudioError: see the list above; or the segment lies beyond the end, or an argument is impossible.
    """
    _check(sample_rate, offset, duration)
    blocks = decoded_blocks(OneChannelReader(source, channel), sample_rate, offset, duration)
    return torch.from_numpy(np.concatenate(list(blocks)))


def stream_audio(
    source: Source,
    *,
    sample_rate: int = 16_000,
    block_seconds: float = 30.0,
    offset: float = 0.0,
    duration: float | None = None,
    channel: Channel = "mean",
) -> Iterator[Tensor]:
    """Yield the samples of `load_audio` in consecutive blocks of `block_seconds`; the last may be shorter.

    Raises:
        AudioError: as `load_audio`, but damage is found only when the blocks before it have been given.
    """
    _check(sample_rate, offset, duration)
    length = round(block_seconds * sample_rate) if math.isfinite(block_seconds) else 0
    if length < 1:
        raise AudioError(f"block_seconds must be at least one sample long and finite, got {block_seconds}")
    return _regrouped(
        decoded_blocks(OneChannelReader(source, channel), sample_rate, offset, duration), length
    )


def _regrouped(blocks: Iterator[np.ndarray], length: int) -> Iterator[Tensor]:
    pending: list[np.ndarray] = []
    num_pending = 0
    for block in blocks:
        while num_pending + len(block) >= length:
            cut = length - num_pending
            yield torch.from_numpy(np.concatenate([*pending, block[:cut]]))
            block, pending, num_pending = block[cut:], [], 0
        if len(block):
            pending.append(block)
            num_pending += len(block)
    if pending:
        yield torch.from_numpy(np.concatenate(pending))


def _check(sample_rate: float, offset: float = 0.0, duration: float | None = None) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"sample_rate must be {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, got {sample_rate}")
    if not 0 <= offset <= MAX_OFFSET:
        raise AudioError(f"offset must be from 0 to {MAX_OFFSET:g} s, got {offset} s")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise AudioError(f"duration must be finite and positive, got {duration} s; None reads to the end")


def decoded_blocks(
    sound: OneChannelReader, sample_rate: int, offset: float = 0.0, duration: float | None = None
) -> Iterator[np.ndarray]:
    """Yield a segment of an open sound at `sample_rate`, and close it; see `load_audio`.

    Raises:
        AudioError: it cannot be decoded, or there is no sample.
    """
    with closing(sound):
        rate = sound.reader.sample_rate
        start = round(offset * rate)
        count = None if duration is None else max(1, round(duration * rate))
        num_samples = 0
        for block in resampled(sound.blocks(start, count), rate, sample_rate):
            num_samples += len(block)
            yield block
        if not num_samples:
            reader = sound.reader
            declared = "an unknown length" if reader.duration is None else f"{reader.duration:.3f} s"
            why = f" ({reader.complaints[-1]})" if reader.complaints else ""
            wanted = "to the end" if duration is None else f"for {duration} s"
            raise AudioError(
                f"{reader.name}, which declares {declared}, has no sample at {sample_rate} Hz "
                f"from {offset} s {wanted}; choose a segment of at least one sample before its end, or "
                f"replace a damaged file{why}"
            )


def resampled(blocks: Iterator[np.ndarray], from_rate: float, to_rate: float) -> Iterator[np.ndarray]:
    """Resample consecutive blocks (samples,) float32 as in one go."""
    if from_rate == to_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(from_rate, to_rate, num_channels=1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, np.float32), last=True)
