"""Two processes that share out the weights train as one process does: rollouts, updates, a resume in parts.

The processes are forked from this one, for importing everything anew takes longer than the trainings. They
meet by gloo on the processor, under the settings of the shipped recipes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DistributedType
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig, ValidationConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.trainers import train as training
from r1_aqa.trainers.grpo_trainer import AudioGRPOTrainer
from r1_aqa.trainers.resumable import ResumableTrainer
from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainerCallback

SECONDS = 600
"""After this long processes that wait for each other are ended."""
TRIES = 3
"""Of processes forked from one with threads, torch now and then crashes in one while it gathers weights."""

FULL: dict[str, Any] = {"strategy": "full", "freeze_encoder": False, "freeze_projector": False}


@dataclass
class Run:
    """A training in one or two processes.

    Attributes:
        processes: how many.
        model: settings of the model.
        sharding: fsdp or zero3; nothing: each process has all weights.
        updates: how many.
        replays: the run whose random numbers the rollouts are sampled with, process by process.
        resumes: the run from whose first checkpoint this one goes on.
        is_sft: fine-tuning in place of reinforcement.
        precision: of the computation.
        files: how FSDP's checkpoints are written, whole or in parts.
    """

    processes: int
    model: dict[str, Any]
    sharding: str = ""
    updates: int = 1
    replays: str = ""
    resumes: str = ""
    is_sft: bool = False
    precision: Any = "fp32"
    files: str = "FULL_STATE_DICT"


RUNS = {
    "full-fsdp": Run(2, FULL, "fsdp", updates=2, files="SHARDED_STATE_DICT"),
    "full-one": Run(1, FULL, updates=2, replays="full-fsdp"),
    "full-resumed": Run(2, FULL, "fsdp", updates=2, resumes="full-fsdp", files="SHARDED_STATE_DICT"),
    "lora-fsdp": Run(2, {}, "fsdp"),
    "lora-one": Run(1, {}, replays="lora-fsdp"),
    "lora-whole": Run(2, {}),  # DDP: each process has all weights, and the same random numbers
    "bf16-fsdp": Run(2, {}, "fsdp", precision="bf16"),
    "sft-fsdp": Run(2, FULL, "fsdp", is_sft=True),
    "sft-one": Run(1, FULL, is_sft=True),
    "full-zero3": Run(2, FULL, "zero3", updates=2),
    "full-zero3-one": Run(1, FULL, updates=2, replays="full-zero3"),
    "full-zero3-resumed": Run(2, FULL, "zero3", updates=2, resumes="full-zero3"),
}


@dataclass
class Seen(TrainerCallback):
    """What one process saw."""

    rollouts: list[dict[str, Any]] = field(default_factory=list)
    log_probs: list[Tensor] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)

    def on_pre_optimizer_step(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        self.gradients.append({name: whole(gradient) for name, gradient in found.items()})

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        self.log.append(dict(logs))


def whole(tensor: Any) -> Tensor:
    """Return a tensor that may be in parts; all processes take part."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def watch(seen: Seen, replayed: list[list[dict[str, Any]]]) -> None:
    """Note what a training does; sample with the random numbers of other processes, if these are given."""
    sample = AudioGRPOTrainer._generate_single_turn
    score = AudioGRPOTrainer._get_per_token_logps_and_entropies
    create = ResumableTrainer.create_optimizer

    def sampled(self: Any, *given: Any, **more: Any) -> Any:
        rows, ids = self._rows, []
        for part in [process[len(seen.rollouts)] for process in replayed] or [{"rows": rows}]:
            if "state" in part:
                torch.set_rng_state(part["state"])
            self._rows, state = part["rows"], torch.get_rng_state()
            ids += sample(self, *given, **more)[0]
        self._rows = rows
        seen.rollouts.append({"state": state, "rows": rows, "ids": ids})
        return ids, None

    def scored(self: Any, *given: Any, **more: Any) -> Any:
        found = score(self, *given, **more)
        seen.log_probs.append(found[0].detach().clone())
        return found

    def created(self: Any, *given: Any, **more: Any) -> Any:
        # Adam's first update is the sign of the gradient, which rounding may turn where it is nearly nothing.
        self.args.adam_epsilon = 1e-3
        self.add_callback(seen)
        return create(self, *given, **more)

    AudioGRPOTrainer._generate_single_turn = sampled  # type: ignore[method-assign]
    AudioGRPOTrainer._get_per_token_logps_and_entropies = scored  # type: ignore[method-assign]
    ResumableTrainer.create_optimizer = created  # type: ignore[method-assign]
    training.write_curves = lambda *_, **__: None  # type: ignore[assignment]


