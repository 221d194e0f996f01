"""A training run besides its maths: its processes and devices, and its settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import DistributedType, parse_flag_from_env
from torch import nn
from torch.distributed.fsdp import StateDictType

from ml_clap.config.model import ModelConfig
from ml_clap.config.train import TrainConfig
from ml_clap.data.shards.places import any_shards
from ml_clap.files import to_plain

MAY_CHANGE = (
    "out",
    "device",
    "resume",
    "logging_steps",
    "keep_checkpoints",
    "save_steps",
    "report_to",
    "data.num_workers",
    "data.cache_gigabytes",
)
"""Settings that may differ when a run is continued: they do not change its numbers."""
MAY_GROW = ("epochs", "max_steps")
"""Settings that may be larger when a run is continued: it goes on, with the learning rate of a longer run."""
SHARED_OUT = (DistributedType.FSDP, DistributedType.DEEPSPEED)


class TrainingError(ValueError):
    """Training cannot go on; says what to do."""


def check_finite_weights(model: nn.Module, step: int) -> None:
    """Raise a TrainingError if a weight is not finite after an update.

    A finite gradient can still make such, with a learning rate beyond measure.
    """
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise not_finite_weights(name, step)


def not_finite_weights(name: str, step: int) -> TrainingError:
    """Return the error that names weights that are not finite."""
    return TrainingError(
        f"the weights {name} are not finite after update {step}; lower learning_rate; the same command "
        "continues from the last checkpoint"
    )


def random_seed(*numbers: int) -> int:
    """Return a seed of 63 bits made of some numbers; close numbers give seeds far apart."""
    text = " ".join(str(number) for number in numbers)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


ADDED = {
    "data.channel": "mean",
    "data.language": "eng_Latn",
    "data.shard_streams": 4,
    "data.shard_buffer": 2560,
    "augment.token_noise": 0.0,
    "loss": "infonce",
    "matryoshka_dims": [],
    "model.text_lora_rank": 0,
    "multilingual": "pairs",
}
"""Settings that runs of earlier versions do not name, as they were then."""


SIGMOID_BIAS = -10.0
"""Where the bias of the sigmoid loss starts, in SigLIP as in GLAP."""


def model_settings(config: TrainConfig) -> ModelConfig:
    """Return the settings of the model to train, with the bias that the loss needs."""
    return with_bias(config.model, config.loss)


def with_bias(model: ModelConfig, loss: str) -> ModelConfig:
    """Return a model's settings with the bias that a loss needs."""
    if loss != "sigmoid" or model.similarity_bias is not None:
        return model
    return replace(model, similarity_bias=SIGMOID_BIAS)


def run_settings(config: TrainConfig, num_processes: int) -> dict[str, Any]:
    """Return the settings as JSON has them, with the batch size of all processes together.

    So a run may be continued by another number of processes if each takes its share of the same batches.
    """
    settings = to_plain(config)
    settings["batch_size"] = config.batch_size * num_processes
    if any_shards(config.data.train):
        settings["processes"] = num_processes  # each has its part of the shards, and so other batches
    return settings


