"""Processes that share out the weights train as one does: rollouts, updates, a resume by more or fewer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from r1_aqa.config.export_checkpoint import ExportCheckpointConfig
from r1_aqa.config.model import ModelConfig
from r1_aqa.config.train import DataConfig, SFTTrainConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.models.audio_llm import load_audio_llm
from r1_aqa.trainers.checkpoint import (
    FSDP_PARTS,
    WHOLE,
    count_writers,
    name_engine,
    prepare_resume,
    require_same_update,
)
from r1_aqa.trainers.export import export_checkpoint
from safetensors.torch import load_file
from torch import Tensor

PROGRAM = Path(__file__).with_name("sharded_on_cpu.py")
FULL: dict[str, Any] = {"strategy": "full", "freeze_encoder": False, "freeze_projector": False}
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="DeepSpeed is not installed (pip install deepspeed)"
)


@dataclass(frozen=True)
class Run:
    """A training in one or two processes.

    Attributes:
        processes: how many.
        model: settings of the model.
        sharding: fsdp or zero3; nothing: each process has all weights.
        updates: how many.
        replays: the run of two processes whose random numbers the rollouts are sampled with.
        resumes: the run from whose first checkpoint this one goes on.
        is_sft: fine-tuning in place of reinforcement.
        precision: of the computation.
        files: how FSDP's checkpoints are written, whole or in parts.
    """

    processes: int
    model: dict[str, Any] = field(default_factory=dict)
    sharding: str = ""
    updates: int = 1
    replays: str = ""
    resumes: str = ""
    is_sft: bool = False
    precision: str = "fp32"
    files: str = "FULL_STATE_DICT"


PARTS = "SHARDED_STATE_DICT"
RUNS = {
    "ddp": Run(2, updates=2),
    "ddp-one": Run(1, updates=2, replays="ddp"),
    "ddp-2to1": Run(1, updates=2, replays="ddp", resumes="ddp"),
    "ddp-1to2": Run(2, updates=2, replays="ddp", resumes="ddp-one"),
    "fsdp": Run(2, FULL, "fsdp", 2, files=PARTS),
    "fsdp-one": Run(1, FULL, updates=2, replays="fsdp"),
    "fsdp-resumed": Run(2, FULL, "fsdp", 2, resumes="fsdp", files=PARTS),
    "fsdp-2to1": Run(1, FULL, "fsdp", 2, replays="fsdp", resumes="fsdp", files=PARTS),
    "fsdp-alone": Run(1, FULL, "fsdp", 2, replays="fsdp", files=PARTS),
    "fsdp-1to2": Run(2, FULL, "fsdp", 2, replays="fsdp", resumes="fsdp-alone", files=PARTS),
    "lora-fsdp": Run(2, {}, "fsdp", files=PARTS),
    "lora-fsdp-one": Run(1, {}, replays="lora-fsdp"),
    "bf16-fsdp": Run(2, {}, "fsdp", precision="bf16"),
    "sft-fsdp": Run(2, FULL, "fsdp", is_sft=True),
    "sft-one": Run(1, FULL, is_sft=True),
    "zero3": Run(2, FULL, "zero3", 2),
    "zero3-one": Run(1, FULL, updates=2, replays="zero3"),
    "zero3-resumed": Run(2, FULL, "zero3", 2, resumes="zero3"),
    "zero3-2to1": Run(1, FULL, "zero3", 2, replays="zero3", resumes="zero3"),
}


def read(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    return torch.load(folder / f"{name}-{rank}.pt", weights_only=True)


def weights(folder: Path) -> dict[str, Tensor]:
    (file,) = folder.glob("*model.safetensors")
    return load_file(file)


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float) -> None:
    assert found.keys() == expected.keys() != set()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=atol, rtol=0)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """The folder of all trainings, and the program that makes them."""
    folder = tmp_path_factory.mktemp("sharded")
    words = [sys.executable, str(PROGRAM), str(folder)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (
        (folder / "errors.txt").open("w") as errors,
        subprocess.Popen(words, stderr=errors, env=environment, **pipes) as process,
    ):
        yield folder, process
        process.stdin.close()


@pytest.fixture(scope="module")
def runs(
    program: tuple[Path, Any],
    tiny_model_folder: Path,
    ask_about_scenes: Callable[[Path, Iterable[int]], list[Question]],
) -> Callable[..., Path]:
    """Return a function that makes sure of some runs and those they need, and returns the folder of all."""
    folder, process = program
    (folder / "model").symlink_to(tiny_model_folder)
    found = ask_about_scenes(folder, range(4))
    write_questions(folder / "train.jsonl", found[:6])
    write_questions(folder / "validation.jsonl", found[6:])
    (folder / "own.py").write_text(
        "def length(completions, **_):\n    return [float(len(t)) for t in completions]\n"
    )

    def make(*names: str) -> Path:
        for name in names:
            run = RUNS[name]
            if (folder / f"{name}-0.pt").exists():
                continue
            make(*filter(None, (run.replays, run.resumes)))
            if run.resumes:
                copy_begun(folder / run.resumes, folder / name)
            process.stdin.write(json.dumps(asdict(run) | {"name": name}) + "\n")
            process.stdin.flush()
            codes = json.loads(process.stdout.readline() or "[]")
            assert codes == [0] * run.processes, (name, (folder / "errors.txt").read_text()[-6000:])
        return folder

    return make


def copy_begun(run: Path, out: Path) -> None:
    """Copy a training as it was after its first update."""
    shutil.copytree(run / "checkpoint-1", out / "checkpoint-1")
    settings = json.loads((run / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(settings | {"out": str(out)}))


@pytest.mark.parametrize(
    ("sharded", "single"),
    [
        ("ddp", "ddp-one"),
        ("lora-fsdp", "lora-fsdp-one"),
        ("fsdp", "fsdp-one"),
        pytest.param("zero3", "zero3-one", marks=needs_deepspeed),
    ],
)
def test_two_processes_sample_score_and_learn_as_one(
    runs: Callable[..., Path], sharded: str, single: str
) -> None:
    folder = runs(single, sharded)
    parts, one = [read(folder, sharded, rank) for rank in range(2)], read(folder, single)
    for update, rollout in enumerate(one["rollouts"]):
        assert [ids for part in parts for ids in part["rollouts"][update]["ids"]] == rollout["ids"]
        assert [row for part in parts for row in part["rollouts"][update]["rows"]] == rollout["rows"]
    assert len(one["log_probs"]) == 2 * RUNS[single].updates  # the reference's, the policy's
    for place, expected in enumerate(one["log_probs"]):
        found = [part["log_probs"][place] for part in parts]
        width = max(value.shape[1] for value in found)
        found = [torch.nn.functional.pad(value, (0, width - value.shape[1])) for value in found]
        torch.testing.assert_close(torch.cat(found)[:, : expected.shape[1]], expected, atol=1e-5, rtol=0)
    # DeepSpeed keeps gradients to itself.
    if RUNS[sharded].sharding != "zero3":
        for gradients, expected in zip(parts[0]["gradients"], one["gradients"], strict=True):
            assert_near(gradients, expected, 1e-5)
    losses = [[row["loss"] for row in seen["log"] if "loss" in row] for seen in (parts[0], one)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) != []
    assert_near(weights(folder / sharded / "last"), weights(folder / single / "last"), 1e-6)


@pytest.mark.parametrize(
    "name", ["fsdp-resumed", pytest.param("zero3-resumed", marks=needs_deepspeed)], ids=["fsdp", "zero3"]
)
def test_a_resume_in_parts_is_the_same_training(runs: Callable[..., Path], name: str) -> None:
    first = RUNS[name].resumes
    folder = runs(first, name)
    if name == "fsdp-resumed":
        assert len(list((folder / first / "checkpoint-1").glob("*/__*.distcp"))) == 4  # model, optimizer
    for rank in range(2):
        whole, resumed = read(folder, first, rank), read(folder, name, rank)
        assert [rollout["ids"] for rollout in resumed["rollouts"]] == [whole["rollouts"][1]["ids"]]
    expected = weights(folder / first / "last")
    assert all(torch.equal(value, expected[key]) for key, value in weights(folder / name / "last").items())


@pytest.mark.parametrize(
    "name",
    ["ddp-2to1", "ddp-1to2", "fsdp-2to1", "fsdp-1to2", pytest.param("zero3-2to1", marks=needs_deepspeed)],
)
def test_another_number_of_processes_goes_on(runs: Callable[..., Path], name: str) -> None:
    run = RUNS[name]
    folder = runs(name)
    expected = [read(folder, run.replays, rank)["rollouts"][1] for rank in range(2)]
    found = [read(folder, name, rank)["rollouts"] for rank in range(run.processes)]
    assert [len(each) for each in found] == [1] * run.processes
    for key in ("rows", "ids"):
        assert [x for (each,) in found for x in each[key]] == [x for each in expected for x in each[key]]
    assert_near(weights(folder / name / "last"), weights(folder / run.replays / "last"), 1e-6)


@pytest.mark.parametrize(
    "name", ["ddp", "lora-fsdp", "fsdp", "bf16-fsdp", pytest.param("zero3", marks=needs_deepspeed)]
)
def test_a_checkpoint_is_exported_as_a_plain_folder(
    runs: Callable[..., Path], name: str, tmp_path: Path
) -> None:
    run = runs(name) / name
    out = tmp_path / "model"
    export_checkpoint(ExportCheckpointConfig(checkpoint=run / f"checkpoint-{RUNS[name].updates}", out=out))
    expected = weights(run / "last")
    found = weights(out)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert {file.name for file in out.iterdir()} == {file.name for file in (run / "last").iterdir()}
    load_audio_llm(out, ModelConfig(dtype="float32"))
    with pytest.raises(ValueError, match="is not empty; give a new folder"):
        export_checkpoint(ExportCheckpointConfig(checkpoint=run / "checkpoint-1", out=out))


def test_another_engine_or_size_of_update_is_refused(runs: Callable[..., Path]) -> None:
    folder = runs("ddp", "fsdp")
    assert [name_engine(folder / name / "checkpoint-1") for name in ("ddp", "fsdp")] == [WHOLE, FSDP_PARTS]
    assert count_writers(folder / "fsdp" / "checkpoint-1") == 2
    with pytest.raises(ValueError, match="was written by FSDP with SHARDED_STATE_DICT, and this training"):
        prepare_resume(folder / "fsdp" / "checkpoint-1", Accelerator(cpu=True))
    data = DataConfig(train=(folder / "train.jsonl",))
    now = SFTTrainConfig(out=folder / "x", init_from="m", data=data, batch_size=3)
    with pytest.raises(
        ValueError, match=r"is of 2 process.*batch_size 1 .* 2 for an update; 1 process.* make 3"
    ):
        require_same_update({"batch_size": 1}, now, 2, 1)


def test_fine_tuning_with_shared_out_weights_is_that_with_whole_ones(runs: Callable[..., Path]) -> None:
    folder = runs("sft-fsdp", "sft-one")
    (found,), (expected,) = (read(folder, name)["gradients"] for name in ("sft-fsdp", "sft-one"))
    assert_near(found, expected, 1e-5)


def test_log_probabilities_are_not_rounded_to_half_precision(runs: Callable[..., Path]) -> None:
    for value in read(runs("bf16-fsdp"), "bf16-fsdp")["log_probs"]:
        assert value.dtype == torch.float32
        assert (value != value.bfloat16().float()).any()
