"""Transformer blocks whose linear layers multiply 8-bit integers: for inference on a CPU with VNNI.

Weights get one scale for each output, activations one for each token, taken from the token itself (as the
vector-wise part of LLM.int8, arXiv:2208.07339): no data is needed to prepare a model, and a token's result
depends on no other token, so a clip's embedding still does not depend on its batch. Sums are exact, in 32
bits. The three layers of query, key and value are one product, and their input is rounded once.

Where the processor multiplies bfloat16 faster than float32, attention is computed in bfloat16: rounding to 8
bits is coarser than to bfloat16's. All else stays in float32, GELU too: it takes as long in either, and the
conversions would come on top. For a small encoder these passes over memory cost as much as the products.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audio_common.attention import Block, Layout
from audio_common.mel import Float32Module
from audio_common.speed import WORTH, gain, is_bf16_faster

logger = logging.getLogger(__name__)

LARGEST = 127
"""Of an 8-bit integer; -128 stays unused, so that a weight and its negative are equally far from 0."""
_LAYERS = ("attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.fc2")
_SMALLEST_SCALE = 1e-12  # a token of zeros stays zeros


def round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round each token to 8 bits on a scale of its own.

    Args:
        x: `(..., dim)`.

    Returns:
        Integers `(..., dim)` int8, and scales `(..., 1)` float32: their product is about `x`.
    """
    x = x.float()  # a product of two dtypes is several times as slow
    scales = x.abs().amax(-1, keepdim=True).clamp_min(_SMALLEST_SCALE) / LARGEST
    return (x * scales.reciprocal()).round_().to(torch.int8), scales


def unround(sums: Tensor, row_scales: Tensor, scales: Tensor, bias: Tensor) -> Tensor:
    """Return what sums of products of integers stand for, `(..., out)` float32, with the bias added.

    Args:
        sums: `(..., out)` int32.
        row_scales: `(..., 1)`, of the activations.
        scales: `(out,)`, of the weights.
        bias: `(out,)`.
    """
    numbers = sums.float().mul_(row_scales)
    return torch.addcmul(bias, numbers, scales, out=numbers)


class Int8Linear(Float32Module):
    """Linear layers over the same input as one product of 8-bit integers; scales and bias stay float32."""

    weight: Tensor
    scales: Tensor
    bias: Tensor

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        weight = torch.cat([layer.weight.detach().float() for layer in layers])  # (out, in)
        scales = weight.abs().amax(1).clamp_min(_SMALLEST_SCALE) / LARGEST
        integers = (weight / scales[:, None]).round().to(torch.int8)
        self.register_buffer("weight", integers.T.contiguous())  # (in, out)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", torch.cat([_bias_of(layer) for layer in layers]))

    def forward(self, integers: Tensor, row_scales: Tensor) -> Tensor:
        """What `round_rows` returns of `(..., in)`, to `(..., out)` float32."""
        sums = torch._int_mm(integers.flatten(0, -2), self.weight).unflatten(0, integers.shape[:-1])
        return unround(sums, row_scales, self.scales, self.bias)


class Int8Block(nn.Module):
    """A `Block` in evaluation, its linear layers in 8 bits.

    Attributes:
        between: dtype of the attention between two linear layers.
    """

    def __init__(self, block: Block, between: torch.dtype) -> None:
        super().__init__()
        self.num_heads = block.attn.num_heads
        self.between = between
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.qkv = Int8Linear([block.attn.q, block.attn.k, block.attn.v])
        self.proj = Int8Linear([block.attn.proj])
        self.fc1, self.fc2 = Int8Linear([block.mlp.fc1]), Int8Linear([block.mlp.fc2])

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Tokens `(..., dim)` float32 in the shape of `layout`, to the same."""
        rounded, scales = round_rows(self.norm1(x))
        qkv = self.qkv(rounded, scales).to(self.between)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in qkv.split(x.shape[-1], dim=-1))
        x = x + self.proj(*round_rows(layout.attend(q, k, v).flatten(-2)))
        hidden = self.fc1(*round_rows(self.norm2(x)))
        return x + self.fc2(*round_rows(F.gelu(hidden)))


def check_processor(device: torch.device) -> torch.dtype:
    """Return the dtype in which this processor computes the attention between two products of 8 bits.

    A processor that multiplies 8 bits no faster than float32 gets a warning: the answers are the same.

    Raises:
        ValueError: the device is no CPU.
    """
    if device.type != "cpu":
        raise ValueError(f"int8 is for inference on a CPU, got an encoder on {device}: use bf16 there")
    if (times := gain("int8")) < WORTH:
        logger.warning(
            "this processor multiplies 8 bits %.1f times as fast as float32: int8 saves nothing", times
        )
    return torch.bfloat16 if is_bf16_faster(device) else torch.float32


def to_int8(blocks: nn.ModuleList, between: torch.dtype) -> nn.ModuleList:
    """Return blocks for inference whose linear layers multiply 8 bits.

    Args:
        blocks: of `audio_common.attention.Block` in float32; they stay as they are.
        between: dtype of the attention between two products.

    Raises:
        ValueError: a block is another, or not in float32, or holds an adapter.
    """
    return nn.ModuleList(_to_int8(block, between) for block in blocks)


def _to_int8(block: nn.Module, between: torch.dtype) -> Int8Block:
    layers = [block.get_submodule(name) for name in _LAYERS] if isinstance(block, Block) else []
    if not isinstance(block, Block) or not all(_is_plain(layer) for layer in layers):
        raise ValueError(
            "int8 is made of plain float32 layers: load the model in float32, and merge adapters into its "
            "weights before"
        )
    return Int8Block(block, between)


def _is_plain(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear and layer.weight.dtype == torch.float32


def _bias_of(layer: nn.Linear) -> Tensor:
    return layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach().float()
