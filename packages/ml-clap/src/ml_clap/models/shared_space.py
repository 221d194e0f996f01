"""The space that sounds and texts share: the heads into it, and the temperature of its similarities."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from ml_clap.config.model import TEMPERATURE_RANGE


def make_head(dim: int, embed_dim: int) -> nn.Sequential:
    """Return the paper's head: linear, ReLU, linear."""
    return nn.Sequential(nn.Linear(dim, embed_dim), nn.ReLU(), nn.Linear(embed_dim, embed_dim))


def project(head: nn.Sequential, features: Tensor) -> Tensor:
    """Map features `(batch, dim)` into the shared space: `(batch, embed_dim)` float32, L2-normalized."""
    weight = next(head.parameters())
    # Normalized in float32: in bfloat16 unit vectors are off by up to 0.4 %, and so are cosines.
    return F.normalize(head(features.to(weight.dtype)).float(), dim=-1)


def shorten(embeddings: Tensor, dim: int) -> Tensor:
    """Return the first `dim` numbers of embeddings `(..., embed_dim)`, L2-normalized in float32.

    They are embeddings where the model was trained for it (`matryoshka_dims`).

    Raises:
        ValueError: There are fewer.
    """
    if not 1 <= dim <= embeddings.shape[-1]:
        raise ValueError(f"expected 1 to {embeddings.shape[-1]} dimensions, got {dim}")
    return F.normalize(embeddings[..., :dim].float(), dim=-1)


def temperature_of(log_temperature: Tensor) -> Tensor:
    """Return the temperature that a parameter in log space stands for, kept in `TEMPERATURE_RANGE`."""
    low, high = (math.log(limit) for limit in TEMPERATURE_RANGE)
    return _ReturningClamp.apply(log_temperature.float(), low, high).exp()


class _ReturningClamp(torch.autograd.Function):
    """A clamp whose gradient is dropped only where it points further out, so that a value never sticks."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, low: float, high: float) -> Tensor:
        ctx.at_low, ctx.at_high = value <= low, value >= high  # type: ignore[attr-defined]
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        # Descent moves against the gradient: at the low end a positive one would push lower still.
        outward = (ctx.at_low & (gradient > 0)) | (ctx.at_high & (gradient < 0))  # type: ignore[attr-defined]
        return gradient.masked_fill(outward, 0.0), None, None
