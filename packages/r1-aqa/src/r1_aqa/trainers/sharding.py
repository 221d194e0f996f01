"""Weights that are shared out among processes (FSDP 2, DeepSpeed's ZeRO-3), and how to have them whole.

A pass with gradients calls the wrapped model as always, and all processes do so equally often. Sampling and
the embedding of prompts call parts of the model, one process more often than the other: for these each
process holds all weights for a while, in the number format of the computation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method


def is_sharded(accelerator: Accelerator) -> bool:
    """Return whether a process holds a part of the weights only."""
    zero: Any = accelerator.state.deepspeed_plugin
    return _fsdp(accelerator) is not None or (zero is not None and zero.zero_stage == 3)


def keeps_parts(accelerator: Accelerator) -> bool:
    """Return whether FSDP's checkpoints are in parts (fsdp_state_dict_type: SHARDED_STATE_DICT)."""
    fsdp = _fsdp(accelerator)
    return fsdp is not None and "FULL" not in str(fsdp.state_dict_type)


def _fsdp(accelerator: Accelerator) -> Any:
    return getattr(accelerator.state, "fsdp_plugin", None)


def set_up_sharding(accelerator: Accelerator) -> None:
    """Refuse a launcher's settings with which training would fail late; leave the model's results unrounded.

    Raises:
        ValueError: what to change.
    """
    fsdp, zero = _fsdp(accelerator), accelerator.state.deepspeed_plugin
    if fsdp is not None:
        if fsdp.fsdp_version != 2:
            raise ValueError(
                f"FSDP {fsdp.fsdp_version} is not supported; set fsdp_version: 2, as "
                "recipes/accelerate/fsdp.yaml has"
            )
        if fsdp.mixed_precision_policy is not None:
            # accelerate would have log-probabilities, which are read inside the model, rounded to bfloat16.
            fsdp.mixed_precision_policy = replace(fsdp.mixed_precision_policy, output_dtype=None)
    if zero is not None and zero.zero_stage == 3:
        stage = zero.deepspeed_config.get("zero_optimization", {})
        if not stage.get("stage3_gather_16bit_weights_on_model_save"):
            raise ValueError(
                "DeepSpeed's ZeRO-3 would save no model: set stage3_gather_16bit_weights_on_model_save: true "
                "(zero3_save_16bit_model of accelerate)"
            )


@contextmanager
def whole_weights(model: nn.Module, accelerator: Accelerator) -> Iterator[nn.Module]:
    """Yield the model inside its wrapper, which within the block can be called in any way.

    All processes must enter the block together.

    Args:
        model: as accelerate prepared it.
        accelerator: that did so.
    """
    from trl.models.utils import unwrap_model_for_generation  # seconds to import

    with unwrap_model_for_generation(model, accelerator) as bare:  # type: ignore[arg-type]
        if isinstance(bare, FSDPModule):
            with _gathered(bare, bool(_fsdp(accelerator).reshard_after_forward)):
                yield bare  # type: ignore[misc]
        else:
            yield bare  # type: ignore[misc]


@contextmanager
def _gathered(root: Any, reshards: bool) -> Iterator[None]:
    """Gather all weights for the block; `reshards`: whether calls outside of it share them out again."""
    parts = [module for module in root.modules() if isinstance(module, FSDPModule)]
    # The first call makes the root known as such: else a part that is called first would take itself for it.
    root.begin = lambda: None
    register_fsdp_forward_method(root, "begin")
    root.begin()
    root.set_reshard_after_forward(False)
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
        root.set_reshard_after_forward(reshards)
        # Used last in the forward pass and first in the backward pass, as accelerate has it.
        for part in {root, root.get_output_embeddings()} & set(parts):
            part.set_reshard_after_forward(False, recurse=False)
        del root.begin
