"""Audio of questions: mono at 16 kHz, cut by one stated rule; files that cannot be read are remembered."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from audio_common import AudioError, audio_info, load_audio

from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.files import write_atomically

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Hz; what the encoders of all known audio LLMs take."""


class SoundTooLongError(AudioError):
    """The audio is longer than `sound.max_seconds`, and `too_long: skip` leaves it out."""


def load_sound(path: str | Path, config: SoundConfig) -> np.ndarray:
    """Return the samples of an audio file, `(samples,)` float32 at 16 kHz.

    Raises:
        AudioError: it cannot be read.
        SoundTooLongError: it is longer than `max_seconds`, and such audio is to be skipped.
    """
    seconds = audio_info(path).duration or 0.0  # some formats do not say; they are cut at their end
    if seconds > config.max_seconds and config.too_long == "skip":
        raise SoundTooLongError(f"{path}: {seconds:.1f} s, longer than {config.max_seconds:g} s")
    centered = seconds > config.max_seconds and config.too_long == "center"
    offset = (seconds - config.max_seconds) / 2 if centered else 0.0
    source = path if config.channels == "mix" else first_channel(path)
    samples = load_audio(source, sample_rate=SAMPLE_RATE, offset=offset, duration=config.max_seconds)
    return np.asarray(samples, dtype=np.float32)


def first_channel(path: str | Path) -> bytes:
    """Return the first channel alone as a WAV file in memory, what the paper's code hears of a stereo file.

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
    """Return samples `(samples,)` as a WAV file of float numbers, so that nothing is rounded."""
    import soundfile

    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, format="WAV", subtype="FLOAT")
    return memory.getvalue()


def extract_sound(video: Path, folder: Path) -> Path:
    """Write the sound of a video as 16 kHz mono FLAC in a folder, once, and return the file.

    Raises:
        AudioError: it has none, or the extra `av` is missing.
    """
    import soundfile

    path = folder / f"{video.stem}.flac"
    if not path.is_file():
        memory = io.BytesIO()
        soundfile.write(memory, np.asarray(load_audio(video)), SAMPLE_RATE, format="FLAC")
        write_atomically(path, memory.getvalue())
    return path


class QuestionSounds:
    """Audio of questions by their row: decoded when needed or ahead, and which of it cannot be read.

    Attributes:
        questions: row by row.
        decoded: samples that were read ahead; used up by `take`.
        unreadable: files that could not be read, and why.
        on_unreadable: called with each question about such a file, and why, once.
    """

    def __init__(self, questions: Sequence[Question], config: SoundConfig, *, silent: bool = False) -> None:
        self.questions, self.config, self.silent = list(questions), config, silent
        self.decoded: dict[Path, np.ndarray] = {}
        self.unreadable: dict[Path, str] = {}
        self.on_unreadable: Callable[[Question, str], object] = lambda question, why: None
        self._reported: set[int] = set()
        self._seconds: dict[Path, float] = {}

    def decode(self, row: int) -> np.ndarray:
        """Return the samples of a row's audio; changes nothing, so that a thread may call it ahead.

        Raises:
            AudioError: it cannot be read, or is too long.
        """
        samples = load_sound(self.questions[row].audio, self.config)
        return np.zeros_like(samples) if self.silent else samples

    def take(self, row: int) -> np.ndarray:
        """Return the samples of a row's audio, those that were read ahead if there are any."""
        samples = self.decoded.pop(self.questions[row].audio, None)
        return self.decode(row) if samples is None else samples

    def is_readable(self, row: int) -> bool:
        """Return whether a row's audio can be read; if it can, its samples are then in `decoded`."""
        audio = self.questions[row].audio
        if audio not in self.unreadable and audio not in self.decoded:
            try:
                self.decoded[audio] = self.decode(row)
            except (AudioError, OSError) as error:
                self.unreadable[audio] = str(error)
        self.report(row)
        return audio not in self.unreadable

    def report(self, row: int) -> None:
        """Say once that a question is skipped, if its audio is known to be unreadable."""
        question = self.questions[row]
        if question.audio in self.unreadable and row not in self._reported:
            self._reported.add(row)
            why = self.unreadable[question.audio]
            logger.warning("question %s is skipped: %s", question.id, why)
            self.on_unreadable(question, why)

    def seconds(self, row: int) -> float:
        """Return the duration of a row's audio by its header; 0 where the header does not say."""
        audio = self.questions[row].audio
        if audio not in self._seconds:
            try:
                self._seconds[audio] = audio_info(audio).duration or 0.0
            except (AudioError, OSError):
                self._seconds[audio] = 0.0
        return self._seconds[audio]
