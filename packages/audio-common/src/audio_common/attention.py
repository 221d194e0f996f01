"""Transformer blocks over pieces of different lengths: one calculation, three ways to carry it out.

Tokens only meet in the attention; everything else works on each token alone. So the tokens of all pieces
are kept one after another, `(tokens, dim)`, and only the attention step must know where pieces begin and
end:

- `Packed`: scaled-dot-product attention piece by piece, neighbours of equal length in one call. No padding
  is ever computed. The fastest on a CPU, and anywhere when all pieces are equally long.
- `Varlen`: PyTorch's flash attention over ragged rows; CUDA and half precision, torch 2.10 or later.
- `Padded`: rows padded to the longest, with a key mask. Works everywhere and has static shapes for
  `torch.compile`.

The three agree to rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AttentionKind = Literal["auto", "packed", "varlen", "padded"]


class Layout(ABC):
    """How the tokens of several pieces lie in a tensor, and how they attend to their own piece."""

    def enter(self, tokens: Tensor) -> Tensor:
        """`(tokens, dim)`, piece after piece, to this layout's own shape `(..., dim)`."""
        return tokens

    def leave(self, hidden: Tensor) -> Tensor:
        """The inverse of `enter`."""
        return hidden

    @abstractmethod
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention within each piece; all `(..., heads, head_dim)`."""

    @abstractmethod
    def keep_pieces(self, rate: float, like: Tensor) -> Tensor:
        """Bernoulli(`rate`) / `rate` for each piece, in a shape that broadcasts over its tokens."""


@dataclass(frozen=True)
class Packed(Layout):
    """Tokens `(tokens, dim)`; one call of attention for each run of equally long pieces."""

    sizes: tuple[int, ...]
    """Tokens of each piece."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention run by run, without any padding."""
        runs = [(size, len(list(run))) for size, run in groupby(self.sizes)]
        lengths = [size * count for size, count in runs]
        parts = zip(runs, q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
        out = [_attend_run(size, *qkv) for (size, _), *qkv in parts]
        return out[0] if len(out) == 1 else torch.cat(out)

    def keep_pieces(self, rate: float, like: Tensor) -> Tensor:
        """`(tokens, 1)`."""
        sizes = torch.tensor(self.sizes, device=like.device)
        return _bernoulli(len(self.sizes), rate, like).repeat_interleave(sizes)[:, None]


@dataclass(frozen=True)
class Varlen(Packed):
    """Tokens `(tokens, dim)`; attention by `torch.nn.attention.varlen` (CUDA, half precision)."""

    offsets: Tensor
    """`(pieces + 1,)` int32: where each piece starts, and the end."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One call of flash attention for all pieces."""
        from torch.nn.attention.varlen import varlen_attn

        longest = max(self.sizes)
        # Newer torch declares that it may return more, which it does when asked.
        return varlen_attn(q, k, v, self.offsets, self.offsets, longest, longest)  # type: ignore[return-value]


@dataclass(frozen=True)
class Padded(Layout):
    """Tokens `(pieces, longest, dim)`, zeros beyond a piece's end, which no token attends to."""

    mask: Tensor
    """`(pieces, longest)` bool, True at tokens."""

    def enter(self, tokens: Tensor) -> Tensor:
        """`(tokens, dim)` to `(pieces, longest, dim)`."""
        rows = tokens.new_zeros(*self.mask.shape, tokens.shape[-1])
        return rows.masked_scatter(self.mask[..., None], tokens)

    def leave(self, hidden: Tensor) -> Tensor:
        """`(pieces, longest, dim)` to `(tokens, dim)`."""
        return hidden[self.mask]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One call of attention with a key mask."""
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (pieces, heads, longest, head_dim)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:, None, None])
        return out.transpose(1, 2)

    def keep_pieces(self, rate: float, like: Tensor) -> Tensor:
        """`(pieces, 1, 1)`."""
        return _bernoulli(len(self.mask), rate, like)[:, None, None]


def _attend_run(size: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (
        x.unflatten(0, (-1, size)).transpose(1, 2) for x in (q, k, v)
    )  # (pieces, heads, size, head_dim)
    has_gradient = q.requires_grad and torch.is_grad_enabled()
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and not has_gradient:
        return attend_by_products(q, k, v).transpose(1, 2).flatten(0, 1)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)


def attend_by_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention `(pieces, heads, size, head_dim)` with its map in memory.

    On a CPU that multiplies bfloat16 faster, torch's fused attention does not use it but on AMX: this takes
    two thirds of its time. A group of pieces has few tokens, so the map stays in the cache.
    """
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1))
    return torch.matmul(scores.softmax(-1, dtype=torch.float32).to(v.dtype), v)


def _bernoulli(count: int, rate: float, like: Tensor) -> Tensor:
    return (torch.rand(count, device=like.device) < rate).to(like.dtype) / rate


def has_varlen() -> bool:
    """Whether this torch has `torch.nn.attention.varlen` (2.10 and later)."""
    from importlib.util import find_spec

    return find_spec("torch.nn.attention.varlen") is not None


def make_layout(
    kind: AttentionKind, sizes: Sequence[int], device: torch.device, dtype: torch.dtype
) -> Layout:
    """The layout for pieces of `sizes` tokens in `dtype` on `device`; `auto` takes the fastest there."""
    if kind == "auto":
        kind = _fastest(sizes, device, dtype)
    if kind == "packed":
        return Packed(tuple(sizes))
    if kind == "varlen":
        offsets = torch.tensor([0, *accumulate(sizes)], dtype=torch.int32)
        return Varlen(tuple(sizes), offsets.to(device, non_blocking=True))
    if kind == "padded":
        lengths = torch.tensor(sizes)
        return Padded((torch.arange(max(sizes)) < lengths[:, None]).to(device))
    raise ValueError(f"attention must be 'auto', 'packed', 'varlen' or 'padded', got {kind!r}")


def _fastest(sizes: Sequence[int], device: torch.device, dtype: torch.dtype) -> AttentionKind:
    if device.type == "cpu" or len(set(sizes)) == 1:
        return "packed"
    if device.type == "cuda" and dtype in (torch.float16, torch.bfloat16) and has_varlen():
        return "varlen"
    return "padded"


class Attention(nn.Module):
    """Multi-head self-attention; q, k and v are three layers, so that an adapter can name each."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Tokens `(..., dim)` in the shape of `layout`, to the same."""
        q, k, v = (layer(x).unflatten(-1, (self.num_heads, -1)) for layer in (self.q, self.k, self.v))
        return self.proj(layout.attend(q, k, v).flatten(-2))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., dim)` to the same."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block with stochastic depth (a whole piece keeps or loses a branch)."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Tokens `(..., dim)` in the shape of `layout`, to the same."""
        x = x + self._drop(self.attn(self.norm1(x), layout), layout)
        return x + self._drop(self.mlp(self.norm2(x)), layout)

    def _drop(self, branch: Tensor, layout: Layout) -> Tensor:
        if not self.training or self.drop_path == 0.0:
            return branch
        return branch * layout.keep_pieces(1.0 - self.drop_path, branch)
