"""Encoder tokens in windows, for the window-level Q-Former of LOAE (arXiv:2406.13275, section 2.2).

Windows of 17 tokens follow each other without overlap. The two layouts differ in what a window is:

| | `time_major` | `reference` |
|---|---|---|
| order of tokens | the four bands of 160 ms, of the next 160 ms, ... | all of a band, then the next |
| a window | 0.68 s of sound | 2.72 s of one mel band, some of two bands |
| tokens that fill no window | in a last window, partly masked | dropped (10 of 248 for 10 s) |
| padding | masked | counts as sound |

A sound of fewer tokens than a window is in both a single, partly masked window; the authors' code fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from audio_common.config import PATCH_FRAMES, CEDConfig
from audio_common.mel import num_frames
from audio_common.patches import NUM_ROWS
from torch import Tensor

Layout = Literal["time_major", "reference"]


@dataclass(frozen=True)
class Windows:
    """Encoder tokens of a batch, cut in windows."""

    tokens: Tensor
    """`(batch, windows, window, dim)`, zeros where `mask` is False."""
    mask: Tensor
    """`(batch, windows, window)` bool, True at tokens of the clip."""

    @property
    def is_used(self) -> Tensor:
        """`(batch, windows)` bool: True at windows that hold a token of the clip; a prefix of each row."""
        return self.mask.any(-1)


def cut_windows(tokens: Tensor, mask: Tensor, window: int, layout: Layout) -> Windows:
    """Cut tokens in windows.

    Args:
        tokens: `(batch, tokens, dim)` in the layout's order.
        mask: `(batch, tokens)` bool, True at tokens of the clip, which come first.
        window: tokens in a window.
        layout: `reference` drops what fills no window, `time_major` does not.

    Raises:
        ValueError: tensors of other shapes.
    """
    if tokens.ndim != 3 or mask.shape != tokens.shape[:2]:
        raise ValueError(
            f"expected tokens (batch, tokens, dim) and mask (batch, tokens), got {tuple(tokens.shape)} "
            f"and {tuple(mask.shape)}"
        )
    length = count_windows(tokens.shape[1], window, layout) * window
    missing = max(0, length - tokens.shape[1])
    tokens = F.pad(tokens, (0, 0, 0, missing))[:, :length]
    mask = F.pad(mask, (0, missing))[:, :length]
    return Windows(tokens.unflatten(1, (-1, window)), mask.unflatten(1, (-1, window)))


def count_windows(num_tokens: int, window: int, layout: Layout) -> int:
    """Windows of a sound of `num_tokens` encoder tokens.

    >>> count_windows(248, 17, "reference"), count_windows(252, 17, "time_major")
    (14, 15)
    """
    whole = num_tokens // window
    return max(1, whole) if layout == "reference" else -(-num_tokens // window)


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """The mean of tokens `(windows, window, dim)` where `mask` `(windows, window)` is True."""
    weights = mask.to(tokens.dtype)
    return torch.einsum("nwd,nw->nd", tokens, weights) / weights.sum(1, keepdim=True)


def encoder_tokens(num_samples: int, config: CEDConfig) -> int:
    """Tokens that CED makes of a clip of `num_samples` at 16 kHz, alone in its batch, without patch-out."""
    frames = num_frames(num_samples)
    if config.mode == "masked":
        return NUM_ROWS * max(1, -(-frames // PATCH_FRAMES))
    if frames <= config.target_length:
        return NUM_ROWS * (frames // PATCH_FRAMES)
    # An exact multiple loses its last chunk in the authors' code.
    chunks = -(-frames // config.target_length) - (frames % config.target_length == 0)
    return NUM_ROWS * max(1, chunks) * config.num_columns
