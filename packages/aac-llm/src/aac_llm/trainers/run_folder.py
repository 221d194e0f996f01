"""The folder of a training.

OUT/config.json         the settings
OUT/checkpoint-N/       where training can resume after update N; the same command again does
OUT/best/               the best model on the validation clips
OUT/last/               the model at the end
OUT/log.jsonl           what was logged; OUT/curves.png shows it
OUT/report.json         clips that were cropped, and those that could not be decoded
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from accelerate import PartialState
from transformers.trainer_utils import get_last_checkpoint

from aac_llm.config.train import TrainConfig
from aac_llm.files import to_plain, write_json

CONFIG, LOG, CURVES, REPORT = "config.json", "log.jsonl", "curves.png", "report.json"
BEST, LAST = "best", "last"
FREE_TO_CHANGE = {"device", "report_to", "logging_steps", "keep_checkpoints", "epochs", "max_steps"}
"""Settings that may differ when training resumes."""


def check_settings(config: TrainConfig, *, resumes: bool) -> None:
    """Write the settings to `out`; refuse to resume with others.

    Raises:
        ValueError: with every setting that changed.
    """
    path = config.out / CONFIG
    now = to_plain(config)
    if path.is_file() and resumes:
        before = json.loads(path.read_text(encoding="utf-8"))
        # A longer run goes on; a run of two learning rates could not be repeated.
        changed = [
            f"{name}: {before[name]} -> {now[name]}"
            for name in now
            if name not in FREE_TO_CHANGE and name in before and before[name] != now[name]
        ]
        if changed:
            raise ValueError(
                f"{config.out} holds a training with other settings ({'; '.join(changed)}); "
                "give another --out, or the same settings to resume"
            )
    if PartialState().is_main_process:
        write_json(path, now)
    PartialState().wait_for_everyone()


def find_checkpoint(out: Path) -> Path | None:
    """Find the latest whole checkpoint; remove what a kill left half-written."""
    # A kill while saving leaves a folder without its last file; the one before it is whole.
    while out.is_dir() and (found := get_last_checkpoint(str(out))):
        if is_whole(Path(found)):
            return Path(found)
        shutil.rmtree(found, ignore_errors=True)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Tell whether a checkpoint was written to its end: Trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
