"""What a training run made, and the marker of a finished one: OUT/finished.json.

The marker is written last. With it the same command has nothing to do: it reads the result, and no model.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from audio_common.strict_json import read_object

from ml_clap.config.train import TrainConfig
from ml_clap.files import write_json
from ml_clap.models.text_source import WEIGHTS_FILE
from ml_clap.trainers.processes import TrainingError, check_same_run, is_same_run, run_settings
from ml_clap.trainers.run_folder import list_checkpoints

logger = logging.getLogger(__name__)

FINISHED_FILE = "finished.json"


@dataclass(frozen=True)
class TrainResult:
    """What a run made."""

    model: Path
    """Folder of the best model by validation; without validation, of the last."""
    step: int
    """Updates taken."""
    loss: float
    """Loss of the last update."""
    score: float | None
    """Validation score of the best model, percent."""
    bad_files: dict[Path, str]
    """Files that could not be read, and why."""
    notices: tuple[str, ...] = ()
    """What of the data was cut or not used; also in `notices.json` of the run's folder."""
    is_main_process: bool = True
    """Whether this is the first of the processes, which speaks for all."""


def write_finished(config: TrainConfig, result: TrainResult) -> None:
    """Mark a run as finished: all else of it is on disk."""
    record = {
        "model": result.model.name,
        "step": result.step,
        "loss": result.loss,
        "score": result.score,
        "bad_files": result.bad_files,
        "notices": result.notices,
        "settings": run_settings(config, process_count()),
    }
    write_json(config.out / FINISHED_FILE, record)


def read_finished(config: TrainConfig) -> TrainResult | None:
    """Return the result of this run if it is finished; None if there is something left to do.

    Raises:
        TrainingError: The folder holds a run that this command does not continue.
    """
    path = config.out / FINISHED_FILE
    if config.resume == "never" and (path.is_file() or list_checkpoints(config.out)):
        raise TrainingError(f"{config.out} holds a run; resume: auto continues it, or choose another --out")
    if not path.is_file():
        return None
    found, wanted = read_object(path), run_settings(config, process_count())
    check_same_run(found["settings"], wanted, config.out)
    model = config.out / found["model"]
    if not is_same_run(found["settings"], wanted):
        if not list_checkpoints(config.out):
            raise TrainingError(
                f"{config.out} is finished and has no checkpoint to go on from: choose another --out, "
                f"with --init_from {model}"
            )
        return None
    if not (model / WEIGHTS_FILE).is_file():
        return None
    is_main = is_main_process()
    if is_main:
        logger.info("%s is finished", config.out)
    bad_files = {Path(file): reason for file, reason in found["bad_files"].items()}
    notices = tuple(found["notices"])
    return TrainResult(model, found["step"], found["loss"], found["score"], bad_files, notices, is_main)


def process_count() -> int:
    """Return the number of processes that a launcher started, before they know of each other."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Tell whether this is the first of them."""
    return os.environ.get("RANK", "0") == "0"
