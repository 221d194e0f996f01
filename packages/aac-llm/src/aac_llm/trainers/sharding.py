"""Whether weights are shared out among processes (FSDP 2, DeepSpeed's ZeRO-3), and checkpoints in parts."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator


def find_fsdp(accelerator: Accelerator) -> Any:
    """Return accelerate's settings of FSDP, or None."""
    return getattr(accelerator.state, "fsdp_plugin", None)


def is_sharded(accelerator: Accelerator) -> bool:
    """Return whether a process holds a part of the weights only."""
    zero: Any = accelerator.state.deepspeed_plugin
    return find_fsdp(accelerator) is not None or (zero is not None and zero.zero_stage == 3)


def keeps_parts(accelerator: Accelerator) -> bool:
    """Return whether FSDP's checkpoints are in parts (fsdp_state_dict_type: SHARDED_STATE_DICT)."""
    fsdp = find_fsdp(accelerator)
    return fsdp is not None and "FULL" not in str(fsdp.state_dict_type)


def check_sharding(accelerator: Accelerator) -> None:
    """Refuse a launcher's settings with which training would fail late.

    Raises:
        ValueError: what to change.
    """
    fsdp, zero = find_fsdp(accelerator), accelerator.state.deepspeed_plugin
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
