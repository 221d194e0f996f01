"""The audio tower in operations that ONNX has: front end, CED and head for clips of equal length.

It computes what `MLCLAP.embed_audio` does in the mode `masked`, for clips of up to 10.08 s (one piece of 1008
frames). The Fourier transform is a product with its matrix, in float64: a dynamic range of 120 dB leaves
float32 no digit to lose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from audio_common.attention import Layout
from audio_common.config import PATCH_FRAMES
from audio_common.mel import FFT_LENGTH, HOP_LENGTH, MIN_POWER, MIN_SAMPLES, TOP_DB, mel_filterbank
from audio_common.patches import NUM_ROWS
from torch import Tensor, nn

from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.shared_space import project

MAX_FRAMES = 1008
"""Frames of one piece of CED: more attend in pieces, which this does not do."""
MAX_SAMPLES = MAX_FRAMES * HOP_LENGTH - 1
__all__ = ["MAX_SAMPLES", "MIN_SAMPLES", "ExportedAudio"]


@dataclass(frozen=True)
class Rows(Layout):
    """Tokens `(clips, tokens, dim)`, all of them there: plain attention within each clip."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention; all `(clips, tokens, heads, head_dim)`."""
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    def keep_pieces(self, rate: float, like: Tensor) -> Tensor:
        """Nothing is dropped: this is for inference alone."""
        raise NotImplementedError("an exported tower is not trained")


class ExportedAudio(nn.Module):
    """Waveforms `(clips, samples)` of equal length to `(clips, embed_dim)` float32, L2-normalized.

    Args:
        model: In float32 and evaluation mode.

    Raises:
        ValueError: Its audio encoder is in the reference mode, where a clip's neighbours count.
    """

    window: Tensor
    filterbank: Tensor
    basis: Tensor

    def __init__(self, model: MLCLAP) -> None:
        super().__init__()
        if model.config.audio.mode != "masked":
            raise ValueError("only the audio mode `masked` is exported; in `reference` a batch is one sound")
        self.ced = model.audio_encoder
        self.head = model.audio_proj
        self.register_buffer("window", torch.hann_window(FFT_LENGTH))
        self.register_buffer("filterbank", mel_filterbank())
        turns = torch.outer(torch.arange(FFT_LENGTH), torch.arange(FFT_LENGTH // 2 + 1)) % FFT_LENGTH
        angles = turns.double() * (2.0 * math.pi / FFT_LENGTH)
        self.register_buffer("basis", torch.cat([angles.cos(), angles.sin()], dim=1))  # (512, 2 * 257)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return the vectors of clips of 2,400 to 161,279 samples at 16 kHz."""
        ced = self.ced
        mel = ced.init_bn(self.log_mel(waveforms).flatten(0, 1)).unflatten(0, (waveforms.shape[0], -1))
        frames = mel.shape[1]
        column = torch.arange((frames + PATCH_FRAMES - 1) // PATCH_FRAMES)
        # The last column covers the last frames, and overlaps its neighbour, see `plan_masked`.
        first = torch.minimum(column * PATCH_FRAMES, torch.tensor(frames - PATCH_FRAMES))
        patches = mel[:, first[:, None] + torch.arange(PATCH_FRAMES)]  # (clips, columns, 16 frames, 64)
        patches = patches.unflatten(-1, (NUM_ROWS, PATCH_FRAMES)).permute(0, 1, 3, 4, 2).flatten(3)
        times = ced.time_pos_embed[0, :, 0].T[column]
        tokens = ced.patch_embed(patches) + times[:, None] + ced.freq_pos_embed[0, :, :, 0].T
        x = tokens.flatten(1, 2)
        for block in ced.blocks:
            x = block(x, Rows())
        return project(self.head, ced.norm(x).mean(dim=1))

    def log_mel(self, waveforms: Tensor) -> Tensor:
        """Return frames in dB `(clips, frames, 64)`, as `audio_common.mel.LogMel` does."""
        half = FFT_LENGTH // 2
        signal = F.pad(waveforms[:, None], (half, half), mode="reflect")[:, 0]
        start = torch.arange(waveforms.shape[1] // HOP_LENGTH + 1) * HOP_LENGTH
        windows = signal[:, start[:, None] + torch.arange(FFT_LENGTH)] * self.window
        spectrum = windows.double() @ self.basis
        real, imaginary = spectrum.chunk(2, dim=-1)
        power = (real.square() + imaginary.square()).float() @ self.filterbank
        decibels = power.clamp(min=MIN_POWER).log10() * 10.0
        return torch.maximum(decibels, decibels.amax(dim=(1, 2), keepdim=True) - TOP_DB)