def launch_with_fsdp() -> None:
    """Set what `accelerate launch` sets by the recipe, which it leaves out on a processor."""
    recipe = yaml.safe_load((files("r1_aqa") / "recipes" / "accelerate" / "fsdp.yaml").read_text())
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    for name, value in recipe["fsdp_config"].items():
        name = name.upper().replace("TRANSFORMER_LAYER_CLS", "TRANSFORMER_CLS")
        os.environ[name] = str(value).lower() if isinstance(value, bool) else str(value)
    begin = AcceleratorState.__init__

    def begun(self: Any, *given: Any, fsdp_plugin: Any = None, **more: Any) -> None:
        begin(self, *given, fsdp_plugin=fsdp_plugin, **more)
        if fsdp_plugin is not None:
            self.fsdp_plugin = fsdp_plugin
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
        if self.__dict__.get("fsdp_plugin") is not None:
            self.distributed_type = DistributedType.FSDP

    AcceleratorState.__init__ = begun  # type: ignore[method-assign]


def launch_with_zero3() -> None:
    """Set what `accelerate launch` sets by the recipe, which it leaves out on a processor."""
    recipe = yaml.safe_load((files("r1_aqa") / "recipes" / "accelerate" / "deepspeed_zero3.yaml").read_text())
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    for name, value in recipe["deepspeed_config"].items():
        os.environ[f"ACCELERATE_DEEPSPEED_{name.upper()}"] = str(value).lower()
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    os.environ.pop("ACCELERATE_USE_CPU")
    begin = PartialState.__init__
    PartialState.__init__ = lambda self, cpu=False, **more: begin(self, **more)  # type: ignore[method-assign]
    gpus = "gloo", DistributedType.MULTI_GPU
    PartialState._prepare_backend = lambda *_, **__: gpus  # type: ignore[method-assign]


def train(folder: Path, name: str) -> None:
    """Train in this process, and write what it saw."""
    run, rank = RUNS[name], int(os.environ.get("RANK", "0"))
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    {"fsdp": launch_with_fsdp, "zero3": launch_with_zero3}.get(run.sharding, lambda: None)()
    os.environ |= {"FSDP_STATE_DICT_TYPE": run.files} if run.sharding == "fsdp" else {}
    seen = Seen()
    watch(seen, [read(folder, run.replays, other)["rollouts"] for other in range(2)] if run.replays else [])
    shared: dict[str, Any] = {
        "out": folder / name,
        "init_from": str(folder / "model"),
        "data": DataConfig(train=(folder / "train.jsonl",), validation=(folder / "validation.jsonl",)),
        "model": ModelConfig(**run.model, dtype="float32", lora=LoRAConfig(rank=4, dropout=0.0)),
        "batch_size": 3 - run.processes,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "max_steps": run.updates,
        "save_steps": 1,
        "keep_checkpoints": 9,
        "validation": ValidationConfig(max_new_tokens=3),
        "device": "cpu",
        "check_heard": False,
        "precision": run.precision,
    }
    if run.is_sft:
        training.train_sft(SFTTrainConfig(**shared))
    else:
        more: dict[str, Any] = {"num_rollouts": 4, "max_new_tokens": 5}
        training.train_grpo(GRPOTrainConfig(**shared, **more, rewards=(f"{folder / 'own.py'}:length",)))
    torch.save(vars(seen), folder / f"{name}-{rank}.pt")


