"""The text around a sound: prompt and captions as tokens.

A sequence is BOS, the prompt's left half, the sound, the prompt's right half, the caption, EOS. As in the
authors' code the two halves and the caption are tokenized one by one, without the tokenizer's own special
tokens; a tokenizer without BOS (Qwen's) gets none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from aac_llm.config.model import ACOUSTIC_TOKENS

IGNORED = -100
"""Fills labels after a caption's end, as everywhere in transformers."""

_PUNCTUATION = re.compile(r"""[(),.!?;:|*"]""")


@dataclass(frozen=True)
class PromptTokens:
    """The prompt around a sound."""

    left: tuple[int, ...]
    """Tokens before the sound, BOS first if the tokenizer has one."""
    right: tuple[int, ...]
    """Tokens after it."""


def normalize_caption(caption: str, kind: Literal["reference", "none"] = "reference") -> str:
    """A caption as it is trained on.

    `reference`: in lower case, punctuation but hyphens and apostrophes gone, single spaces. The authors' code
    leaves a blank where a full stop ended the caption, and so trains on two kinds of end; this does not.

    >>> normalize_caption("A dog barks,  twice. ")
    'a dog barks twice'
    """
    if kind == "reference":
        caption = _PUNCTUATION.sub(" ", caption.lower())
    return " ".join(caption.split())


def tokenize_prompt(tokenizer: Any, prompt: str) -> PromptTokens:
    """Tokens of the two halves of a prompt that has the sound at `<AcousticTokens>`."""
    left, right = prompt.split(ACOUSTIC_TOKENS)
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return PromptTokens(tuple(start + _encode(tokenizer, left)), tuple(_encode(tokenizer, right)))


def tokenize_captions(
    tokenizer: Any, captions: Sequence[str], normalization: Literal["reference", "none"]
) -> Tensor:
    """Labels `(batch, length)` int64: the captions' tokens and EOS, then -100.

    Raises:
        ValueError: no caption, an empty one, or a tokenizer without EOS.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the decoder's tokenizer has no EOS token, so captions could not end")
    if not captions:
        raise ValueError("expected at least one caption, got none")
    rows = []
    for index, caption in enumerate(captions):
        tokens = _encode(tokenizer, normalize_caption(caption, normalization))
        if not tokens:
            raise ValueError(f"caption {index} is empty after normalization: {caption!r}")
        rows.append(torch.tensor([*tokens, tokenizer.eos_token_id]))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
