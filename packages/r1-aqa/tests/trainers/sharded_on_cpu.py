"""Train in one or two processes on the processor, as `accelerate launch` and a shipped recipe do on GPUs.

A program for `test_sharded.py`. It reads a training a line, forks its processes, and prints how they ended.
It imports everything once and runs nothing itself, so torch has no threads yet when it forks. (Forked from
pytest, where torch has some, a process crashed now and then while it gathered weights.)

accelerate leaves FSDP and DeepSpeed out on a processor, so the processes are told that it is a GPU.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig, ValidationConfig
from r1_aqa.trainers import train as training
from r1_aqa.trainers.grpo_trainer import AudioGRPOTrainer
from r1_aqa.trainers.resumable import ResumableTrainer
from torch import Tensor
from transformers import TrainerCallback

SECONDS = 300
"""After this long processes that wait for each other are ended."""


@dataclass
class Run:
    """What to train; see `test_sharded.Run`."""

    name: str
    processes: int
    model: dict[str, Any]
    sharding: str
    updates: int
    replays: str
    resumes: str
    is_sft: bool
    precision: Any
    files: str


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
        for part in [process[self.state.global_step] for process in replayed] or [{"rows": rows}]:
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
        if seen not in self.callback_handler.callbacks:  # with DeepSpeed this is called twice
            self.add_callback(seen)
        return create(self, *given, **more)

    AudioGRPOTrainer._generate_single_turn = sampled  # type: ignore[method-assign]
    AudioGRPOTrainer._get_per_token_logps_and_entropies = scored  # type: ignore[method-assign]
    ResumableTrainer.create_optimizer = created  # type: ignore[method-assign]
    training.write_curves = lambda *_, **__: None  # type: ignore[assignment]


def settings_of(recipe: str) -> dict[str, Any]:
    """Return a recipe's settings."""
    return yaml.safe_load((files("r1_aqa") / "recipes" / "accelerate" / f"{recipe}.yaml").read_text())


def launch_with_fsdp(run: Run) -> None:
    """Set what `accelerate launch` sets by the recipe, which it leaves out on a processor."""
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    for name, value in settings_of("fsdp")["fsdp_config"].items():
        name = name.upper().replace("TRANSFORMER_LAYER_CLS", "TRANSFORMER_CLS")
        os.environ[name] = str(value).lower() if isinstance(value, bool) else str(value)
    os.environ["FSDP_STATE_DICT_TYPE"] = run.files
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


def launch_with_zero3(_run: Run) -> None:
    """Set what `accelerate launch` sets by the recipe, which it leaves out on a processor."""
    # It would compile a program for faster meetings of processes, which takes minutes; gloo does.
    # (As an attribute `deepspeed.comm.torch` is torch itself.)
    backend: Any = import_module("deepspeed.comm.torch")
    backend.build_shm_op = lambda: None
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    for name, value in settings_of("deepspeed_zero3")["deepspeed_config"].items():
        os.environ[f"ACCELERATE_DEEPSPEED_{name.upper()}"] = str(value).lower()
    os.environ.pop("ACCELERATE_USE_CPU")
    begin = PartialState.__init__
    PartialState.__init__ = lambda self, cpu=False, **more: begin(self, **more)  # type: ignore[method-assign]
    gpus = "gloo", DistributedType.MULTI_GPU
    PartialState._prepare_backend = lambda *_, **__: gpus  # type: ignore[method-assign]


def train(folder: Path, run: Run) -> None:
    """Train in this process, and write what it saw."""
    rank = int(os.environ.get("RANK", "0"))
    torch.set_num_threads(1)
    # transformers 4 cannot resume on "cpu:0", which is what accelerate calls the processor otherwise.
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    {"fsdp": launch_with_fsdp, "zero3": launch_with_zero3}.get(run.sharding, lambda _: None)(run)
    seen = Seen()
    replayed = range(2) if run.processes == 1 else [rank]
    watch(seen, [rollouts(folder, run.replays, other) for other in replayed] if run.replays else [])
    shared: dict[str, Any] = {
        "out": folder / run.name,
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
    torch.save(vars(seen), folder / f"{run.name}-{rank}.pt")


def rollouts(folder: Path, name: str, rank: int) -> list[dict[str, Any]]:
    """Return what a process of another run sampled, update by update."""
    return torch.load(folder / f"{name}-{rank}.pt", weights_only=True)["rollouts"]


# -- processes ------------------------------------------------------------------------------------------


def run_processes(folder: Path, run: Run) -> list[int]:
    """Return how the processes of a training ended, by their number."""
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
            # As of a launcher, also of one that starts one process: FSDP and DeepSpeed want it so.
            if run.processes > 1 or run.sharding:
                ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                sizes = {"WORLD_SIZE": str(run.processes), "LOCAL_WORLD_SIZE": str(run.processes)}
                os.environ |= address | ranks | sizes | {"ACCELERATE_USE_CPU": "true"}
            train(folder, run)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return wait_for(children)


def wait_for(children: list[int]) -> list[int]:
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
    return [codes[child] for child in children]


if __name__ == "__main__":
    # The standard output is for the codes alone; libraries, too, print on it.
    codes = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with suppress(ImportError):  # it may not be installed
        import_module("deepspeed")
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(run_processes(folder, Run(**json.loads(line)))), file=codes, flush=True)
