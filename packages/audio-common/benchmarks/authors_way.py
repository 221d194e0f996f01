"""CED as its authors' code computes it, for the other side of a comparison; written from the paper.

A batch is filled up with zeros to its longest clip, and the zeros are heard; the log-mel is torchaudio's, of
the whole batch at once; attention is two products with a softmax between, its map in memory.
"""

from __future__ import annotations

import torch
from audio_common.attention import Attention, Layout, Packed
from audio_common.ced import CED
from torch import Tensor, nn


class EagerAttention(nn.Module):
    """`Attention` of equally long pieces, by its formula."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        parts = (attention.q, attention.k, attention.v)
        self.qkv = nn.Linear(attention.q.in_features, 3 * attention.q.in_features)
        with torch.no_grad():
            self.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
            self.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
        self.proj = attention.proj

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Tokens `(tokens, dim)`, packed."""
        assert isinstance(layout, Packed)
        (size,) = set(layout.sizes)
        qkv = self.qkv(x).reshape(len(layout.sizes), size, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (pieces, heads, size, head_dim)
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2).flatten(0, 1))


class TorchaudioLogMel(nn.Module):
    """The batch's log-mel `(batch, frames, 64)` by torchaudio."""

    def __init__(self) -> None:
        super().__init__()
        from torchaudio import transforms

        self.mel = transforms.MelSpectrogram(16_000, n_fft=512, hop_length=160, n_mels=64)
        self.decibels = transforms.AmplitudeToDB(stype="power", top_db=120.0)

    def forward(self, waveforms: Tensor) -> Tensor:
        """`(batch, samples)` to `(batch, frames, 64)`."""
        self.mel.float()  # also where the encoder is in bfloat16
        return self.decibels(self.mel(waveforms.float())).transpose(1, 2)


def as_the_authors(preset: str, **settings: object) -> CED:
    """Return an encoder of random weights that computes so; without torchaudio the log-mel is our own."""
    model = CED.from_preset(preset, mode="reference", **settings).eval()
    for block in model.blocks:
        block.attn = EagerAttention(block.attn)
    model.tokens_per_group = 10**9  # the whole batch at once
    try:
        model.front_end = TorchaudioLogMel()
    except (ImportError, OSError, RuntimeError) as error:
        print(f"no torchaudio, the log-mel is our own: {error}")
    return model
