"""The folder of a training: its settings, where it can resume, whether it is finished."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather, parse_flag_from_env
from audio_common.strict_json import read_object
from transformers import TrainerState

from r1_aqa.config.changes import changes
from r1_aqa.config.train import TrainConfig
from r1_aqa.files import (
    recover_folder,
    remove_leftovers,
    to_json,
    to_plain,
    write_atomically,
    write_json,
)
from r1_aqa.lock import sole_writer
from r1_aqa.trainers.checkpoint import PASSES, count_writers, require_same_update
from r1_aqa.trainers.questions import read_skipped

logger = logging.getLogger(__name__)

ENDS = {"epochs", "max_steps"}
"""Settings that decide when a training is finished."""

FREE_TO_CHANGE = ENDS | {
    "device",
    "out",
    "report_to",
    "logging_steps",
    "keep_checkpoints",
    "data.cache_gigabytes",
    "vllm_host",
    "vllm_port",
}
"""Settings that may differ when training resumes."""

BEST_FILE = "validation.json"
"""In best/: update and accuracy of the best model."""


@dataclass(frozen=True)
class TrainResult:
    """The result of a training."""

    out: Path
    """The folder."""
    model: Path
    """The best model, or the last where nothing was validated."""
    accuracy: float | None
    """Accuracy of the best model on the validation questions; None without them."""
    steps: int
    """Updates."""


# -- devices and processes ------------------------------------------------------------------------------


def uses_cpu(config: TrainConfig) -> bool:
    """Return whether training is on the processor: it was asked for, or there is nothing else."""
    asked = config.device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    return asked or not torch.accelerator.is_available()


def join_processes(config: TrainConfig) -> None:
    """Choose the device and meet the other processes of a launcher, before anything is written or counted.

    Raises:
        ValueError: there is no such device.
    """
    if config.device.startswith("cuda"):
        _choose_gpu(config.device)
    if config.precision == "fp16" and uses_cpu(config):
        raise ValueError("precision fp16 needs a GPU; give bf16 or fp32")
    # Without `cpu`, accelerate takes each of several processes on a processor for the only one.
    PartialState(cpu=uses_cpu(config), timeout=timedelta(minutes=30))


def _choose_gpu(device: str) -> None:
    if not torch.cuda.is_available():
        raise ValueError(f"device {device}: there is no CUDA GPU")
    number = device.partition(":")[2]
    if not number:
        return
    if "LOCAL_RANK" in os.environ:
        raise ValueError(f"device {device}: the launcher gives each process its GPU; give cuda or auto")
    if torch.cuda.is_initialized():
        raise ValueError(f"device {device}: CUDA is running already; set CUDA_VISIBLE_DEVICES instead")
    # transformers trains on all GPUs that it sees, and wants this variable for one of them.
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(number)] if visible else number


def any_process(flag: bool, device: torch.device) -> bool:
    """Return, in all processes, whether the flag is set in any of them."""
    return float(gather(torch.tensor([float(flag)], device=device)).max()) > 0


@contextmanager
def sole_training(config: TrainConfig) -> Iterator[None]:
    """Meet the other processes, and let no other training write into `out` meanwhile.

    Raises:
        BusyError: another one does.
        ValueError: there is no such device.
    """
    join_processes(config)
    with sole_writer(config.out, folder=True) if PartialState().is_main_process else nullcontext():
        PartialState().wait_for_everyone()  # the others wait until the first of them may write
        yield


# -- settings and checkpoints ---------------------------------------------------------------------------


def prepare_folder(config: TrainConfig) -> Path | None:
    """Clear away what kills left, write the settings, and return the checkpoint to resume from.

    Raises:
        ValueError: `out` holds a training with other settings (the message names them), or something else.
    """
    # Before anything is cleared away: what is refused stays as it is.
    require_own(config.out)
    check_settings(config, find_checkpoint(config.out))
    PartialState().wait_for_everyone()
    if PartialState().is_main_process:
        for name in ("best", "last"):
            recover_folder(config.out / name)
        remove_leftovers(config.out)
        remove_leftovers(config.out / "rollouts")
        drop_checkpoints(config.out, keep=config.keep_checkpoints)
    PartialState().wait_for_everyone()
    checkpoint = find_checkpoint(config.out)
    if PartialState().is_main_process:
        if checkpoint:
            write_lines(config.out / "skipped.jsonl", read_skipped(config.out))
        else:
            forget_training(config.out)
        write_json(config.out / "config.json", asdict(config))
        # Whether this training comes to its end is open again.
        (config.out / "finished.json").unlink(missing_ok=True)
    PartialState().wait_for_everyone()
    return checkpoint


def require_own(out: Path) -> None:
    """Refuse a folder that holds something else than a training: a model, another program's checkpoints.

    Raises:
        ValueError: what it holds.
    """
    settings = out / "config.json"
    if settings.is_file():
        foreign = [] if {"init_from", "data"} <= read_object(settings).keys() else [settings]
    else:  # it is there before the first checkpoint is
        foreign = [*_checkpoints(out), *out.glob("log.jsonl")]
    if foreign:
        raise ValueError(
            f"{foreign[0]} is of no training of r1-aqa, which would replace it; give another --out"
        )


def check_settings(config: TrainConfig, checkpoint: Path | None) -> None:
    """Refuse to go on with a training of other settings, or to begin anew in the folder of a finished one.

    Raises:
        ValueError: settings changed; the message names them.
    """
    path, is_finished = config.out / "config.json", (config.out / "finished.json").is_file()
    if not path.is_file() or not (checkpoint or is_finished):
        return
    before, processes = read_object(path), PartialState().num_processes
    writers = count_writers(checkpoint) if checkpoint else processes
    if writers != processes:
        require_same_update(before, config, writers, processes)
    if changed := _changes(before, config, FREE_TO_CHANGE | set(PASSES if writers != processes else ())):
        raise ValueError(
            f"{config.out} holds a training with other settings ({'; '.join(changed)}); "
            "give another --out, or the same settings to resume"
        )
    if not checkpoint:
        raise ValueError(
            f"{config.out} holds a finished training without the checkpoint that more updates could go on "
            "from; give another --out"
        )


def _changes(before: dict[str, Any], config: TrainConfig, free: set[str]) -> list[str]:
    return changes(before, to_plain(asdict(config)), free=free, whole=("trl",))


def forget_training(out: Path) -> None:
    """Remove what a training wrote that was killed before its first checkpoint: it begins anew."""
    for name in ("skipped.jsonl", "log.jsonl"):
        (out / name).unlink(missing_ok=True)
    for part in (out / "rollouts").glob("step-*.parquet"):
        part.unlink()
    if (out / "best" / BEST_FILE).is_file():  # nobody else's folder of this name
        shutil.rmtree(out / "best")


def drop_checkpoints(out: Path, *, keep: int) -> None:
    """Remove checkpoints that a kill left half-written, and those that it left half-deleted."""
    whole = [path for path in _checkpoints(out) if is_whole(path)]
    for path in _checkpoints(out):
        # Left there a half one would count among the checkpoints to keep.
        if path not in whole[-keep:]:
            shutil.rmtree(path)


def find_checkpoint(out: Path) -> Path | None:
    """Return the latest whole checkpoint."""
    return next((path for path in reversed(_checkpoints(out)) if is_whole(path)), None)


def _checkpoints(out: Path) -> list[Path]:
    """Return the checkpoints of a folder, whole or not, the earliest first."""
    found = [path for path in out.glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()]
    return sorted((path for path in found if path.is_dir()), key=checkpoint_step)


def is_whole(checkpoint: Path) -> bool:
    """Return whether a checkpoint was written to its end: Trainer writes its state last."""
    try:
        TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    except (OSError, ValueError, TypeError):
        return False
    return True


def checkpoint_step(checkpoint: Path) -> int:
    """Return the update after which a checkpoint was saved."""
    return int(checkpoint.name.rpartition("-")[2])


def read_result(config: TrainConfig) -> TrainResult | None:
    """Return the result of the same training if it is finished; None if there is something left to do."""
    path = config.out / "finished.json"
    if not path.is_file():
        return None
    found = read_object(path)
    if not {"settings", "model", "accuracy", "steps"} <= found.keys():
        raise ValueError(f"{path} is no result of a training; remove it")
    if _changes(found["settings"], config, FREE_TO_CHANGE - ENDS):
        return None
    logger.info("%s is finished", config.out)
    # By its name in the folder, which may have moved.
    return TrainResult(config.out, config.out / Path(found["model"]).name, found["accuracy"], found["steps"])


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the rows of a JSON Lines file anew, if it is there."""
    if path.is_file():
        write_atomically(path, b"".join(to_json(row) + b"\n" for row in rows))
