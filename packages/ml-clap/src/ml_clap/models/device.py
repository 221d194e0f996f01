"""Where a model runs, and in which precision."""

from __future__ import annotations

from typing import Literal

import torch
from audio_common.speed import is_bf16_faster

Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]
"""Precision of a model: of all weights, or `int8`: the sound encoder's layers in 8 bits, all else float32."""


def choose_device(device: str) -> str:
    """Return the device to use: for `auto` the first GPU if there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def choose_dtype(dtype: Dtype, device: str) -> torch.dtype:
    """Return the dtype of weights: for `auto` bfloat16 where the device multiplies it faster, else float32.

    Of a CPU this is measured once, see `audio_common.speed`.
    """
    if dtype == "auto":
        return torch.bfloat16 if is_bf16_faster(device) else torch.float32
    names = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    return names.get(dtype, torch.float32)  # int8 is made of float32
