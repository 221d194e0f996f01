"""Weights of a sharded model (FSDP 2, DeepSpeed's ZeRO-3), gathered for a while.

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

from r1_aqa.trainers.sharding import find_fsdp


def leave_results_unrounded(accelerator: Accelerator) -> None:
    """Have FSDP return the model's results as they are.

    accelerate would have log-probabilities, which are read inside the model, rounded to bfloat16.
    """
    fsdp = find_fsdp(accelerator)
    if fsdp is not None and fsdp.mixed_precision_policy is not None:
        fsdp.mixed_precision_policy = replace(fsdp.mixed_precision_policy, output_dtype=None)


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
            with _gathered(bare, bool(find_fsdp(accelerator).reshard_after_forward)):
                yield bare  # type: ignore[misc]
        else:
            yield bare  # type: ignore[misc]
