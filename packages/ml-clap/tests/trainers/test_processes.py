"""Two processes take the updates that one would: the loss compares all pairs of the global batch.

What each process draws for itself (dropout, patch-out, SpecAugment) is off here, for it cannot be the same;
gain and shift are drawn by clip, and stay on. The mel BatchNorm's statistics are fixed in every training run.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from launched import run_launched
from ml_clap import cli
from ml_clap.trainers.processes import TrainingError, require_supported
from ml_clap.trainers.run_folder import read_log
from ml_clap.trainers.train import train
from safetensors.torch import load_file

# accelerate's launcher starts one process on a processor, whatever number it is told.
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def in_one_process(command: list[str]) -> None:
    train(cli.read(command))


def in_two_processes(command: list[str]) -> None:
    said = run_launched([sys.executable, *LAUNCH, "-m", "ml_clap", *command])
    assert "batch of 8 = 4 x 2 processes" in said


def losses(out: Path) -> list[dict]:
    return [record for record in read_log(out / "log.jsonl") if "loss" in record]


@pytest.mark.slow
def test_two_processes_take_the_updates_of_one_and_go_on(no_dropout: Path, tmp_path: Path) -> None:
    command = ["train", "--config", str(no_dropout), "--epochs", "1", "--gradient_accumulation_steps", "2"]
    # Gradient caching in the two alone: each encodes its 4 pairs as 3 and 1, and nothing may change.
    halves = [*command, "--batch_size", "4", "--gradient_cache", "3", "--out", str(tmp_path / "two")]
    in_one_process([*command, "--batch_size", "8", "--out", str(tmp_path / "one")])
    in_two_processes(halves)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) > 3
    for expected, got in zip(one, two, strict=True):
        assert got["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert got["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)
    expected, got = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(expected[key], got[key], rtol=1e-3, atol=1e-4) for key in expected)
    shutil.rmtree(tmp_path / "two" / "checkpoint-6")
    (tmp_path / "two" / "finished.json").unlink()
    in_two_processes(halves)
    again = losses(tmp_path / "two")
    assert [each["loss"] for each in again] == [each["loss"] for each in two]


def shared(kind: DistributedType, *, is_fsdp2: bool = True, stage: int = 3) -> Any:
    """Stand in for the accelerator of processes that share the weights out."""
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=stage))
    return SimpleNamespace(distributed_type=kind, is_fsdp2=is_fsdp2, state=state)


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (shared(DistributedType.FSDP), {"precision": "fp16"}, "precision: fp16 .* --precision bf16"),
    (shared(DistributedType.FSDP, is_fsdp2=False), {}, "FSDP 1 .* fsdp_version: 2"),
    (shared(DistributedType.DEEPSPEED), {"ema_decay": 0.9}, "ema_decay .* DeepSpeed"),
    (shared(DistributedType.DEEPSPEED, stage=0), {}, "zero_stage: 0 .*ddp.yaml"),
]


@pytest.mark.parametrize(("accelerator", "changes", "message"), REFUSED)
def test_what_shared_out_weights_cannot_do_is_refused(
    tiny_recipe: Path, tmp_path: Path, accelerator: Any, changes: dict[str, Any], message: str
) -> None:
    command = ["train", "--config", str(tiny_recipe), "--out", str(tmp_path)]
    config = replace(cli.read([*command, "--ema_decay", "null"]), **changes)
    with pytest.raises(TrainingError, match=message):
        require_supported(config, accelerator)
    require_supported(config, shared(DistributedType.MULTI_GPU))
