"""Lay out questions as a family's chat, and turn chats and their audio into tensors.

The processors of transformers take audio as `audio=`; current ones ignore or refuse `audios=`, which the
paper's code used: its evaluation would run deaf today.

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

from r1_aqa.data.sounds import SAMPLE_RATE, wav_bytes
from r1_aqa.models.families import Family
from r1_aqa.models.prompt import make_messages

LEAST_SAMPLES = SAMPLE_RATE // 10
"""A shorter sound is filled up with silence: of a few milliseconds no audio token would be left."""


def format_chat(processor: Any, family: Family, text: str, *, num_audios: int = 1) -> str:
    """Return a question as the model's chat template lays it out, ready for an answer."""
    if family.tokenizes_chats:
        return text  # laid out by `encode_chats`, together with its audio
    messages = make_messages(text, num_audios=num_audios)
    if family.audio_in_text:
        messages = [{"role": "user", "content": family.audio_in_text * num_audios + text}]
    try:
        return processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:  # the template comes with the model
        raise ValueError(f"the model's chat template does not take a question: {error}") from error


def encode_chats(
    processor: Any, family: Family, texts: Sequence[str], sounds: Sequence[np.ndarray]
) -> dict[str, Tensor]:
    """Return the tensors of formatted chats and their audio (1-D float, 16 kHz), padded on the left.

    Raises:
        ValueError: the numbers of texts and sounds differ.
    """
    if len(texts) != len(sounds):
        raise ValueError(f"expected one sound a text, got {len(sounds)} sounds for {len(texts)} texts")
    sounds = [np.pad(sound, (0, max(0, LEAST_SAMPLES - len(sound)))) for sound in sounds]
    if family.tokenizes_chats:
        encoded = [_encode_voxtral(processor, text, sound) for text, sound in zip(texts, sounds, strict=True)]
        return stack_inputs(encoded, processor.tokenizer.pad_token_id)
    # Granite's processor of transformers 4 takes no rate; it expects 16 kHz, too.
    rate = {} if family.audio_in_text else {"sampling_rate": SAMPLE_RATE}
    inputs = processor(text=list(texts), audio=list(sounds), return_tensors="pt", padding=True, **rate)
    return {name: value for name, value in inputs.items() if isinstance(value, Tensor)}


def voxtral_chat(text: str, sound: np.ndarray) -> list[dict[str, Any]]:
    """Return one user turn, audio before text, as the documentation of Voxtral's processor has it."""
    wav = base64.b64encode(wav_bytes(sound)).decode("ascii")
    content = [{"type": "audio", "base64": wav}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


def _encode_voxtral(processor: Any, text: str, sound: np.ndarray) -> dict[str, Tensor]:
    chat = voxtral_chat(text, sound)
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