def read(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    return torch.load(folder / f"{name}-{rank}.pt", weights_only=True)


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    (file,) = (folder / name / "last").glob("*model.safetensors")
    return load_file(file)


def start(folder: Path, name: str) -> None:
    """Run all processes of a training to their end; once more where torch crashed in one of them."""
    for left in range(TRIES - 1, -1, -1):
        shutil.rmtree(folder / name, ignore_errors=True)
        codes = run_processes(folder, name)
        if not any(codes.values()):
            return
        if not left or -signal.SIGSEGV not in codes.values():
            pytest.fail(f"{name}: processes ended with {codes}, or after {SECONDS} s not at all")


def run_processes(folder: Path, name: str) -> dict[int, int]:
    """Return how the processes of a training ended, by their number."""
    run = RUNS[name]
    if run.resumes:
        shutil.copytree(folder / run.resumes / "checkpoint-1", folder / name / "checkpoint-1")
        settings = json.loads((folder / run.resumes / "config.json").read_text())
        (folder / name / "config.json").write_text(json.dumps(settings | {"out": str(folder / name)}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    children = []
    for rank in range(run.processes):
        if child := os.fork():
            children.append(child)
            continue
        code = 1
        try:
            if run.processes > 1:
                ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                sizes = {"WORLD_SIZE": str(run.processes), "LOCAL_WORLD_SIZE": str(run.processes)}
                os.environ |= address | ranks | sizes | {"ACCELERATE_USE_CPU": "true"}
            train(folder, name)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return wait_for(children)


def wait_for(children: list[int]) -> dict[int, int]:
    """Return the exit codes of processes; one that fails, or a wait that is too long, ends the others."""
    codes: dict[int, int] = {}
    until = time.monotonic() + SECONDS
    while len(codes) < len(children):
        for child in set(children) - codes.keys():
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                codes[child] = os.waitstatus_to_exitcode(status)
        if any(codes.values()) or time.monotonic() > until:
            for child in set(children) - codes.keys():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                codes[child] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            break
        time.sleep(0.02)
    return codes


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model_folder: Path,
    ask_about_scenes: Callable[[Path, Iterable[int]], list[Question]],
) -> Callable[..., Path]:
    """Return a function that makes sure of some runs, and returns the folder of all."""
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "model").symlink_to(tiny_model_folder)
    found = ask_about_scenes(folder, range(4))
    write_questions(folder / "train.jsonl", found[:6])
    write_questions(folder / "validation.jsonl", found[6:])
    (folder / "own.py").write_text(
        "def length(completions, **_):\n    return [float(len(t)) for t in completions]\n"
    )

    def make(*names: str) -> Path:
        for name in names:
            if not (folder / f"{name}-0.pt").exists():
                start(folder, name)
        return folder

    return make


SHARDED = [
    pytest.param("full-fsdp", "full-one", id="fsdp-full"),
    pytest.param("lora-fsdp", "lora-one", id="fsdp-lora"),
    pytest.param("lora-whole", "lora-one", id="ddp-lora"),
    pytest.param(
        "full-zero3",
        "full-zero3-one",
        id="zero3-full",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("deepspeed") is None,
            reason="DeepSpeed is not installed (pip install deepspeed)",
        ),
    ),
]


@pytest.mark.parametrize(("sharded", "single"), SHARDED)
def test_shared_out_weights_sample_score_and_learn_as_whole_ones(
    runs: Callable[..., Path], sharded: str, single: str
) -> None:
    folder = runs(RUNS[single].replays, single, sharded)
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
    seen = (
        [] if RUNS[sharded].sharding == "zero3" else zip(parts[0]["gradients"], one["gradients"], strict=True)
    )
    for gradients, expected in seen:
        assert gradients.keys() == expected.keys() != set()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)
    learned, expected = weights(folder, sharded), weights(folder, single)
    assert learned.keys() == expected.keys()
    for name, value in learned.items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "name",
    ["full-resumed", pytest.param("full-zero3-resumed", marks=SHARDED[3].marks)],
    ids=["fsdp", "zero3"],
)
def test_a_resume_in_parts_is_the_same_training(runs: Callable[..., Path], name: str) -> None:
    first = RUNS[name].resumes
    folder = runs(first, name)
    if name == "full-resumed":
        assert len(list((folder / first / "checkpoint-1").glob("*/__*.distcp"))) == 4  # model, optimizer
    for rank in range(2):
        whole, resumed = read(folder, first, rank), read(folder, name, rank)
        assert [rollout["ids"] for rollout in resumed["rollouts"]] == [whole["rollouts"][1]["ids"]]
    expected = weights(folder, first)
    assert all(torch.equal(value, expected[name]) for name, value in weights(folder, name).items())


def test_fine_tuning_with_shared_out_weights_is_that_with_whole_ones(runs: Callable[..., Path]) -> None:
    folder = runs("sft-fsdp", "sft-one")
    (found,), (expected,) = (read(folder, name)["gradients"] for name in ("sft-fsdp", "sft-one"))
    assert found.keys() == expected.keys() != set()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


def test_log_probabilities_are_not_rounded_to_half_precision(runs: Callable[..., Path]) -> None:
    for value in read(runs("bf16-fsdp"), "bf16-fsdp")["log_probs"]:
        assert value.dtype == torch.float32
        assert (value != value.bfloat16().float()).any()
