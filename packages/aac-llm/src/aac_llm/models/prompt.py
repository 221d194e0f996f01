"""What the language model reads: prompt and captions as tokens, and sequences of them around a sound.

A sequence is BOS, the prompt's left half, the sound, the prompt's right half, the caption, EOS. As in the
authors' code the two halves and the caption are tokenized one by one, without the tokenizer's own special
tokens; a tokenizer without BOS (Qwen's) gets none. Sequences are padded on the left, so that no padding
stands within one and all end together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from aac_llm.config.model import ACOUSTIC_TOKENS
from aac_llm.models.bridge import AcousticTokens

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

    def __len__(self) -> int:
        return len(self.left) + len(self.right)


@dataclass(frozen=True)
class Sequences:
    """Inputs of the language model, padded on the left."""

    embeddings: Tensor
    """`(batch, length, width)`."""
    mask: Tensor
    """`(batch, length)` int64: 1 where there is something."""

    @property
    def positions(self) -> Tensor:
        """`(batch, length)`: the place of each token in its own sequence."""
        return (self.mask.cumsum(1) - 1).clamp(min=0)


def normalize_caption(caption: str, kind: Literal["reference", "none"] = "reference") -> str:
    """Return a caption as it is trained on.

    `reference`: in lower case, punctuation but hyphens and apostrophes gone, single spaces. The authors' code
    leaves a blank where a full stop ended the caption, and so trains on two kinds of end; this does not.

    >>> normalize_caption("A dog barks,  twice. ")
    'a dog barks twice'
    """
    if kind == "reference":
        caption = _PUNCTUATION.sub(" ", caption.lower())
    return " ".join(caption.split())


def tokenize_prompt(tokenizer: Any, prompt: str) -> PromptTokens:
    """Tokenize the two halves of a prompt that has the sound at `<AcousticTokens>`."""
    # Tokenized apart: a token across the place of the sound would not exist in any sequence.
    left, right = prompt.split(ACOUSTIC_TOKENS)
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return PromptTokens(tuple(start + encode_text(tokenizer, left)), tuple(encode_text(tokenizer, right)))


def tokenize_captions(
    tokenizer: Any, captions: Sequence[str], normalization: Literal["reference", "none"]
) -> Tensor:
    """Return labels `(batch, length)` int64: the captions' tokens and EOS, then -100.

    Raises:
        ValueError: no caption, an empty one, or a tokenizer without EOS.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the decoder's tokenizer has no EOS token, so captions could not end")
    if isinstance(captions, str):
        raise TypeError(f"expected a list of captions, got one text {captions!r}")
    if not captions:
        raise ValueError("expected at least one caption, got none")
    rows = []
    for index, caption in enumerate(captions):
        tokens = encode_text(tokenizer, normalize_caption(caption, normalization))
        if not tokens:
            raise ValueError(f"caption {index} is empty after normalization: {caption!r}")
        # EOS by hand: tokenizers differ in whether they add it. It may also be the padding token, so labels
        # are padded by -100.
        rows.append(torch.tensor([*tokens, tokenizer.eos_token_id]))
    return pad_sequence(rows, batch_first=True, padding_value=IGNORED)


def assemble_sequences(
    embed: nn.Module,
    prompt: PromptTokens,
    acoustic: AcousticTokens,
    labels: Tensor | None = None,
    sounds: Sequence[Tensor] | None = None,
) -> Sequences:
    """Put prompt, sounds and captions together as the language model reads them.

    Args:
        embed: the language model's input embeddings.
        prompt: the text around each sound.
        acoustic: the sounds.
        labels: `(batch, length)` of `tokenize_captions`; None: sequences end where a caption is to begin.
        sounds: `(length, width)` of each sound, where it is more than its acoustic tokens (time markers).
    """
    device = acoustic.embeddings.device
    left, right = (
        embed(torch.tensor(ids, dtype=torch.long, device=device)) for ids in (prompt.left, prompt.right)
    )
    if sounds is None:
        # The bridge computes in float32, the decoder often in bfloat16.
        whole = acoustic.embeddings.to(left.dtype)
        sounds = [whole[index, :count] for index, count in enumerate(acoustic.counts())]
    captions = [] if labels is None else [row[row != IGNORED] for row in labels]
    if captions:
        texts = embed(torch.cat(captions)).split([len(row) for row in captions])
    rows = []
    for index, sound in enumerate(sounds):
        parts = [left, sound, right]
        rows.append(torch.cat([*parts, texts[index]] if captions else parts))
    masks = [torch.ones(len(row), dtype=torch.long, device=device) for row in rows]
    return Sequences(_pad_left(rows), _pad_left(masks))


def _pad_left(rows: Sequence[Tensor]) -> Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_side="left")


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text, without the tokenizer's own special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
