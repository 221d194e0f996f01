"""Loading sound: any common format from a path, bytes or file object to mono float32 at one rate.

`load_audio` decodes, averages the channels (or takes one: `audio_common.channels`) and resamples with soxr's
HQ quality, block by block: memory beyond the result is bounded, and the result is the same as in one go. A
segment (`offset`, `duration`) is cut at the file's own rate and then resampled: it equals that segment
resampled alone. What is before is skipped.

What is not a clean sound file has a defined result, and none is believed about its size:

- missing, no file (a directory, a pipe, a device), no access, a name that no file can have, empty (0 bytes),
  no samples: AudioError; so is what is no sound, which is called what it is (`audio_common.identify`);
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

import numpy as np
import torch
from torch import Tensor

from audio_common.channels import OneChannelReader
from audio_common.config import Channel
from audio_common.decoding import check_segment, decoded_blocks
from audio_common.info import AudioInfo, audio_info, measure_audio
from audio_common.reader import AudioError, Source

__all__ = ["AudioError", "AudioInfo", "audio_info", "load_audio", "measure_audio", "stream_audio"]


def load_audio(
    source: Source,
    *,
    sample_rate: int = 16_000,
    offset: float = 0.0,
    duration: float | None = None,
    channel: Channel = "mean",
    max_seconds: float | None = None,
    complaints: list[str] | None = None,
) -> Tensor:
    """Load a sound, or a segment of one, as mono float32 of shape (samples,), never empty.

    Args:
        source: path, bytes or binary file object (read from its beginning, not closed).
        sample_rate: rate of the result, Hz.
        offset: where the segment starts, seconds; rounded to the file's nearest sample.
        duration: length of the segment, seconds (None: to the end); less where the file ends before. No more
            than that is decoded.
        channel: "mean" averages the channels, but takes the loudest, with a warning, where they cancel each
            other; "first" and "loudest" take one. The file's beginning decides, whatever the segment.
        max_seconds: a result longer than this is an AudioError; it is found without decoding more.
        complaints: gets what is odd about a sound that is used nevertheless, in words: what is damaged, left
            out or cut off and where, channels that cancel each other. The log's warnings say the same.

    A segment starts at the exact sample in every format. Its values are those of the whole file's samples
    exactly, but in mp3 within 1e-6, in webm's opus within 1e-3, and in m4a's aac except for bands that the
    encoder left to the decoder's random numbers.

    Raises:
        AudioError: see the list above; or the segment lies beyond the end, or an argument is impossible.
    """
    check_segment(sample_rate, offset, duration, max_seconds)
    sound = OneChannelReader(source, channel)
    blocks = list(decoded_blocks(sound, sample_rate, offset, duration, max_seconds))
    if complaints is not None:
        complaints += sound.complaints
    return torch.from_numpy(np.concatenate(blocks))


def stream_audio(
    source: Source,
    *,
    sample_rate: int = 16_000,
    block_seconds: float = 30.0,
    offset: float = 0.0,
    duration: float | None = None,
    channel: Channel = "mean",
    max_seconds: float | None = None,
    complaints: list[str] | None = None,
) -> Iterator[Tensor]:
    """Yield the samples of `load_audio` in consecutive blocks of `block_seconds`; the last may be shorter.

    Complaints are there when the last block has been given.

    Raises:
        AudioError: as `load_audio`, but damage is found only when the blocks before it have been given.
    """
    check_segment(sample_rate, offset, duration, max_seconds)
    length = block_length(block_seconds, sample_rate)
    sound = OneChannelReader(source, channel)
    return _streamed(
        sound, decoded_blocks(sound, sample_rate, offset, duration, max_seconds), length, complaints
    )


def _streamed(
    sound: OneChannelReader, blocks: Iterator[np.ndarray], length: int, complaints: list[str] | None
) -> Iterator[Tensor]:
    for block in regrouped(blocks, length):
        yield torch.from_numpy(block)
    if complaints is not None:
        complaints += sound.complaints


def block_length(block_seconds: float, sample_rate: int) -> int:
    """Return the samples of a block.

    Raises:
        AudioError: they are none, or without end.
    """
    length = round(block_seconds * sample_rate) if math.isfinite(block_seconds) else 0
    if length < 1:
        raise AudioError(f"block_seconds must be at least one sample long and finite, got {block_seconds}")
    return length


def regrouped(blocks: Iterator[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Cut consecutive blocks (samples,) anew, all but the last of this length."""
    pending: list[np.ndarray] = []
    num_pending = 0
    for block in blocks:
        while num_pending + len(block) >= length:
            cut = length - num_pending
            yield np.concatenate([*pending, block[:cut]])
            block, pending, num_pending = block[cut:], [], 0
        if len(block):
            pending.append(block)
            num_pending += len(block)
    if pending:
        yield np.concatenate(pending)
