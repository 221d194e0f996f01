"""Weights that are shared out among processes (FSDP 2, DeepSpeed's ZeRO-3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import FSDPModule


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


def check_sharding(accelerator: Accelerator) -> None:
    """Refuse a launcher's settings with which training would fail late.

    Raises:
        ValueError: what to change.
    """
    fsdp, zero = _fsdp(accelerator), accelerator.state.deepspeed_plugin
    if fsdp is not None and fsdp.fsdp_version != 2:
        raise ValueError(
            f"FSDP {fsdp.fsdp_version} is not supported; set fsdp_version: 2, as "
            "recipes/accelerate/fsdp.yaml has"
        )
    if zero is not None and zero.zero_stage == 3:
        stage = zero.deepspeed_config.get("zero_optimization", {})
        if not stage.get("stage3_gather_16bit_weights_on_model_save"):
            raise ValueError(
                "DeepSpeed's ZeRO-3 would save no model: set stage3_gather_16bit_weights_on_model_save: true "
                "(zero3_save_16bit_model of accelerate)"
            )


def announce_query(bridge: nn.Module, accelerator: Accelerator) -> None:
    """Tell ZeRO-3 that the Q-Former needs the bridge's query, before the model is set up.

    It gathers a module's weights for the backward pass where that reaches the tensors which the module
    returned, and looks for these in tuples and dictionaries: the bridge returns `AcousticTokens`.
    """
    zero: Any = accelerator.state.deepspeed_plugin
    if zero is not None and zero.zero_stage == 3 and hasattr(bridge, "query"):
        from deepspeed.zero import register_external_parameter

        register_external_parameter(bridge.qformer, bridge.query)


@contextmanager
def root_gathered(root: nn.Module) -> Iterator[None]:
    """Hold the root's own weights whole: FSDP gathers a module's before its `forward` alone."""
    if isinstance(root, FSDPModule):
        root.unshard()
    yield
    if isinstance(root, FSDPModule):
        root.reshard()
