"""Train in one or two processes on the processor, as `accelerate launch` and a shipped recipe do on GPUs.

A program for `test_sharded.py`. It reads a training a line, forks its processes, and prints how they ended.
It imports everything once and runs nothing itself, so torch has no threads yet when it forks.

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
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml
from aac_llm.config.train import AugmentConfig, DataConfig, TrainConfig, ValidationConfig
from aac_llm.models.config_file import config_from_dict
from aac_llm.trainers import train as training
from aac_llm.trainers.trainer import CaptionTrainer
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

SECONDS = 300
"""After this long processes that wait for each other are ended."""


@dataclass
class Run:
    """What to train; see `test_sharded.Run`."""

    name: str
    processes: int
    sharding: str
    resumes: str
    files: str


def be_the_same() -> None:
    """Take out what differs between one process and two: dropout's random numbers, and signs of noise."""
    build, create = training.build_model, CaptionTrainer.create_optimizer

    def built(config: TrainConfig) -> Any:
        model = build(config)
        for module in model.modules():
            for name in {"p", "attention_dropout"} & vars(module).keys():
                setattr(module, name, 0.0)
        return model

    def created(self: Any, *given: Any, **more: Any) -> Any:
        # Adam's first update is the sign of the gradient, which rounding may turn where it is nearly nothing.
        self.args.adam_epsilon = 1e-3
        return create(self, *given, **more)

    training.build_model = built
    CaptionTrainer.create_optimizer = created  # type: ignore[method-assign]
    training.plot_curves = lambda *_, **__: None


def settings_of(recipe: str) -> dict[str, Any]:
    """Return a recipe's settings."""
    return yaml.safe_load((files("aac_llm") / "recipes" / "accelerate" / f"{recipe}.yaml").read_text())


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
    """Train in this process."""
    torch.set_num_threads(1)
    # transformers 4 cannot resume on "cpu:0", which is what accelerate calls the processor otherwise.
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    {"fsdp": launch_with_fsdp, "zero3": launch_with_zero3}.get(run.sharding, lambda _: None)(run)
    be_the_same()
    manifest = folder / "clips.jsonl"
    config = TrainConfig(
        out=folder / run.name,
        model=config_from_dict(json.loads((folder / "model.json").read_text())),
        data=DataConfig(
            train=(manifest,), validation=(manifest,), validation_splits=("train",), num_workers=0
        ),
        epochs=1,
        batch_size=3 - run.processes,
        learning_rate=3e-3,
        logging_steps=1,
        save_steps=1,
        eval_steps=3,
        keep_checkpoints=9,
        validation=ValidationConfig(max_clips=2),
        augment=AugmentConfig(),
        device="cpu",
        precision="fp32",
    )
    training.train(config)
    (folder / f"{run.name}-{os.environ.get('RANK', '0')}").touch()


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
