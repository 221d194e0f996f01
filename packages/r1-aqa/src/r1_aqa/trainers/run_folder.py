"""The folder of a training: which settings it has, where it can go on, whether it is finished."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from transformers.trainer_utils import get_last_checkpoint

from r1_aqa.config.train import TrainConfig
from r1_aqa.files import changes, plain
from r1_aqa.trainers.callbacks import is_whole, write_json

logger = logging.getLogger(__name__)

FREE_TO_CHANGE = {
    "device",
    "out",
    "report_to",
    "log_every",
    "keep_checkpoints",
    "epochs",
    "max_steps",
    "cache_gigabytes",
}
"""Settings that may differ when training resumes."""

ENDS = {"epochs", "max_steps"}
"""Settings that decide when a training is finished."""


@dataclass(frozen=True)
class TrainResult:
    """What came out."""

    out: Path
    """The folder."""
    model: Path
    """The best model, or the last where nothing was validated."""
    accuracy: float | None
    """Of the best model on the validation questions; None without them."""
    steps: int
    """Updates."""


def uses_cpu(config: TrainConfig) -> bool:
    """Whether training is on the processor: it was asked for, or there is nothing else."""
    asked = config.device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    return asked or not torch.accelerator.is_available()


def join_processes(config: TrainConfig) -> None:
    """Meet the other processes of a launcher, before anything is written or counted.

    Without `cpu`, accelerate takes each of several processes on a processor for the only one.
    """
    PartialState(cpu=uses_cpu(config), timeout=timedelta(minutes=30))


def check_settings(config: TrainConfig, *, resumes: bool) -> None:
    """Write the settings to `out`; refuse to resume with others.

    Raises:
        ValueError: with every setting that changed.
    """
    path = config.out / "config.json"
    now = plain(asdict(config))
    if path.is_file() and resumes:
        before = json.loads(path.read_text(encoding="utf-8"))
        fixed = {name: value for name, value in now.items() if name in before and name not in FREE_TO_CHANGE}
        if changed := changes(before, fixed):
            raise ValueError(
                f"{config.out} holds a training with other settings ({'; '.join(changed)}); "
                "give another --out, or the same settings to resume"
            )
    if PartialState().is_main_process:
        config.out.mkdir(parents=True, exist_ok=True)
        write_json(path, now)
    PartialState().wait_for_everyone()


def find_checkpoint(out: Path) -> Path | None:
    """The latest whole checkpoint; what a kill left half-written is removed."""
    folder = out / "checkpoints"
    while folder.is_dir() and (found := get_last_checkpoint(str(folder))):
        if is_whole(Path(found)):
            return Path(found)
        shutil.rmtree(found, ignore_errors=True)
    return None


def checkpoint_step(checkpoint: Path) -> int:
    """The update after which it was saved."""
    return int(checkpoint.name.rpartition("-")[2])


def read_result(config: TrainConfig) -> TrainResult | None:
    """What came out of the same training when it was finished; None if there is something left to do."""
    path = config.out / "finished.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    now = plain(asdict(config))
    if changes(found["settings"], {name: now[name] for name in now.keys() - (FREE_TO_CHANGE - ENDS)}):
        return None
    logger.info("%s is finished", config.out)
    return TrainResult(config.out, Path(found["model"]), found["accuracy"], found["steps"])
