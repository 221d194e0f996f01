"""Dasheng, the audio encoder of GLAP (arXiv:2406.06992): a masked autoencoder's encoder over mel frames.

The front end and the blocks are CED's; the patches are not. A token is 4 frames (40 ms) of all 64 bands, and
252 tokens (10.08 s) attend to each other. Up to 10.08 s a clip's embedding is that of the authors' code for
this clip alone. Departures beyond: a longer clip is cut into pieces of real sound, and every token counts
alike in the mean, where the authors fill the last piece with zeros and average pieces; and each clip has its
own dB floor, where theirs is of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from audio_common.attention import Block, make_layout
from audio_common.int8 import check_processor, to_int8
from audio_common.mel import NUM_MELS, LogMel, MelBatchNorm, check_lengths
from torch import Tensor, nn

FRAMES = 4
"""Mel frames of a token."""


@dataclass(frozen=True, kw_only=True)
class DashengConfig:
    """Architecture of a Dasheng encoder (defaults: Dasheng-base, GLAP's)."""

    embed_dim: int = 768
    """Width of the tokens."""
    depth: int = 12
    """Number of transformer blocks."""
    num_heads: int = 12
    """Attention heads per block."""
    mlp_ratio: float = 4.0
    """Width of a block's hidden layer over `embed_dim`."""
    num_tokens: int = 252
    """Tokens that attend to each other; a longer clip is cut."""


class PatchEmbed(nn.Module):
    """A linear map of 64 bands x 4 frames, kept as the convolution that the published weights have."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, (NUM_MELS, FRAMES), (NUM_MELS, FRAMES))

    def forward(self, patches: Tensor) -> Tensor:
        """`(tokens, 256)`, band by band, to `(tokens, dim)`."""
        weight = self.proj.weight.flatten(1)
        return F.linear(patches.to(weight.dtype), weight, self.proj.bias)


class Dasheng(nn.Module):
    """The encoder, mean-pooled.

    >>> encoder = Dasheng(DashengConfig(embed_dim=8, depth=1, num_heads=2)).eval()
    >>> tuple(encoder(torch.zeros(2, 16_000), [16_000, 4_000]).shape)
    (2, 8)
    """

    def __init__(self, config: DashengConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.front_end = LogMel()
        self.init_bn = MelBatchNorm()
        self.patch_embed = PatchEmbed(dim)
        self.time_pos_embed = nn.Parameter(torch.randn(1, dim, 1, config.num_tokens) * 0.02)
        self.freq_pos_embed = nn.Parameter(torch.randn(1, dim, 1, 1) * 0.02)
        blocks = (Block(dim, config.num_heads, config.mlp_ratio, 0.0) for _ in range(config.depth))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def set_precision(self, precision: Literal["int8"]) -> None:
        """Make the blocks' linear layers 8-bit integers, in place, for inference on a CPU.

        Raises:
            ValueError: it is not in float32, or on another device; see `audio_common.int8`.
        """
        self.blocks = to_int8(self.blocks, check_processor(self.norm.weight.device))
        self.requires_grad_(False)

    def forward(self, waveforms: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        """Embed a batch of clips: `(batch, samples)` at 16 kHz, and samples of each, to `(batch, embed_dim)`.

        A clip under 0.15 s is followed by digital silence up to that.
        """
        frames, counts = self.front_end(waveforms, check_lengths(waveforms, lengths))
        with torch.autocast(frames.device.type, enabled=False):
            frames = self.init_bn(frames)
        numbers = [count // FRAMES for count in counts]
        tokens = torch.cat(
            [
                self._embed(clip[: number * FRAMES])
                for clip, number in zip(frames.split(counts), numbers, strict=True)
            ]
        )
        most = self.config.num_tokens
        sizes = [min(most, number - first) for number in numbers for first in range(0, number, most)]
        layout = make_layout("auto", sizes, tokens.device, tokens.dtype)
        hidden = layout.enter(tokens)
        for block in self.blocks:
            hidden = block(hidden, layout)
        encoded = self.norm(layout.leave(hidden))
        return torch.stack([clip.mean(dim=0) for clip in encoded.split(numbers)])

    def _embed(self, frames: Tensor) -> Tensor:
        """Turn a clip's frames `(4 x tokens, 64)` into tokens with positions `(tokens, dim)`."""
        patches = frames.unflatten(0, (-1, FRAMES)).transpose(1, 2).flatten(1)  # (tokens, 64 x 4)
        tokens = self.patch_embed(patches)
        place = torch.arange(len(tokens), device=tokens.device) % self.config.num_tokens
        return tokens + self.time_pos_embed[0, :, 0].T[place] + self.freq_pos_embed[0, :, 0, 0]
