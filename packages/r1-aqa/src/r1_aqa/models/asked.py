"""Questions as they are asked, whatever answers them: a row for each, or for each window of a long sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import audio_common
import numpy as np

from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import QuestionSounds
from r1_aqa.models.windows import split_questions


class Written(NamedTuple):
    """What was written about a row."""

    text: str | None
    """The completion without special tokens; None where there is none."""
    truncated: bool = False
    """Whether the most new tokens ended it."""
    error: str | None = None
    """Why there is no text."""


Answer = Callable[[Sequence[int]], Sequence[Written]]
"""Rows whose sounds can be read -> what is written about each."""


class AskedQuestions:
    """Questions, what is written to the model about each, and their sounds, by row.

    Attributes:
        asked: the questions as they were given.
        questions: row by row; several rows of a question whose sound is asked about in windows.
        windows: which rows these are.
        texts: what is written of each row; empty for a question with a fault.
        sounds: reads their audio.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        *,
        sound: SoundConfig,
        write: Callable[[Question], str],
        silent: bool = False,
        given: Mapping[Path, np.ndarray] | None = None,
        decoder: Any = audio_common,
    ) -> None:
        """Args:
        questions: those to ask.
        sound: how audio is read.
        write: returns the text of a question.
        silent: whether silence stands in place of all sounds.
        given: samples of sounds that are no files, by the path that stands for them.
        decoder: `audio_common`, or a `DecodePool` with its limits.
        """
        self.asked = list(questions)
        self.windows = split_questions(self.asked, sound, given, decoder)
        self.questions = self.windows.questions
        self.sounds = QuestionSounds(
            self.questions,
            sound,
            silent=silent,
            offsets=self.windows.offsets,
            given=given,
            decoder=decoder,
        )
        self.texts = ["" if question.fault else write(question) for question in self.questions]

    def needs_sound(self, row: int) -> bool:
        """Return whether asking about a row will decode its audio."""
        return True

    def length(self, row: int) -> float:
        """Return by what rows are put together into batches: here the seconds that are heard."""
        return self.sounds.seconds(row)
