"""The files of a training run: checkpoints, the log, model folders. A kill at any moment loses none.

A file or folder appears under its name only when it is complete and on disk.

    OUT/config.json                settings of the run
    OUT/log.jsonl                  a line for each update and each validation
    OUT/curves.png                 loss, learning rate and validation scores
    OUT/notices.json               what of the data was cut or not used
    OUT/checkpoint-500/            training state after update 500; its tensors in parts/ where processes
                                   that share the weights out wrote them
    OUT/best/, OUT/last/           model folders for `MLCLAP.from_pretrained`
    OUT/finished.json              the result, written last
    OUT/.lock                      while a process trains here
"""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from audio_common.strict_json import read_records

from ml_clap.files import (
    OLD,
    append_line,
    recover_folder,
    remove_leftovers,
    replace_folder,
    to_json,
    write_atomically,
)

CHECKPOINT = "checkpoint-"
STATE_FILE = "training_state.pt"
PARTS = "parts"
"""Folder in a checkpoint."""
WRITING = ".saving-parts"
"""Where parts are written, in the run's folder; a leftover by its name (`ml_clap.files.LEFTOVERS`)."""


def recover_run(out: Path) -> None:
    """Undo what a kill left half done: folders between their names, half-written and half-deleted ones."""
    for name in ("best", "last", *(old.stem for old in out.glob(f"{CHECKPOINT}*{OLD}"))):
        recover_folder(out / name)
    remove_leftovers(out)
    for checkpoint in out.glob(f"{CHECKPOINT}*"):
        if not (checkpoint / STATE_FILE).is_file():
            shutil.rmtree(checkpoint)


def save_checkpoint(
    out: Path, step: int, state: dict[str, Any], *, keep: int, has_parts: bool = False
) -> Path:
    """Write the training state after update `step`, then delete all but the newest `keep`.

    Args:
        out: Folder of the run, made if missing.
        step: Number in the checkpoint's name.
        state: Tensors and plain values, nested.
        keep: At least 1.
        has_parts: Whether all processes have written parts of it in `OUT/.saving-parts`.
    """
    folder = out / f"{CHECKPOINT}{step}"

    def save(partial: Path) -> None:
        torch.save(state, partial / STATE_FILE)
        if has_parts:
            (out / WRITING).rename(partial / PARTS)

    replace_folder(folder, save)
    prune_checkpoints(out, keep=keep)
    return folder


def prune_checkpoints(out: Path, *, keep: int) -> None:
    """Delete all checkpoints but the newest `keep`."""
    for useless in list_checkpoints(out)[:-keep]:
        shutil.rmtree(useless)


def list_checkpoints(out: Path) -> list[Path]:
    """Return the complete checkpoints of a run, the oldest first."""
    found = [path for path in out.glob(f"{CHECKPOINT}*") if path.name.removeprefix(CHECKPOINT).isdecimal()]
    return sorted((path for path in found if (path / STATE_FILE).is_file()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the number of the update after which a checkpoint was saved."""
    return int(checkpoint.name.removeprefix(CHECKPOINT))


def find_parts(checkpoint: Path) -> Path | None:
    """Return the folder of a checkpoint's parts; None: it is whole."""
    return checkpoint / PARTS if (checkpoint / PARTS).is_dir() else None


def load_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Read a training state to the CPU.

    Raises:
        ValueError: The file is damaged (a disk's fault: a kill does not do that).
    """
    try:
        return torch.load(checkpoint / STATE_FILE, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{checkpoint} cannot be read ({error}); delete it to resume from the checkpoint before it"
        ) from error


class RunLog:
    """The file `log.jsonl`: records with a `step`, in the order of the run.

    Args:
        path: Made if missing.
        step: Where the run starts or is continued; records of later updates, which are about to be made
            again, are dropped, and so is a line that a kill cut.
        validated: The same for records of validations, which have a `score`.
    """

    def __init__(self, path: Path, *, step: int, validated: int) -> None:
        self._path = path
        kept = [
            record
            for record in read_log(path)
            if record["step"] <= (validated if "score" in record else step)
        ]
        write_atomically(path, b"".join(to_json(record) + b"\n" for record in kept))

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        append_line(self._path, record)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the complete records of a log; none if there is no file."""
    return read_records(path)
