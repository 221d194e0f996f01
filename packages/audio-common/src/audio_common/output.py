"""What a CED encoder gives for a batch of clips."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audio_common.mel import HOP_LENGTH, PATCH_FRAMES, SAMPLE_RATE
from audio_common.patches import Plan


@dataclass(frozen=True)
class CEDOutput:
    """Encoded clips.

    In the masked mode the tokens of a clip run through time (the four bands of the first 160 ms, of the
    next, ...), so `mask` is a prefix and the tokens of pieces simply follow each other. In the reference
    mode they run through the bands of each chunk (all of the lowest band first), and `mask` is all True,
    since padding counts as sound.
    """

    tokens: Tensor
    """`(batch, tokens, dim)`, zeros where `mask` is False."""
    mask: Tensor
    """`(batch, tokens)` bool, True at tokens of the clip."""
    pooled: Tensor
    """`(batch, dim)`: the mean of a clip's tokens."""
    column_times: Tensor
    """`(batch, columns)`: the centre of each time column, seconds from the clip's start; 0 beyond its end."""
    num_rows: int
    """Tokens of a time column: 4 frequency bands, or fewer with frequency patch-out."""
    chunk_columns: int
    """Time columns of a full piece (reference mode: of every chunk)."""
    band_major: bool
    """Whether tokens run through the bands of each chunk (reference mode) or through time (masked mode)."""
    logits: Tensor | None = None
    """`(batch, classes)`; with `classify=True`."""
    probabilities: Tensor | None = None
    """`(batch, classes)`, each class by itself; with `classify=True`."""

    @property
    def column_mask(self) -> Tensor:
        """`(batch, columns)` bool: True at time columns of the clip."""
        return self.mask.unflatten(1, (-1, self.num_rows))[:, :, 0]

    def grid(self) -> Tensor:
        """Arrange tokens by time and frequency: `(batch, columns, rows, dim)`, the lowest band first."""
        if not self.band_major:
            return self.tokens.unflatten(1, (-1, self.num_rows))
        chunks = self.tokens.unflatten(1, (-1, self.num_rows, self.chunk_columns))
        return chunks.transpose(2, 3).flatten(1, 2)

    def time_features(self) -> tuple[Tensor, Tensor]:
        """Return features every 160 ms: the mean over bands `(batch, columns, dim)` and `column_mask`.

        `column_times` says where in the clip each one is.
        """
        return self.grid().mean(2), self.column_mask

    def chunk_features(self) -> tuple[Tensor, Tensor]:
        """Average each piece of a clip `(batch, pieces, dim)`, and a mask `(batch, pieces)`."""
        features, mask = self.time_features()
        missing = -features.shape[1] % self.chunk_columns
        features = _pad_columns(features, missing).unflatten(1, (-1, self.chunk_columns))
        mask = _pad_columns(mask, missing).unflatten(1, (-1, self.chunk_columns))
        count = mask.sum(2)
        return features.sum(2) / count.clamp_min(1)[..., None], count > 0


def _pad_columns(x: Tensor, missing: int) -> Tensor:
    if not missing:
        return x
    return torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], dim=1)


def assemble(encoded: Tensor, plan: Plan, *, rows: int, chunk_columns: int, band_major: bool) -> CEDOutput:
    """Arrange tokens `(tokens, dim)` in the plan's order, `rows` per column, as one padded row per clip."""
    device = encoded.device
    columns = encoded.unflatten(0, (-1, rows))  # (columns, rows, dim)
    shape = len(plan.clip_columns), max(plan.clip_columns)
    place = (plan.clip.to(device), plan.slot.to(device))
    grid = encoded.new_zeros(*shape, *columns.shape[1:]).index_put(place, columns)
    if band_major:
        grid = grid.unflatten(1, (-1, chunk_columns)).transpose(2, 3)  # (batch, chunks, rows, columns, dim)
    tokens = grid.flatten(1, -2)
    centres = (plan.time.to(device) + (PATCH_FRAMES - 1) / 2) * (HOP_LENGTH / SAMPLE_RATE)
    counts = torch.tensor(plan.clip_columns, device=device)[:, None] * rows
    return CEDOutput(
        tokens=tokens,
        mask=torch.arange(tokens.shape[1], device=device) < counts,
        pooled=(tokens.sum(1, dtype=torch.float32) / counts).to(tokens.dtype),
        column_times=torch.zeros(shape, device=device).index_put(place, centres),
        num_rows=rows,
        chunk_columns=chunk_columns,
        band_major=band_major,
    )


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Average over dimension 1 of `x` `(batch, length, dim)` where `mask` `(batch, length)` is True."""
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
