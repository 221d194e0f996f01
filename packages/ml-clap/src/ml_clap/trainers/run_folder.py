"""The files of a training run: checkpoints, the log, model folders. A kill at any moment loses none.

A file or folder appears under its name only when it is complete and on disk.

    OUT/config.json                settings of the run
    OUT/log.jsonl                  a line for each update and each validation
    OUT/curves.png                 loss, learning rate and validation scores
    OUT/checkpoint-500/            training state after update 500
    OUT/best/, OUT/last/           model folders for `MLCLAP.from_pretrained`
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from ml_clap.files import OLD, PARTIAL, replace_folder, to_json, write_atomically

CHECKPOINT = "checkpoint-"
STATE_FILE = "training_state.pt"


def save_checkpoint(out: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write the training state after update `step`, then delete all but the newest `keep`.

    Args:
        out: Folder of the run, made if missing.
        step: Number in the checkpoint's name.
        state: Tensors and plain values, nested.
        keep: At least 1.
    """
    folder = out / f"{CHECKPOINT}{step}"
    replace_folder(folder, lambda partial: torch.save(state, partial / STATE_FILE))
    left_by_kills = out.glob(f"{CHECKPOINT}*{PARTIAL}")
    for useless in (*list_checkpoints(out)[:-keep], *left_by_kills):
        shutil.rmtree(useless)
    return folder


def list_checkpoints(out: Path) -> list[Path]:
    """Return the complete checkpoints of a run, the oldest first."""
    found = [path for path in out.glob(f"{CHECKPOINT}*") if path.suffix not in (PARTIAL, OLD)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the number of the update after which a checkpoint was saved."""
    return int(checkpoint.name.removeprefix(CHECKPOINT))


def load_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Read a training state to the CPU.

    Raises:
        ValueError: The file is damaged (a disk's fault: a kill does not do that).
    """
    try:
        return torch.load(checkpoint / STATE_FILE, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{checkpoint} cannot be read ({error}); delete it to resume from the checkpoint before it"
        ) from error


class RunLog:
    """The file `log.jsonl`: records with a `step`, in the order of the run.

    Args:
        path: Made if missing.
        step: Where the run starts or is continued; records of later updates, which are about to be made
            again, are dropped, and so is a line that a kill cut.
    """

    def __init__(self, path: Path, *, step: int) -> None:
        # Updates after the checkpoint are taken again, and logged again.
        kept = [record for record in read_log(path) if record["step"] <= step]
        write_atomically(path, b"".join(to_json(record) + b"\n" for record in kept))
        self._file = path.open("ab", buffering=0)

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        self._file.write(to_json(record) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the complete records of a log; none if there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line break was cut
    return [json.loads(line) for line in lines]
