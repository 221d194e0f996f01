"""Audio of questions: mono at 16 kHz, cut by one stated rule; files that cannot be read are remembered.

Lengths are those of what decoding gives, not of what a header estimates: `r1_aqa.data.lengths`.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import audio_common
import numpy as np
from audio_common import AudioError
from audio_common.config import Channel

from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.lengths import measure
from r1_aqa.data.questions import Question
from r1_aqa.files import write_atomically

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Hz; what the encoders of all known audio LLMs take."""


class SoundTooLongError(AudioError):
    """The audio is longer than `sound.max_seconds`, and `too_long: skip` leaves it out."""


def load_sound(
    path: str | Path,
    config: SoundConfig,
    *,
    offset: float | None = None,
    decoder: Any = audio_common,
    complaints: list[str] | None = None,
) -> np.ndarray:
    """Return the samples of an audio file that a model is given, `(samples,)` float32 at 16 kHz.

    Args:
        path: the file.
        config: how long it may be, and which part of a longer one is taken.
        offset: where that part begins, seconds; None: where the rule says.
        decoder: `audio_common`, or a `DecodePool` with its limits.
        complaints: gets what is odd about the sound: damage, channels that cancel each other.

    Raises:
        AudioError: it cannot be read.
        SoundTooLongError: it is longer than `max_seconds`, and such audio is to be skipped.
    """
    seconds = measure(path, at_most=known_until(config), decoder=decoder)
    if offset is None:
        refuse_long(str(path), seconds, config)
        offset = part_start(seconds, config)
    samples = decoder.load_audio(
        path,
        sample_rate=SAMPLE_RATE,
        offset=offset,
        duration=config.max_seconds,
        channel=config.channel,
        complaints=complaints,
    )
    return np.asarray(samples, dtype=np.float32)


def known_until(config: SoundConfig) -> float | None:
    """Return the seconds beyond which a sound's length changes nothing; None: it always does."""
    return config.max_seconds if config.too_long in ("truncate", "skip") else None


def cut_samples(samples: np.ndarray, config: SoundConfig, *, offset: float | None = None) -> np.ndarray:
    """Return the part of samples `(samples,)` at 16 kHz that a model is given, as `load_sound` of a file."""
    seconds = len(samples) / SAMPLE_RATE
    if offset is None:
        refuse_long("the audio", seconds, config)
        offset = part_start(seconds, config)
    start = round(offset * SAMPLE_RATE)
    end = None if config.max_seconds is None else start + round(config.max_seconds * SAMPLE_RATE)
    return samples[start:end]


def refuse_long(name: str, seconds: float, config: SoundConfig) -> None:
    """Raise SoundTooLongError for a sound that is to be skipped."""
    if seconds > config.limit and config.too_long == "skip":
        raise SoundTooLongError(f"{name}: {seconds:.1f} s, longer than {config.limit:g} s")


def part_start(seconds: float, config: SoundConfig) -> float:
    """Return where the part of a sound begins that the rule keeps, seconds."""
    centered = seconds > config.limit and config.too_long == "center"
    return (seconds - config.limit) / 2 if centered else 0.0


