"""Where a model runs, and in which precision."""

from __future__ import annotations

from typing import Literal

import torch

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def choose_device(device: str) -> str:
    """Return the device to use: for `auto` the first GPU if there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def choose_dtype(dtype: Dtype, device: str) -> torch.dtype:
    """Return the dtype of weights: for `auto` bfloat16 on a GPU that computes in it, else float32."""
    if dtype == "auto":
        is_fast = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
