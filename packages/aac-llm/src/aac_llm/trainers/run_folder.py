"""The folder of a training.

OUT/config.json         the settings
OUT/checkpoint-N/       where training can resume after update N; the same command again does
OUT/best/               the best model on the validation clips, and its scores in validation.json
OUT/last/               the model at the end
OUT/log.jsonl           what was logged; OUT/curves.png shows it
OUT/report.json         clips that were cropped, and those that could not be decoded
OUT/finished.json       the result and the settings, once the end is reached

Each appears under its name only when it is complete and on the disk; one process at a time writes there.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import PartialState
from audio_common.strict_json import read_object
from transformers.trainer_utils import get_last_checkpoint

from aac_llm.config.changes import changes
from aac_llm.config.train import TrainConfig
from aac_llm.files import recover_folder, remove_leftovers, to_plain, write_json
from aac_llm.trainers.checkpoint import count_writers, require_same_update

logger = logging.getLogger(__name__)

CONFIG, LOG, CURVES, REPORT = "config.json", "log.jsonl", "curves.png", "report.json"
FINISHED, VALIDATION = "finished.json", "validation.json"
BEST, LAST = "best", "last"
ENDS = {"epochs", "max_steps"}
"""Settings that decide when a training is finished."""
FREE_TO_CHANGE = ENDS | {
    *("device", "out", "report_to", "logging_steps", "keep_checkpoints"),
    *("data.cache_gigabytes", "data.num_workers"),
}
"""Settings that may differ when training resumes."""


@dataclass(frozen=True)
class TrainResult:
    """Results of a training."""

    out: Path
    """The run folder."""
    model: Path
    """Folder of the best model, or the last where nothing was validated."""
    scores: dict[str, float]
    """Validation scores of the best model; empty without validation."""
    steps: int
    """Updates."""
    bad_clips: dict[str, str]
    """Sound file -> why it could not be decoded; these were left out."""
    cropped_clips: int = 0
    """Clips longer than `data.max_seconds`, of which only a part was heard at a time."""


def check_settings(config: TrainConfig, checkpoint: Path | None) -> None:
    """Refuse to resume with other settings than before; fewer or more processes may have other batches.

    Raises:
        ValueError: with every setting that changed.
    """
    path = config.out / CONFIG
    if not path.is_file() or checkpoint is None:
        return
    # A longer run goes on; a run of two learning rates could not be repeated.
    before, free = read_object(path), FREE_TO_CHANGE
    writers, processes = count_writers(checkpoint), PartialState().num_processes
    if writers != processes:
        require_same_update(before, config, writers, processes)
        # Not the accumulation: clips of like length are put together for one pass of all processes.
        free = free | {"batch_size"}
    if changed := changes(before, to_plain(config), free=free):
        raise ValueError(
            f"{config.out} holds a training with other settings ({'; '.join(changed)}); "
            "give another --out, or the same settings to resume"
        )


def clean(out: Path, *, keep: int) -> None:
    """Remove what a kill left half-written, and checkpoints beyond the `keep` newest; to be called once."""
    for name in (BEST, LAST):
        recover_folder(out / name)
    remove_leftovers(out)
    if not out.is_dir():
        return
    checkpoints = sorted(
        (path for path in out.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()),
        key=lambda path: int(path.name.removeprefix("checkpoint-")),
    )
    whole = [path for path in checkpoints if is_whole(path)]
    for path in checkpoints:
        if path not in whole[-keep:]:
            shutil.rmtree(path, ignore_errors=True)


def find_checkpoint(out: Path) -> Path | None:
    """Return the latest whole checkpoint."""
    found = get_last_checkpoint(str(out)) if out.is_dir() else None
    return Path(found) if found is not None and is_whole(Path(found)) else None


def is_whole(checkpoint: Path) -> bool:
    """Tell whether a checkpoint was written to its end: Trainer writes its state last."""
    try:
        read_object(checkpoint / "trainer_state.json")
    except (OSError, ValueError):
        return False
    return True


def read_result(config: TrainConfig) -> TrainResult | None:
    """Return the result of the same training if it is finished; None if there is something left to do."""
    path = config.out / FINISHED
    if not path.is_file():
        return None
    found = read_object(path)
    if changes(found["settings"], to_plain(config), free=FREE_TO_CHANGE - ENDS):
        return None
    logger.info("%s is finished", config.out)
    kept = {name: found[name] for name in ("scores", "steps", "bad_clips", "cropped_clips")}
    return TrainResult(out=config.out, model=config.out / found["model"], **kept)


def write_result(config: TrainConfig, result: TrainResult) -> None:
    """Mark a training as finished; the last file that it writes."""
    # By its name: the folder may be moved.
    found = asdict(result) | {"model": result.model.name, "settings": config}
    del found["out"]
    write_json(config.out / FINISHED, found)


def begin(config: TrainConfig) -> Path | None:
    """Put the folder in order, write the settings, and return the checkpoint to resume from.

    Raises:
        ValueError: the folder holds a training with other settings.
    """
    state = PartialState()
    if state.is_main_process:
        clean(config.out, keep=config.keep_checkpoints)
    state.wait_for_everyone()
    checkpoint = find_checkpoint(config.out)
    check_settings(config, checkpoint)
    if state.is_main_process:
        (config.out / FINISHED).unlink(missing_ok=True)
        write_json(config.out / CONFIG, config)
    state.wait_for_everyone()
    return checkpoint
