"""Transformer blocks whose linear layers multiply 8-bit integers: for inference on a CPU with VNNI.

Weights get one scale for each output, activations one for each token, taken from the token itself (as the
vector-wise part of LLM.int8, arXiv:2208.07339): no data is needed to prepare a model, and a token's result
depends on no other token, so a clip's embedding still does not depend on its batch. Sums are exact, in 32
bits. The three layers of query, key and value are one product, and their input is rounded once.

Where the processor multiplies bfloat16 faster than float32, what lies between two linear layers (attention,
GELU) is computed in bfloat16: rounding to 8 bits is coarser than to bfloat16's. The residual stream stays in
float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audio_common.attention import Block, Layout
from audio_common.mel import Float32Module
from audio_common.speed import WORTH, gain, is_bf16_faster

logger = logging.getLogger(__name__)

Fused = tuple[
    Callable[..., tuple[Tensor, Tensor]], Callable[..., Tensor], Callable[..., tuple[Tensor, Tensor]]
]

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
    scales = x.abs().amax(-1, keepdim=True).float().clamp_min(_SMALLEST_SCALE) / LARGEST
    return (x * scales.reciprocal()).round_().to(torch.int8), scales


def unround(sums: Tensor, row_scales: Tensor, scales: Tensor, bias: Tensor) -> Tensor:
    """Return what sums of products of integers stand for, `(..., out)` float32, with the bias added.

    Args:
        sums: `(..., out)` int32.
        row_scales: `(..., 1)`, of the activations.
        scales: `(out,)`, of the weights.
        bias: `(out,)`.
    """
    return torch.addcmul(bias, sums.float().mul_(row_scales), scales)


def unround_gelu_round(
    sums: Tensor, row_scales: Tensor, scales: Tensor, bias: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Apply `unround`, an exact GELU in `dtype`, and `round_rows`."""
    return round_rows(F.gelu(unround(sums, row_scales, scales, bias).to(dtype)))


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

    def sums(self, integers: Tensor) -> Tensor:
        """`(..., in)` int8 to `(..., out)` int32, before any scale."""
        return torch._int_mm(integers.flatten(0, -2), self.weight).unflatten(0, integers.shape[:-1])


class Int8Block(nn.Module):
    """A `Block` in evaluation, its linear layers in 8 bits.

    Attributes:
        between: dtype of what lies between two linear layers.
        fused: the functions between two products; `compile` replaces them.
    """

    def __init__(self, block: Block, between: torch.dtype) -> None:
        super().__init__()
        self.num_heads = block.attn.num_heads
        self.between = between
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.qkv = Int8Linear([block.attn.q, block.attn.k, block.attn.v])
        self.proj = Int8Linear([block.attn.proj])
        self.fc1, self.fc2 = Int8Linear([block.mlp.fc1]), Int8Linear([block.mlp.fc2])
        self.fused: Fused = (round_rows, unround, unround_gelu_round)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Tokens `(..., dim)` float32 in the shape of `layout`, to the same."""
        round_, unround_, gelu = self.fused
        dim = x.shape[-1]
        rounded, scales = round_(self.norm1(x))
        qkv = unround_(self.qkv.sums(rounded), scales, self.qkv.scales, self.qkv.bias).to(self.between)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in qkv.split(dim, dim=-1))
        rounded, scales = round_(layout.attend(q, k, v).flatten(-2))
        x = x + unround_(self.proj.sums(rounded), scales, self.proj.scales, self.proj.bias)
        rounded, scales = round_(self.norm2(x))
        fc1 = self.fc1
        rounded, scales = gelu(fc1.sums(rounded), scales, fc1.scales, fc1.bias, self.between)
        return x + unround_(self.fc2.sums(rounded), scales, self.fc2.scales, self.fc2.bias)


def check_processor(device: torch.device) -> torch.dtype:
    """Return the dtype in which this processor computes what lies between two products of 8 bits.

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


def to_int8(blocks: nn.ModuleList, between: torch.dtype, *, compiled: bool = False) -> nn.ModuleList:
    """Return blocks for inference whose linear layers multiply 8 bits.

    Args:
        blocks: of `audio_common.attention.Block` in float32; they stay as they are.
        between: dtype of what lies between two products.
        compiled: compile the steps between two products, once for any number of tokens.

    Raises:
        ValueError: a block is another, or not in float32, or holds an adapter.
    """
    for block in blocks:
        layers = [block.get_submodule(name) for name in _LAYERS] if isinstance(block, Block) else [block]
        if any(type(layer) is not nn.Linear or layer.weight.dtype != torch.float32 for layer in layers):
            raise ValueError(
                "int8 is made of plain float32 layers: load the model in float32, and merge adapters into "
                "its weights before"
            )
    made = [Int8Block(block, between) for block in blocks]
    if compiled:
        fused = compile_steps()
        for block in made:
            block.fused = fused
    return nn.ModuleList(made)


def compile_steps() -> Fused:
    """Return `round_rows`, `unround` and `unround_gelu_round` compiled, at their first call."""
    first, second, third = (
        torch.compile(step, dynamic=True) for step in (round_rows, unround, unround_gelu_round)
    )
    return first, second, third


def _bias_of(layer: nn.Linear) -> Tensor:
    return layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach().float()
