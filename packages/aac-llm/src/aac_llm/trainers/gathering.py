"""Weights of a sharded model (FSDP 2, DeepSpeed's ZeRO-3) that are needed outside of their module's pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import FSDPModule


def announce_query(bridge: nn.Module, accelerator: Accelerator) -> None:
    """Tell ZeRO-3 that the Q-Former needs the bridge's query, before the model is set up.

    It gathers a module's weights for the backward pass where that reaches the tensors which the module
    returned, and looks for these in tuples and dictionaries: the bridge returns `AcousticTokens`.
    """
    zero: Any = accelerator.state.deepspeed_plugin
    if zero is not None and zero.zero_stage == 3 and hasattr(bridge, "query"):
        from deepspeed.runtime.zero import register_external_parameter

        register_external_parameter(bridge.qformer, bridge.query)


@contextmanager
def root_gathered(root: nn.Module) -> Iterator[None]:
    """Hold the root's own weights whole: FSDP gathers a module's before its `forward` alone."""
    if isinstance(root, FSDPModule):
        root.unshard()
    yield
    if isinstance(root, FSDPModule):
        root.reshard()
