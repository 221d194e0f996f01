"""Run Qwen2-Audio's encoder on the frames that a batch has: five seconds cost a sixth of thirty.

The family pads all audio to 30 s and runs its encoder over all of it, although attention is masked beyond
the audio's end. The output for an audio depends on its own frames and, through the two convolutions, on the
next four; so a batch can be cut a little after its longest audio, and the output is the same
(`tests/models/test_qwen2_audio.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

MARGIN = 8
"""Frames of silence that are kept after the longest audio: more than the convolutions see."""
POOLING = 4
"""Frames that become one audio token."""


def cut_silence(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the processor's tensors with features `(batch, mels, frames)` no longer than the batch needs."""
    longest = int(inputs["feature_attention_mask"].sum(-1).max()) + MARGIN
    frames = min(inputs["input_features"].shape[-1], -(-longest // POOLING) * POOLING)
    return inputs | {
        "input_features": inputs["input_features"][..., :frames],
        "feature_attention_mask": inputs["feature_attention_mask"][..., :frames],
    }


def can_be_cut(model: nn.Module) -> bool:
    """Return whether the encoder's positions are here as one whole: FSDP and DeepSpeed may split them."""
    encoder = _encoder(model)
    weight = encoder.embed_positions.weight
    split = hasattr(weight, "ds_id") or hasattr(weight, "_local_tensor")
    return not split and weight.shape[0] == encoder.config.max_source_positions


@contextmanager
def reading(model: nn.Module, frames: int) -> Iterator[None]:
    """Let the encoder take `frames` frames, within the block; otherwise it refuses all but 30 s."""
    encoder = _encoder(model)
    positions, most = encoder.embed_positions, encoder.config.max_source_positions
    encoder.embed_positions = nn.Embedding.from_pretrained(positions.weight[: frames // 2])
    encoder.config.max_source_positions = frames // 2
    try:
        yield
    finally:
        encoder.embed_positions, encoder.config.max_source_positions = positions, most


def _encoder(model: nn.Module) -> Any:
    return next(module for name, module in model.named_modules() if name.endswith("audio_tower"))
