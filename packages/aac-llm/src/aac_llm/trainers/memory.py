"""Estimate how much memory training will need on a device, before it starts.

Weights, gradients and AdamW's two moments are counted; activations are estimated from sizes, to within some
tens of percent: enough to see whether a 24 GB GPU will do. What is not in it: the CUDA context (about 0.5 GB)
and fragmentation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from aac_llm.models.captioner_model import SAMPLE_RATE, CaptionModel
from aac_llm.models.encoder import count_encoder_tokens

GRADIENT_BYTES = 4
MOMENT_BYTES = 8
VALUES_KEPT = 34
"""Values of the model's width that a transformer layer keeps for each token until the backward pass, in
half precision: 34 bytes for each (Korthikanti et al., arXiv:2205.05198, without attention maps)."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device."""

    weights: int
    """All weights, trained or not."""
    gradients: int
    """Gradients of what is trained, in float32."""
    optimizer: int
    """AdamW's two moments of what is trained, in float32."""
    activations: int
    """Kept from forward to backward pass, logits included; estimated."""

    @property
    def total(self) -> int:
        """The sum."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        parts = ", ".join(f"{field.name} {getattr(self, field.name) / 1e9:.1f}" for field in fields(self))
        return f"about {self.total / 1e9:.1f} GB ({parts})"


def estimate_memory(
    model: CaptionModel,
    *,
    batch_size: int,
    seconds: float,
    caption_tokens: int = 25,
    half_precision: bool = False,
    gradient_checkpointing: bool = False,
) -> MemoryEstimate:
    """Estimate what training a model needs.

    Args:
        model: built, on any device.
        batch_size: clips of a forward pass.
        seconds: length of the longest clips.
        caption_tokens: length of the longest captions.
        half_precision: activations are in bfloat16.
        gradient_checkpointing: only the input of each layer is kept.
    """
    # All trained weights are float32 (see lora.py), whatever the frozen ones are.
    trained = sum(parameter.numel() for parameter in model.trainable_parameters())
    prompt = len(model.prompt)
    decoder = model.decoder.config.get_text_config()
    # The decoder reads all of it, although only the caption is scored.
    length = prompt + model.token_budget(seconds) + caption_tokens
    value_bytes = 2 if half_precision else 4
    # With recomputation only the input of each layer, 2 bytes a value in half precision.
    kept = 2 if gradient_checkpointing else VALUES_KEPT
    tokens = batch_size * length * decoder.num_hidden_layers * decoder.hidden_size
    if model.config.encoder_strategy != "frozen":
        # A frozen encoder keeps nothing.
        config = model.config
        heard = count_encoder_tokens(round(seconds * SAMPLE_RATE), config)
        tokens += batch_size * heard * config.encoder_depth * config.encoder_dim
    logits = batch_size * caption_tokens * decoder.vocab_size * 12  # float32, its softmax and its gradient
    return MemoryEstimate(
        weights=sum(count_bytes(part) for part in (model.encoder, model.bridge, model.decoder)),
        gradients=trained * GRADIENT_BYTES,
        optimizer=trained * MOMENT_BYTES,
        activations=tokens * kept * value_bytes // 2 + logits,
    )


def count_bytes(module: nn.Module | Any) -> int:
    """Count the bytes of a module's parameters as they are stored (4 bits: half a byte each)."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
