"""Rate, channels and length of a sound: by its header, or by decoding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from audio_common.decoder import open_reader
from audio_common.reader import AudioError, Reader, Source, reported


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


def measure_audio(source: Source, *, progress: Callable[[float], None] | None = None) -> AudioInfo:
    """Tell the rate, channels and length of a sound, always exactly.

    What the header leaves open is counted by decoding, in bounded memory: m4a, webm, aac and their like cost
    as much as loading them, everything else as much as `audio_info`.

    Args:
        source: path, bytes or binary file object (read from its beginning, not closed).
        progress: called with the seconds of each block that is decoded.

    Raises:
        AudioError: it cannot be read as sound, or holds no sample.
    """
    with closing(open_reader(source)) as reader:
        info = _info(reader)
        if info.is_exact:
            return info
        num_frames = 0
        with reported(reader.name):
            for block in reader.blocks(0, None):
                num_frames += len(block)
                if progress is not None:
                    progress(len(block) / info.sample_rate)
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