def is_same_run(saved: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Tell whether two runs by their `run_settings` come to the same end."""
    return not _changes(saved, wanted)


def check_same_run(saved: dict[str, Any], wanted: dict[str, Any], out: Path) -> None:
    """Raise a TrainingError that names the `run_settings` in which a run would differ from what it was.

    It may become longer.
    """
    changed = [
        f"{name} was {before!r}, is {now!r}" + (" (of all processes)" if name == "batch_size" else "")
        for name, (before, now) in _changes(saved, wanted).items()
        if not _has_grown(name, before, now)
    ]
    if changed:
        raise TrainingError(
            f"the run in {out} had other settings: {'; '.join(changed)}. Continue it with its own "
            f"(--config {out / 'config.json'}), or choose another --out"
        )


def _changes(saved: dict[str, Any], wanted: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return name -> (before, now) of the settings that matter and differ."""
    now = flatten(wanted)
    # What a distillation has no setting for was not added to it.
    before = {name: value for name, value in ADDED.items() if name in now} | flatten(saved)
    return {
        name: (before.get(name), now.get(name))
        for name in sorted(before | now)
        if name not in MAY_CHANGE and before.get(name) != now.get(name)
    }


def _has_grown(name: str, before: Any, now: Any) -> bool:
    return name in MAY_GROW and before is not None and now is not None and now > before


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, dict)
        flat |= flatten(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Return the processes, devices, precision and trackers of a run."""
    for name in config.report_to:
        if find_spec(name) is None:
            raise TrainingError(f"report_to: {name} is not installed; pip install {name}, or leave it out")
    # Where weights are shared out, the towers use bfloat16 themselves: accelerate would round the samples.
    is_shared = any(parse_flag_from_env(name) for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"))
    is_plain = config.precision == "fp32" or (is_shared and config.precision == "bf16")
    accelerator = Accelerator(
        cpu=_is_on_cpu(config.device),
        mixed_precision="no" if is_plain else config.precision,
        log_with=list(config.report_to) or None,
        project_dir=config.out,
        kwargs_handlers=[
            DistributedDataParallelKwargs(broadcast_buffers=False),  # no buffer changes in training
            InitProcessGroupKwargs(timeout=timedelta(hours=2)),  # the others wait while one validates
        ],
    )
    require_supported(config, accelerator)
    if config.report_to:
        settings = {
            name: value if isinstance(value, str | float | int | bool) else str(value)
            for name, value in flatten(to_plain(config)).items()
        }
        accelerator.init_trackers("ml-clap", config=settings)
    return accelerator


def is_shared_out(accelerator: Accelerator) -> bool:
    """Tell whether no process has all weights with their gradients and optimizer."""
    return accelerator.distributed_type in SHARED_OUT


def writes_parts(accelerator: Accelerator) -> bool:
    """Tell whether each process writes its own part of a checkpoint."""
    if accelerator.distributed_type != DistributedType.FSDP:
        return False
    return accelerator.state.fsdp_plugin.state_dict_type == StateDictType.SHARDED_STATE_DICT


def require_supported(config: TrainConfig, accelerator: Accelerator) -> None:
    """Refuse settings that do not go together with weights that are shared out.

    Raises:
        TrainingError: Says which, and what does.
    """
    if not is_shared_out(accelerator):
        return
    if config.precision == "fp16":
        raise TrainingError(
            "precision: fp16 needs all weights on each device; share them out with --precision bf16"
        )
    if accelerator.distributed_type == DistributedType.FSDP:
        if not accelerator.is_fsdp2:
            raise TrainingError(
                "FSDP 1 is not supported: set fsdp_version: 2 in the configuration of accelerate, as "
                "recipes/accelerate/fsdp.yaml has it"
            )
        return
    if config.ema_decay is not None:
        raise TrainingError(
            "ema_decay cannot be kept of weights that DeepSpeed shares out: leave it out, or use FSDP "
            "(recipes/accelerate/fsdp.yaml)"
        )
    if accelerator.state.deepspeed_plugin.zero_stage == 0:
        raise TrainingError(
            "zero_stage: 0 shares nothing out: use recipes/accelerate/ddp.yaml, or a stage 1 to 3"
        )


def describe_batch(batch_size: int, num_processes: int) -> str:
    """Say how many pairs are compared with one another, and how the processes share them."""
    total = f"batch of {batch_size * num_processes}"
    return total if num_processes == 1 else f"{total} = {batch_size} x {num_processes} processes"


def _is_on_cpu(device: str) -> bool:
    """Tell whether to train on the CPU; chooses the GPU that `cuda:1` names."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu") and not torch.accelerator.is_available():
        raise TrainingError(f"device: {device} is not there; --device cpu or auto trains without")
    if number and kind != "cpu":
        torch.accelerator.set_device_index(int(number))
    # Without `cpu`, accelerate takes each of several processes on a processor for the only one.
    asked = kind == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    return bool(asked) or not torch.accelerator.is_available()
