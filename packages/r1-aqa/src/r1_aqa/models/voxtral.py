"""Questions for Voxtral, whose tokenizer (`pip install "mistral-common[audio]"`) takes sounds as files.

Its processor has no `audio=`: a chat is laid out, tokenised and featurised in one call, each sound in it as a
WAV file in base64. Chats are encoded one by one and padded on the left here.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from r1_aqa.data.sounds import wav_bytes


def encode_chats(processor: Any, texts: Sequence[str], sounds: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Tensors of one-turn chats, sound before text, ready for an answer."""
    from r1_aqa.models.prompt_cache import stack_inputs

    encoded = [
        dict(
            processor.apply_chat_template(
                make_chat(text, sound), tokenize=True, return_dict=True, return_tensors="pt"
            )
        )
        for text, sound in zip(texts, sounds, strict=True)
    ]
    return stack_inputs(encoded, processor.tokenizer.pad_token_id)


def make_chat(text: str, sound: np.ndarray) -> list[dict[str, Any]]:
    """One user turn, as the processor's documentation has it."""
    wav = base64.b64encode(wav_bytes(sound)).decode("ascii")
    content = [{"type": "audio", "base64": wav}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]
