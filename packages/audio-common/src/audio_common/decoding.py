"""A segment of an open sound at one rate, block by block, in numpy: a process that decodes loads no torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import soxr

from audio_common.channels import OneChannelReader
from audio_common.reader import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioError

MAX_OFFSET = 1e9
"""Seconds; 30 years, so that no time stamp overflows."""


def check_segment(
    sample_rate: float,
    offset: float = 0.0,
    duration: float | None = None,
    max_seconds: float | None = None,
) -> None:
    """Raise AudioError for a rate or a segment that no sound can have."""
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"sample_rate must be {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, got {sample_rate}")
    if not 0 <= offset <= MAX_OFFSET:
        raise AudioError(f"offset must be from 0 to {MAX_OFFSET:g} s, got {offset} s")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise AudioError(f"duration must be finite and positive, got {duration} s; None reads to the end")
    if max_seconds is not None and not max_seconds > 0:
        raise AudioError(f"max_seconds must be above 0, got {max_seconds} s; None allows any length")


def decoded_blocks(
    sound: OneChannelReader,
    sample_rate: int,
    offset: float = 0.0,
    duration: float | None = None,
    max_seconds: float | None = None,
) -> Iterator[np.ndarray]:
    """Yield a segment of an open sound at `sample_rate`, and close it; see `load_audio`.

    Raises:
        AudioError: it cannot be decoded, there is no sample, or there are more than `max_seconds`.
    """
    with closing(sound):
        rate = sound.reader.sample_rate
        start = round(offset * rate)
        count = None if duration is None else max(1, round(duration * rate))
        blocks = sound.blocks(start, count)
        if max_seconds is not None and math.isfinite(max_seconds):
            blocks = _at_most(sound, start, count, max_seconds)
        num_samples = 0
        for block in resampled(blocks, rate, sample_rate):
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


def _at_most(
    sound: OneChannelReader, start: int, count: int | None, max_seconds: float
) -> Iterator[np.ndarray]:
    """Yield the samples of a segment that must not have more than `max_seconds` of them.

    Where the header tells the length exactly nothing is decoded of a longer one; else one sample too many is.
    """
    reader = sound.reader
    most = round(max_seconds * reader.sample_rate)
    asked = sys.maxsize if count is None else count
    known = reader.num_frames - start if reader.is_exact and reader.num_frames is not None else 0
    problem = (
        f"{reader.name} has more than the {max_seconds:g} s that are allowed; cut it, or allow longer sounds"
    )
    if min(asked, known) > most:
        raise AudioError(problem)
    for block in sound.blocks(start, min(asked, most + 1)):
        most -= len(block)
        if most < 0:
            raise AudioError(problem)
        yield block


def resampled(blocks: Iterator[np.ndarray], from_rate: float, to_rate: float) -> Iterator[np.ndarray]:
    """Resample consecutive blocks (samples,) float32 as in one go."""
    if from_rate == to_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(from_rate, to_rate, num_channels=1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, np.float32), last=True)
