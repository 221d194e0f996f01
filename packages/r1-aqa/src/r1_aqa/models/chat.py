"""Lay out questions as a family's chat, and turn chats and their audio into tensors.

The processors of transformers take audio as `audio=`; current ones ignore or refuse `audios=`, which the
paper's code used: its evaluation would run deaf today.

Several sounds of a question are numbered, `Audio 1: ` and so on, by the model's chat template (Qwen2-Audio's)
or else by us.

Voxtral's processor (`pip install "mistral-common[audio]"`) has no `audio=`: a chat is laid out, tokenized and
featurized in one call, each sound in it as a WAV file in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from torch import Tensor, nn

from r1_aqa.config.model import PromptStyle
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import SAMPLE_RATE, wav_bytes
from r1_aqa.models.families import Family
from r1_aqa.models.prompt import Prompt, make_messages
from r1_aqa.models.template import PromptTemplate, prompt_of

LEAST_SAMPLES = SAMPLE_RATE // 10
"""A shorter sound is filled up with silence: of a few milliseconds no audio token would be left."""


def format_chat(processor: Any, family: Family, prompt: Prompt, *, num_audios: int = 1) -> str:
    """Return a question as the model's chat template lays it out, ready for an answer."""
    if family.tokenizes_chats:
        # Laid out by `encode_chats`, together with its audio; there is no place for a system's turn.
        return f"{prompt.system}\n\n{prompt.text}" if prompt.system else prompt.text
    try:
        messages = _messages(processor, family, prompt, num_audios)
        return processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:  # the template comes with the model
        raise ValueError(f"the model's chat template does not take a question: {error}") from error


def format_question(
    processor: Any,
    family: Family,
    question: Question,
    style: PromptStyle,
    template: PromptTemplate | None = None,
) -> str:
    """Return the formatted chat of a question about one sound or several, by a template or in a style."""
    prompt = prompt_of(question, style, template)
    return format_chat(processor, family, prompt, num_audios=len(question.audios))


def _messages(processor: Any, family: Family, prompt: Prompt, num_audios: int) -> list[dict[str, Any]]:
    if family.audio_in_text:
        messages = make_messages(prompt, [{"text": family.audio_in_text}] * num_audios)
        parts = messages[-1]["content"]
        return [*messages[:-1], {"role": "user", "content": "".join(part["text"] for part in parts)}]
    sounds = [{"type": "audio"}] * num_audios
    return make_messages(prompt, sounds, numbered=num_audios > 1 and not _numbers_sounds(processor))


def _numbers_sounds(processor: Any) -> bool:
    """Return whether a chat template itself says which of several sounds is which."""
    two = make_messages(Prompt("?"), [{"type": "audio"}] * 2, numbered=False)
    return "Audio 2" in processor.apply_chat_template(two, add_generation_prompt=True, tokenize=False)


def longest_seconds(processor: Any, family: Family) -> float:
    """Return the longest audio that a processor takes whole; more it would cut without a word."""
    value = processor
    for name in family.hears.split(".") if family.hears else ():
        value = getattr(value, name, None)
    return float(value) if family.hears and value else float("inf")


Sounds = np.ndarray | Sequence[np.ndarray]
"""Samples of one sound, or of several."""


def encode_chats(
    processor: Any, family: Family, texts: Sequence[str], sounds: Sequence[Sounds]
) -> dict[str, Tensor]:
    """Return the tensors of formatted chats and their audio (1-D float, 16 kHz), padded on the left.

    Raises:
        ValueError: the numbers of texts and sounds differ.
    """
    if len(texts) != len(sounds):
        raise ValueError(f"expected one sound a text, got {len(sounds)} sounds for {len(texts)} texts")
    heard = [[own] if isinstance(own, np.ndarray) else list(own) for own in sounds]
    heard = [[np.pad(one, (0, max(0, LEAST_SAMPLES - len(one)))) for one in own] for own in heard]
    if family.tokenizes_chats:
        encoded = [_encode_voxtral(processor, text, own) for text, own in zip(texts, heard, strict=True)]
        return stack_inputs(encoded, processor.tokenizer.pad_token_id)
    # Granite's processor of transformers 4 takes no rate; it expects 16 kHz, too.
    rate = {} if family.audio_in_text else {"sampling_rate": SAMPLE_RATE}
    audio = [one for own in heard for one in own]
    inputs = processor(text=list(texts), audio=audio, return_tensors="pt", padding=True, **rate)
    return {name: value for name, value in inputs.items() if isinstance(value, Tensor)}


def voxtral_chat(text: str, *sounds: np.ndarray) -> list[dict[str, Any]]:
    """Return one user turn, audio before text, as the documentation of Voxtral's processor has it."""
    wavs = [base64.b64encode(wav_bytes(sound)).decode("ascii") for sound in sounds]
    return make_messages(Prompt(text), [{"type": "audio", "base64": wav} for wav in wavs])


def _encode_voxtral(processor: Any, text: str, sounds: Sequence[np.ndarray]) -> dict[str, Tensor]:
    chat = voxtral_chat(text, *sounds)
    return dict(processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt"))


# -- padding --------------------------------------------------------------------------------------------


def stack_inputs(encoded: Sequence[dict[str, Tensor]], pad_token_id: int) -> dict[str, Tensor]:
    """Return one batch of prompts that were encoded alone: text padded on the left, features put together."""
    length = max(inputs["input_ids"].shape[1] for inputs in encoded)
    return {
        name: torch.cat(
            [_pad_text(name, inputs[name], length, pad_token_id) for inputs in encoded]
            if encoded[0][name].shape == encoded[0]["input_ids"].shape
            else _pad_features([inputs[name] for inputs in encoded])
        )
        for name in encoded[0]
    }


def pad_left(embeddings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad embeddings `(length, width)` on the left with zeros.

    Returns:
        `(prompts, longest, width)`, and the mask `(prompts, longest)`, 1 where there was something.
    """
    longest = max(len(embedding) for embedding in embeddings)
    padded = torch.stack(
        [nn.functional.pad(embedding, (0, 0, longest - len(embedding), 0)) for embedding in embeddings]
    )
    lengths = torch.tensor([len(embedding) for embedding in embeddings], device=padded.device)
    mask = torch.arange(longest, device=padded.device) >= longest - lengths[:, None]
    return padded, mask.long()


def _pad_text(name: str, value: Tensor, length: int, pad_token_id: int) -> Tensor:
    fill: Any = pad_token_id if name == "input_ids" else 0
    return nn.functional.pad(value, (length - value.shape[1], 0), value=fill)


def _pad_features(values: Sequence[Tensor]) -> list[Tensor]:
    # Zeros at the end of every axis but the first, up to the largest.
    largest = [max(value.shape[axis] for value in values) for axis in range(1, values[0].dim())]
    padded = []
    for value in values:
        widths = [(0, most - have) for most, have in zip(largest, value.shape[1:], strict=True)]
        # `pad` takes the last axis first.
        padded.append(nn.functional.pad(value, [n for pair in reversed(widths) for n in pair]))
    return padded
