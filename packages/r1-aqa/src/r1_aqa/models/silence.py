"""Questions about silence: what a model says to a question whose sound it does not get.

The silence is equally long for all questions, so that not even the length of the sound is told, and it goes
through the encoder once. (`evaluate --silent` mutes each sound at its own length, so that nothing but the
sound differs.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from r1_aqa.config.model import PromptStyle
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import SAMPLE_RATE
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.prompt_cache import EncodedPrompts, LRUCache
from r1_aqa.models.template import PromptTemplate

SECONDS = 2.0
SILENCE = Path("silence")
"""Stands for the sound; there is no such file."""
CACHE_BYTES = 2**28


def silent_prompts(
    llm: AudioLLM,
    questions: Sequence[Question],
    *,
    style: PromptStyle,
    template: PromptTemplate | None = None,
    clips: LRUCache[Tensor] | None = None,
) -> EncodedPrompts:
    """Return the questions with silence in place of their sounds, each prompt encoded alone.

    Args:
        llm: whose weights stay as they are meanwhile.
        questions: of any sound; it is not read.
        style: of the prompts.
        template: their layout, in place of a style.
        clips: the encoder's output from an earlier call.
    """
    samples = np.zeros(int(SECONDS * SAMPLE_RATE), dtype=np.float32)
    return EncodedPrompts(
        llm,
        [_muted(question) for question in questions],
        sound=SoundConfig(max_seconds=SECONDS),
        style=style,
        template=template,
        frozen=True,
        cache_bytes=CACHE_BYTES,
        one_by_one=True,
        clips=clips,
        given={SILENCE: samples},
    )


def _muted(question: Question) -> Question:
    # As many sounds as it has: its text may say "the second recording".
    return replace(question, audio=SILENCE, further_audio=(SILENCE,) * len(question.further_audio))
