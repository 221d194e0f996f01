"""Two processes take the updates that one would: the loss compares all pairs of the global batch.

What each process draws for itself (dropout, patch-out, SpecAugment) is off here, for it cannot be the same;
gain and shift are drawn by clip, and stay on. The mel BatchNorm's statistics are fixed in every training run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.utils import DistributedType
from ml_clap import cli
from ml_clap.trainers.processes import TrainingError, require_whole_weights
from ml_clap.trainers.run_folder import read_log
from ml_clap.trainers.train import train
from safetensors.torch import load_file

# accelerate's launcher starts one process on a processor, whatever number it is told.
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def in_one_process(command: list[str]) -> None:
    train(cli.read(command))


def in_two_processes(command: list[str]) -> None:
    words = [sys.executable, *LAUNCH, "-m", "ml_clap", *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert "batch of 8 = 4 x 2 processes" in result.stderr


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


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_weights_that_would_be_shared_out_are_refused(kind: DistributedType) -> None:
    with pytest.raises(TrainingError, match=r"accelerate launch --num_processes N"):
        require_whole_weights(kind)
    require_whole_weights(DistributedType.MULTI_GPU)
