"""Linear layers of a decoder in 8 bits on a CPU, for inference: `--quantization 8bit` where there is no GPU.

Weights get one scale for each output, activations one for each token, taken from the token itself. So nothing
is to be calibrated, and a caption still depends on its own sound alone: PyTorch's dynamic quantization takes
one scale for all tokens of a batch, and a loud neighbour would round the others away (measured: cosine .990
instead of .9999 of the logits). The product is PyTorch's own for x86 (fbgemm), its result float32.

What is not a plain linear layer (embeddings, norms, attention's products, GPT-2's `Conv1D`) stays as it is.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from aac_llm.models.decoder import DecoderError

LARGEST = 127
"""Of an 8-bit integer; -128 stays unused, so that a weight and its negative are equally far from 0."""
_SMALLEST = 1e-12  # a token of zeros stays zeros
_MIDDLE = 128  # fbgemm multiplies unsigned activations by signed weights


class Int8Linear(nn.Module):
    """A linear layer whose products are of 8-bit integers.

    Args:
        layer: in float32; it stays as it is.
    """

    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach().float()
        scales = weight.abs().amax(1).clamp_min(_SMALLEST).double() / LARGEST
        with warnings.catch_warnings():  # PyTorch means to give its quantized tensors up for torchao's
            warnings.simplefilter("ignore")
            integers = torch.quantize_per_channel(
                weight, scales, torch.zeros_like(scales, dtype=torch.long), 0, torch.qint8
            )
        bias = None if layer.bias is None else layer.bias.detach().float()
        # The bias comes after the token's own scale, which the packed product knows nothing of.
        self.register_buffer("bias", bias)
        self.packed = torch.ops.quantized.linear_prepack(integers, None)
        self.largest = activation_limit()

    def forward(self, x: Tensor) -> Tensor:
        """`(..., in)` to `(..., out)`, both in the dtype of `x`."""
        rows = x.float()
        scales = rows.abs().amax(-1, keepdim=True).clamp_min(_SMALLEST)
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / scales, 1 / self.largest, _MIDDLE, self.packed
        )
        found = product * scales if self.bias is None else torch.addcmul(self.bias, product, scales)
        return found.to(x.dtype)

    def extra_repr(self) -> str:
        """Say the sizes, as `nn.Linear` does."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


def activation_limit() -> int:
    """Return the largest activation: without VNNI fbgemm adds two products in 16 bits, so 7 bits fit."""
    return LARGEST if torch.cpu._is_vnni_supported() else LARGEST // 2


def to_int8(decoder: nn.Module) -> int:
    """Put `Int8Linear` in the place of a model's linear layers, adapters that are merged included.

    Returns:
        How many layers were replaced.

    Raises:
        DecoderError: there is none, or this PyTorch multiplies no integers (it is built for another
            processor), or an adapter is not merged.
    """
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        raise DecoderError(
            "quantization 8bit on a CPU needs PyTorch for x86 (fbgemm), and this one is built for another "
            "processor; set it to none"
        )
    count = 0
    for parent in list(decoder.modules()):
        for name, child in list(parent.named_children()):
            if (layer := _linear(child)) is not None and not isinstance(parent, LoraLayer):
                setattr(parent, name, Int8Linear(layer))
                count += 1
    if not count:
        raise DecoderError(
            f"quantization 8bit on a CPU replaces linear layers, and {type(decoder).__name__} has none; "
            "set it to none"
        )
    return count


def _linear(module: Any) -> nn.Linear | None:
    """Return the plain linear layer that a module is, or that a merged adapter is around."""
    if isinstance(module, LoraLayer):
        base = module.get_base_layer()
        if type(base) is not nn.Linear:
            return None
        if not module.merged:
            raise DecoderError("an adapter is not merged: 8 bits on a CPU are made of float32 weights")
        return base
    return module if type(module) is nn.Linear else None
