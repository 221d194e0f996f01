"""Ask a model behind an OpenAI-compatible endpoint about sounds: each goes along as a WAV file in base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from r1_aqa.config.model import PromptStyle
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import wav_bytes
from r1_aqa.models.asked import AskedQuestions, Written
from r1_aqa.models.endpoint import CutAnswerError, Endpoint, LLMError
from r1_aqa.models.prompt import Prompt, make_messages
from r1_aqa.models.template import PromptTemplate, prompt_of


class RemoteModel:
    """A service that hears, asked as a template or one of our prompts says."""

    def __init__(
        self, endpoint: Endpoint, style: PromptStyle = "answer", template: PromptTemplate | None = None
    ) -> None:
        self.endpoint, self.style, self.template = endpoint, style, template

    def answer(self, asked: AskedQuestions, rows: Sequence[int]) -> list[Written]:
        """Return the service's answer about each row, or why there is none."""
        chats = [
            sound_chat(prompt_of(asked.questions[row], self.style, self.template), sounds)
            for row, sounds in zip(rows, asked.sounds.take(rows), strict=True)
        ]
        return [_written(reply) for reply in self.endpoint.ask(chats)]


def describe_prompt(question: Question, style: PromptStyle, template: PromptTemplate | None = None) -> str:
    """Return what is written to the service about a question, the system's turn first."""
    prompt = prompt_of(question, style, template)
    return f"{prompt.system}\n\n{prompt.text}" if prompt.system else prompt.text


def sound_chat(prompt: Prompt, sounds: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Return the chat of a question about sounds `(samples,)` at 16 kHz, several of them numbered."""
    return make_messages(prompt, [sound_part(sound) for sound in sounds])


def sound_part(samples: np.ndarray) -> dict[str, Any]:
    """Return a sound `(samples,)` at 16 kHz as a part of content: a WAV file of 16 bits in base64."""
    # Whole numbers, for not every service reads floats; what is beyond full scale would be clipped.
    peak = float(np.abs(samples).max(initial=0.0))
    wav = wav_bytes(samples / max(1.0, peak), subtype="PCM_16")
    data = {"data": base64.b64encode(wav).decode("ascii"), "format": "wav"}
    return {"type": "input_audio", "input_audio": data}


def _written(reply: str | LLMError) -> Written:
    if isinstance(reply, CutAnswerError):
        return Written(reply.answer, truncated=True)
    if isinstance(reply, LLMError):
        return Written(None, error=str(reply))
    return Written(reply)
