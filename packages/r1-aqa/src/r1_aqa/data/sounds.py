"""Sounds of questions: mono at 16 kHz, cut by one stated rule."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from audio_common import AudioError, audio_info, load_audio

from r1_aqa.config.sound import SoundConfig

SAMPLE_RATE = 16_000


class SoundTooLongError(AudioError):
    """A sound that `too_long: skip` leaves out."""


def first_channel(path: str | Path) -> bytes:
    """The first channel alone, as a WAV file in memory: what the paper's code hears of a stereo file.

    Raises:
        AudioError: libsndfile cannot read it.
    """
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise AudioError(f"{path}: sound.channels first reads what libsndfile reads: {error}") from error
    return wav_bytes(samples[:, 0], rate)


def wav_bytes(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """Samples `(samples,)` as a WAV file of float numbers, so that nothing is rounded."""
    import soundfile

    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, format="WAV", subtype="FLOAT")
    return memory.getvalue()


def load_sound(path: str | Path, config: SoundConfig) -> np.ndarray:
    """Samples of a sound, `(samples,)` float32 at 16 kHz.

    Raises:
        AudioError: it cannot be read.
        SoundTooLongError: it is longer than `max_seconds` and such sounds are to be skipped.
    """
    seconds = audio_info(path).duration or 0.0  # some formats do not say; they are cut at their end
    if seconds > config.max_seconds and config.too_long == "skip":
        raise SoundTooLongError(f"{path}: {seconds:.1f} s, longer than {config.max_seconds:g} s")
    centered = seconds > config.max_seconds and config.too_long == "center"
    offset = (seconds - config.max_seconds) / 2 if centered else 0.0
    source = path if config.channels == "mix" else first_channel(path)
    samples = load_audio(source, sample_rate=SAMPLE_RATE, offset=offset, duration=config.max_seconds)
    return np.asarray(samples, dtype=np.float32)
