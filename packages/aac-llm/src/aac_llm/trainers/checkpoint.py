"""By what a checkpoint was written, and whether this training can go on from it.

Trainer's checkpoints hold whole weights, FSDP's whole ones or parts, DeepSpeed's parts. With DDP and FSDP
any number of processes goes on, as long as an update has as many examples as before. DeepSpeed's parts are of
a number of processes, and are turned into its universal form for another one.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from accelerate import Accelerator

logger = logging.getLogger(__name__)

WHOLE, FSDP_WHOLE, FSDP_PARTS, DEEPSPEED = (
    "whole weights (DDP, or one process)",
    "FSDP with FULL_STATE_DICT",
    "FSDP with SHARDED_STATE_DICT",
    "DeepSpeed",
)
PARTS_FOLDER = "pytorch_model_fsdp_0"
"""In a checkpoint of FSDP in parts: torch's distributed checkpoint of the weights."""
PASSES = ("batch_size", "gradient_accumulation_steps")
"""Settings that may change with the number of processes."""


def count_writers(checkpoint: Path) -> int:
    """Return how many processes wrote a checkpoint: each of several left the state of its random numbers."""
    return max(1, len(list(checkpoint.glob("rng_state_*.pth"))))


def name_engine(checkpoint: Path) -> str:
    """Return by what a checkpoint was written: WHOLE, FSDP_WHOLE, FSDP_PARTS or DEEPSPEED."""
    if (checkpoint / PARTS_FOLDER).is_dir():
        return FSDP_PARTS
    if (checkpoint / "pytorch_model_fsdp.bin").is_file():
        return FSDP_WHOLE
    return DEEPSPEED if any(checkpoint.glob("global_step*")) else WHOLE


def name_own_engine(accelerator: Accelerator) -> str:
    """Return by what this training's checkpoints are written."""
    fsdp = getattr(accelerator.state, "fsdp_plugin", None)
    if fsdp is not None:
        return FSDP_WHOLE if "FULL" in str(fsdp.state_dict_type) else FSDP_PARTS
    return DEEPSPEED if accelerator.state.deepspeed_plugin is not None else WHOLE


def require_same_update(before: Mapping[str, Any], now: Any, writers: int, processes: int) -> None:
    """Refuse another number of processes where an update would have more or fewer examples.

    Args:
        before: settings of the training so far.
        now: settings of this one.
        writers: processes so far.
        processes: of now.

    Raises:
        ValueError: with the number that an update must have.
    """
    was, new = [before.get(name, 1) for name in PASSES], [getattr(now, name) for name in PASSES]
    expected, found = was[0] * was[1] * writers, new[0] * new[1] * processes
    if found != expected:
        raise ValueError(
            f"the checkpoint is of {writers} process(es) with batch_size {was[0]} and "
            f"gradient_accumulation_steps {was[1]}, {expected} for an update; {processes} process(es) with "
            f"{new[0]} and {new[1]} would make {found}: choose both so that it stays {expected}"
        )


def prepare_resume(checkpoint: Path, accelerator: Accelerator) -> None:
    """Refuse a checkpoint that this launcher's engine cannot read; fit DeepSpeed's to the processes of now.

    To be called by all processes.

    Raises:
        ValueError: with what can read it.
    """
    written, own = name_engine(checkpoint), name_own_engine(accelerator)
    if written != own:
        raise ValueError(
            f"{checkpoint} was written by {written}, and this training is launched with {own}; launch it as "
            "before, or begin another from its weights: export-checkpoint, then init_from"
        )
    if own == DEEPSPEED and count_writers(checkpoint) != accelerator.num_processes:
        if accelerator.is_main_process:
            write_universal(checkpoint)
        accelerator.wait_for_everyone()
        plugin: Any = accelerator.state.deepspeed_plugin
        plugin.deepspeed_config["checkpoint"] = {"load_universal": True}


def write_universal(checkpoint: Path) -> None:
    """Write DeepSpeed's weights and optimizer once more, in the form that any number of processes reads."""
    from deepspeed.checkpoint import ds_to_universal

    (parts,) = (path for path in checkpoint.glob("global_step*") if not path.name.endswith("_universal"))
    logger.info("%s: made ready for another number of processes", checkpoint)
    settings = {"num_extract_workers": 1, "num_merge_workers": 1, "keep_temp_folder": False}
    folders = {"input_folder": str(parts), "output_folder": f"{parts}_universal"}
    with redirect_stdout(None):  # its steps
        ds_to_universal.main(Namespace(**folders, **settings, strict=True, inject_missing_state=True))


def separate_steps(engine: Any) -> None:
    """Give each group of parameters its own count of updates, after a universal checkpoint was loaded.

    DeepSpeed (0.19) gives them all the same tensor, which the optimizer then counts up once for each group:
    Adam would correct its moments for too many updates.
    """
    is_universal = getattr(engine, "load_universal_checkpoint", None)  # None: no engine of DeepSpeed
    if is_universal is not None and is_universal():
        for state in engine.optimizer.optimizer.state.values():
            state["step"] = state["step"].clone()
