"""Trainings in one and in two processes, sharded or not, for `test_sharded.py`.

    python sharded_runs.py FOLDER RUN...

FOLDER has plan.json: for each run its kind, processes, and settings of the training. What every process saw goes
into FOLDER/RUN-RANK.pt. A single interpreter imports everything and forks all processes, for that takes longer
than the trainings.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig, ValidationConfig
from r1_aqa.trainers.grpo_trainer import AudioGRPOTrainer
from r1_aqa.trainers.resumable import ResumableTrainer
from r1_aqa.trainers.train import train_grpo, train_sft
from transformers import TrainerCallback


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor that may be in parts; all processes take part."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


class Seen(TrainerCallback):
    """Rollouts, their log-probabilities and the gradients of each update, as one process saw them."""

    def __init__(self) -> None:
        self.rollouts: list[dict[str, Any]] = []
        self.log_probs: list[torch.Tensor] = []
        self.gradients: list[dict[str, torch.Tensor]] = []
        self.log: list[dict[str, Any]] = []

    def on_pre_optimizer_step(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        self.gradients.append({n: whole(p.grad) for n, p in model.named_parameters() if p.grad is not None})

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        self.log.append(dict(logs))


def watch(seen: Seen, replayed: list[list[dict[str, Any]]]) -> None:
    """Note what a training does; sample with the random numbers of other processes, if these are given."""
    sample, score, begin = (
        AudioGRPOTrainer._generate_single_turn,
        AudioGRPOTrainer._get_per_token_logps_and_entropies,
        ResumableTrainer.create_optimizer,
    )

    def sampled(self: Any, *given: Any, **more: Any) -> Any:
        rows = self._rows
        if not replayed:
            state = torch.get_rng_state()
            ids, extra = sample(self, *given, **more)
            seen.rollouts.append({"state": state, "rows": list(rows), "ids": ids})
            return ids, extra
        found: list[list[int]] = []
        for process in replayed:
            noted = process[len(seen.rollouts)]
            torch.set_rng_state(noted["state"])
            self._rows = noted["rows"]
            found += sample(self, *given, **more)[0]
        self._rows = rows
        seen.rollouts.append({"rows": list(rows), "ids": found})
        return found, None

    def scored(self: Any, *given: Any, **more: Any) -> Any:
        found = score(self, *given, **more)
        seen.log_probs.append(found[0].detach().clone())
        return found

    def created(self: Any, *given: Any, **more: Any) -> Any:
        # Adam's first update is the sign of the gradient, which rounding may turn where it is nothing.
        self.args.adam_epsilon = 1e-3
        self.add_callback(seen)
        return begin(self, *given, **more)

    AudioGRPOTrainer._generate_single_turn = sampled  # type: ignore[method-assign]
    AudioGRPOTrainer._get_per_token_logps_and_entropies = scored  # type: ignore[method-assign]
    ResumableTrainer.create_optimizer = created  # type: ignore[method-assign]


def launch_like(recipe: Path) -> None:
    """Set what `accelerate launch --config_file` sets for FSDP, which on a processor it leaves out."""
    settings = load_config_from_file(str(recipe)).fsdp_config
    names = {"fsdp_transformer_layer_cls_to_wrap": "FSDP_TRANSFORMER_CLS_TO_WRAP"}
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    for name, value in settings.items():
        os.environ[names.get(name, name.upper())] = str(value).lower() if isinstance(value, bool) else str(value)
    begin = AcceleratorState.__init__

    def begun(self: Any, *given: Any, fsdp_plugin: Any = None, **more: Any) -> None:
        begin(self, *given, fsdp_plugin=fsdp_plugin, **more)
        if fsdp_plugin is not None:
            self.fsdp_plugin = fsdp_plugin
        if self.__dict__.get("fsdp_plugin") is not None:
            self.distributed_type = DistributedType.FSDP

    AcceleratorState.__init__ = begun  # type: ignore[method-assign]


def train(folder: Path, name: str, plan: dict[str, Any], rank: int) -> None:
    torch.set_num_threads(1)
    if recipe := plan.get("recipe"):
        launch_like(Path(recipe))
    replayed = [
        torch.load(folder / f"{plan['replays']}-{other}.pt")["rollouts"] for other in range(2)
    ] if "replays" in plan else []
    seen = Seen()
    watch(seen, replayed)
    given = dict(plan["settings"])
    model = given.pop("model")
    data = DataConfig(train=(folder / "train.jsonl",), validation=(folder / "validation.jsonl",))
    config = {
        "out": folder / given.pop("out", name),
        "init_from": str(folder / "model"),
        "data": data,
        "model": ModelConfig(**model, dtype="float32", lora=LoRAConfig(rank=4, dropout=0.0)),
        "validation": ValidationConfig(max_new_tokens=3),
        "device": "cpu",
        "check_heard": False,
    }
    if plan.get("kind") == "sft":
        train_sft(SFTTrainConfig(**config, **given))
    else:
        train_grpo(GRPOTrainConfig(**config, **given))
    torch.save(
        {"rollouts": seen.rollouts, "log_probs": seen.log_probs, "gradients": seen.gradients, "log": seen.log},
        folder / f"{name}-{rank}.pt",
    )


def fork(folder: Path, name: str, plan: dict[str, Any]) -> None:
    """Run the processes of a training to their end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(plan["processes"]):
        if child := os.fork():
            children.append(child)
            continue
        code = 1
        try:
            if plan["processes"] > 1:
                os.environ |= {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(plan["processes"]),
                    "LOCAL_WORLD_SIZE": str(plan["processes"]),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    "ACCELERATE_USE_CPU": "true",
                }
            train(folder, name, plan, rank)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        sys.exit(f"{name}: processes ended with {codes}")


def main() -> None:
    folder = Path(sys.argv[1])
    plan = json.loads((folder / "plan.json").read_text())
    for name in sys.argv[2:] or plan:
        fork(folder, name, plan[name])


if __name__ == "__main__":
    main()