def window_starts(seconds: float, max_seconds: float) -> list[float]:
    """Return where the windows of a long sound begin, seconds; the last one ends with the sound.

    >>> window_starts(70.0, 30.0), window_starts(30.0, 30.0)
    ([0.0, 30.0, 40.0], [0.0])
    """
    if seconds <= max_seconds:
        return [0.0]
    starts = [number * max_seconds for number in range(int(seconds // max_seconds))]
    last = seconds - max_seconds
    return starts if last <= starts[-1] else [*starts, last]


def wav_bytes(samples: np.ndarray, rate: int = SAMPLE_RATE, *, subtype: str = "FLOAT") -> bytes:
    """Return samples `(samples,)` as a WAV file; by default of float numbers, so that nothing is rounded."""
    import soundfile

    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, format="WAV", subtype=subtype)
    return memory.getvalue()


def extract_sound(
    video: Path, folder: Path, channel: Channel = "mean", *, decoder: Any = audio_common
) -> Path:
    """Write the sound of a video as 16 kHz mono FLAC in a folder, once, and return the file.

    Raises:
        AudioError: it has none, or the extra `av` is missing.
    """
    import soundfile

    path = folder / (f"{video.stem}.flac" if channel == "mean" else f"{video.stem}.{channel}.flac")
    if not path.is_file():
        memory = io.BytesIO()
        soundfile.write(
            memory, np.asarray(decoder.load_audio(video, channel=channel)), SAMPLE_RATE, format="FLAC"
        )
        write_atomically(path, memory.getvalue())
    return path


Clip = tuple[Path, float | None]
"""A sound, and where the part of it begins that is heard, seconds; None where the settings' rule says."""


class QuestionSounds:
    """Audio of questions by their row: decoded when needed or ahead, and which of it cannot be read.

    A row has a clip for each of its question's sounds, mostly one.

    Attributes:
        questions: row by row.
        offsets: where the part of a row's sound begins, seconds; None where the rule of `config` says.
        given: samples of sounds that are no files, by the path that stands for them.
        decoded: samples that were read ahead, by clip; used up by `take`.
        decoder: `audio_common`, or a `DecodePool` with its limits.
        unreadable: files that could not be read, and why.
        unaskable: rows that cannot be asked whatever their audio, and why.
        complaints: what is odd about files that are used nevertheless.
        on_unreadable: called with each such question, and why, once.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        config: SoundConfig,
        *,
        silent: bool = False,
        offsets: Sequence[float | None] | None = None,
        given: Mapping[Path, np.ndarray] | None = None,
        decoder: Any = audio_common,
    ) -> None:
        self.questions, self.config, self.silent = list(questions), config, silent
        self.decoder = decoder
        self.offsets = [None] * len(self.questions) if offsets is None else list(offsets)
        self.given = given or {}
        self.decoded: dict[Clip, np.ndarray] = {}
        self.unreadable: dict[Path, str] = {}
        self.unaskable: dict[int, str] = {}
        self.complaints: dict[Path, list[str]] = {}
        self.on_unreadable: Callable[[Question, str], object] = say_skipped
        self._reported: set[int] = set()

    def clips(self, row: int) -> list[Clip]:
        """Return the clips of a row, in the order of its question's sounds; equal ones sound alike."""
        return [(audio, self.offsets[row]) for audio in self.questions[row].audios]

    def decode(self, clip: Clip) -> np.ndarray:
        """Return the samples of a clip; changes nothing but `complaints`: a thread may call it ahead.

        Raises:
            AudioError: it cannot be read, or is too long.
        """
        audio, offset = clip
        if audio in self.given:
            samples = cut_samples(self.given[audio], self.config, offset=offset)
        else:
            odd: list[str] = []
            samples = load_sound(audio, self.config, offset=offset, decoder=self.decoder, complaints=odd)
            if odd:
                self.complaints[audio] = odd
        return np.zeros_like(samples) if self.silent else samples

    def take(self, rows: Sequence[int]) -> list[list[np.ndarray]]:
        """Return the samples of the clips of some rows; those that were read ahead are used up."""
        clips = dict.fromkeys(clip for row in rows for clip in self.clips(row))
        ready = {clip: self.decoded.pop(clip, None) for clip in clips}
        found = {c: self.decode(c) if samples is None else samples for c, samples in ready.items()}
        return [[found[clip] for clip in self.clips(row)] for row in rows]

    def why_not(self, row: int) -> str | None:
        """Return why a row cannot be asked, as far as is known."""
        question = self.questions[row]
        return question.fault or self._why_skipped(row)

    def is_readable(self, row: int) -> bool:
        """Return whether a row's audio can be read; if it can, its samples are then in `decoded`."""
        for clip in self.clips(row):
            if not self.why_not(row) and clip not in self.decoded:
                try:
                    self.decoded[clip] = self.decode(clip)
                except (AudioError, OSError) as error:
                    self.unreadable[clip[0]] = str(error)
        if self.why_not(row):  # what was decoded of it nobody will take
            for clip in self.clips(row):
                self.decoded.pop(clip, None)
        self.report(row)
        return self.why_not(row) is None

    def report(self, row: int) -> None:
        """Say once that a question is skipped, if it is known that it must be."""
        why = self._why_skipped(row)
        if why and row not in self._reported:
            self._reported.add(row)
            self.on_unreadable(self.questions[row], why)

    def _why_skipped(self, row: int) -> str | None:
        audios = self.questions[row].audios
        why = (self.unreadable[audio] for audio in audios if audio in self.unreadable)
        return self.unaskable.get(row) or next(why, None)

    def complaints_of(self, row: int) -> tuple[str, ...]:
        """Return what is odd about the sounds of a row."""
        audios = dict.fromkeys(self.questions[row].audios)
        return tuple(text for audio in audios for text in self.complaints.get(audio, ()))

    def lengths(self, row: int) -> list[float]:
        """Return the durations of the whole sounds of a row, seconds; 0 where one cannot be read."""
        question = self.questions[row]
        return [0.0 if question.fault else self._measure(audio) for audio in question.audios]

    def whole_seconds(self, row: int) -> float:
        """Return the duration of the whole sound of a row, of several the longest; 0 if it cannot be read."""
        return max(self.lengths(row))

    def seconds(self, row: int) -> float:
        """Return the duration of what is heard of a row's sounds together; 0 where they cannot be read."""
        return sum(min(seconds, self.config.limit) for seconds in self.lengths(row))

    def is_cut(self, row: int) -> bool:
        """Return whether only a part of a row's sound, or of one of its sounds, is heard."""
        # A question about several sounds is asked once, not window by window.
        is_part = self.config.too_long in ("truncate", "center") or len(self.questions[row].audios) > 1
        return is_part and self.whole_seconds(row) > self.config.limit

    def _measure(self, audio: Path) -> float:
        if audio in self.given:
            return len(self.given[audio]) / SAMPLE_RATE
        try:
            if audio in self.unreadable:
                return 0.0
            return measure(audio, at_most=known_until(self.config), decoder=self.decoder)
        except (AudioError, OSError):
            return 0.0


def say_skipped(question: Question, why: str) -> None:
    """Say that a question is skipped, and why."""
    logger.warning("question %s is skipped: %s", question.id, why)


def describe_cuts(sounds: QuestionSounds, rows: Sequence[int], advice: str) -> tuple[int, str | None]:
    """Return of how many rows only a part is heard, and a line that says so; None where all is heard.

    Args:
        sounds: of the questions.
        rows: those that are asked.
        advice: which setting changes it.
    """
    cut = [row for row in rows if sounds.is_cut(row)]
    if not cut:
        return 0, None
    config = sounds.config
    longest = max(sounds.whole_seconds(row) for row in cut)
    part = "middle" if config.too_long == "center" else "first"
    return len(cut), (
        f"the sounds of {len(cut)} of {len(rows)} questions are cut: only their {part} "
        f"{config.limit:g} s are heard, of up to {longest:.1f} s ({advice})"
    )
