"""The text around the sound, and the captions that are learnt.

The two halves of the prompt are tokenised by themselves, as the authors do: the begin token stands before the
left half alone, and nothing is merged across the place of the sound.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aac_llm.config.model import ACOUSTIC_TOKENS

IGNORED = -100
"""Label of a position that is not learnt."""

_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


def normalize_caption(caption: str, rule: str) -> str:
    """`reference`: lower case without punctuation, as the authors train; `none`: as given, on one line.

    >>> normalize_caption("A dog barks, then it's quiet.", "reference")
    'a dog barks then its quiet'
    """
    if rule == "reference":
        caption = _PUNCTUATION.sub("", caption.lower())
    elif rule != "none":
        raise ValueError(f"caption_normalization must be reference or none, got {rule!r}")
    return " ".join(caption.split())


def tokenize_prompt(tokenizer: Any, prompt: str) -> tuple[Tensor, Tensor]:
    """Ids before and after the sound, `(length,)` each; the begin token, if there is one, comes first."""
    left, right = (
        tokenizer(half, add_special_tokens=False).input_ids for half in prompt.split(ACOUSTIC_TOKENS)
    )
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return torch.tensor(begin + left, dtype=torch.long), torch.tensor(right, dtype=torch.long)


def tokenize_captions(tokenizer: Any, captions: Sequence[str]) -> Tensor:
    """Labels `(batch, length)`: each caption and the end token, padded with -100.

    Padding is told by place, not by id: where the pad token is the end token, a mask of ids would hide every
    end, and the model would never learn to stop.
    """
    rows = [
        [*tokenizer(caption, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        for caption in captions
    ]
    labels = torch.full((len(rows), max(map(len, rows))), IGNORED, dtype=torch.long)
    for label, row in zip(labels, rows, strict=True):
        label[: len(row)] = torch.tensor(row)
    return labels
