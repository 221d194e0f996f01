"""Windows of encoder tokens, each of which the bridge turns into decoder embeddings (paper, section 2.2).

`cut_windows` drops nothing: the last window of a clip is filled up and masked. `cut_reference_windows` is the
authors' way: the frequency-major tokens of a chunk in groups of 17, which run along time within one mel band
and straddle bands, and what does not fill a last window (10 of 248 tokens for 10 s) is dropped.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cut_windows(tokens: Tensor, mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Consecutive windows without overlap.

    Args:
        tokens: `(batch, tokens, dim)`.
        mask: `(batch, tokens)` bool, True for sound; sound comes first.
        window: tokens in a window.

    Returns:
        Windows `(batch, windows, window, dim)` and the mask of their tokens `(batch, windows, window)`; a
        window of which no token is sound belongs to no clip.
    """
    missing = -tokens.shape[1] % window
    tokens = F.pad(tokens, (0, 0, 0, missing))
    mask = F.pad(mask, (0, missing))
    return tokens.unflatten(1, (-1, window)), mask.unflatten(1, (-1, window))


def cut_reference_windows(tokens: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """As `cut_windows`, of all tokens, without those that do not fill the last window.

    Raises:
        ValueError: there is not one whole window.
    """
    whole = tokens.shape[1] // window * window
    if not whole:
        raise ValueError(
            f"layout reference needs at least {window} encoder tokens (about 0.7 s), got {tokens.shape[1]}"
        )
    windows = tokens[:, :whole].unflatten(1, (-1, window))
    return windows, torch.ones(windows.shape[:3], dtype=torch.bool, device=tokens.device)


def count_windows(num_tokens: int, window: int, *, drop_tail: bool) -> int:
    """Windows of so many tokens."""
    return num_tokens // window if drop_tail else -(-num_tokens // window)
