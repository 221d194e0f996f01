"""The folder OUT/best: the model of the highest validation score, and in `validation.json` that score.

The score lies with the weights that have it, so no kill can part them. After one, `best` may come from a
later update than the checkpoint from which the run goes on; it stays until a better one is found, and the
update that made it makes the same one again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audio_common.strict_json import read_object

from ml_clap.files import replace_folder, write_json
from ml_clap.models.ml_clap import MLCLAP

BEST = "best"
VALIDATION_FILE = "validation.json"


def best_score(out: Path, saved: float | None) -> float | None:
    """Return the score of the model in `best`; None where there is none.

    Args:
        out: Folder of the run.
        saved: What the checkpoint says, for a `best` of earlier versions, which has no `validation.json`.
    """
    path = out / BEST / VALIDATION_FILE
    if path.is_file():
        return float(read_object(path)["score"])
    return saved if path.parent.is_dir() else None


def save_best(out: Path, model: MLCLAP, record: dict[str, Any], card: str) -> None:
    """Put a model with the record of its validation and its card into the place of the best one."""

    def save(folder: Path) -> None:
        model.save_pretrained(folder, card=card)
        write_json(folder / VALIDATION_FILE, record)

    replace_folder(out / BEST, save)
