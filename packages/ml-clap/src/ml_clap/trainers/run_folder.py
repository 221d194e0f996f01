"""The files of a training run: checkpoints, the loss log, model folders. A kill at any moment loses none.

A file appears under its name only when it is complete and on disk: it is written under another name, flushed,
and renamed.

    OUT/config.json                the settings of the run
    OUT/log.jsonl                  one line an update, one a validation
    OUT/checkpoints/000500.pt      training state after update 500
    OUT/best/, OUT/final/          model folders for `MLCLAP.from_pretrained`
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PARTIAL = ".partial"
"""Ending of what is being written."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write the training state after update `step`, then delete all but the newest `keep`.

    Args:
        folder: Made if missing.
        step: Names the file.
        state: Tensors and plain values, nested.
        keep: At least 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step:06d}.pt"
    _write(path, lambda target: torch.save(state, target))
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, the oldest first."""
    return sorted(folder.glob("[0-9]*.pt"), key=lambda path: int(path.stem))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training state to the CPU.

    Raises:
        ValueError: The file is damaged (a disk's fault: a kill does not do that).
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); delete it to resume from the checkpoint before it"
        ) from error


def save_model_folder(folder: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a model folder, and put it in the place of the one of that name."""
    partial, old = _beside(folder, PARTIAL), _beside(folder, ".old")
    for leftover in (partial, old) if folder.exists() else (partial,):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    save(partial)
    for file in sorted(partial.rglob("*")):
        _flush(file)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_model_folder(folder: Path) -> None:
    """Undo a kill between the two renamings of `save_model_folder`."""
    old = _beside(folder, ".old")
    if old.exists() and not folder.exists():
        old.rename(folder)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    _write(path, lambda target: target.write_text(text, encoding="utf-8"))


class RunLog:
    """The file `log.jsonl`: records with a `step`, in the order of the run.

    Args:
        path: Made if missing.
        step: Where the run starts or is continued; records of later updates, which are about to be made
            again, are dropped, and so is a line that a kill cut.
    """

    def __init__(self, path: Path, *, step: int) -> None:
        kept = [record for record in read_log(path) if record["step"] <= step]
        lines = "".join(_line(record) for record in kept)
        _write(path, lambda target: target.write_text(lines, encoding="utf-8"))
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        self._file.write(_line(record))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The complete records of a log; none if there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line break was cut
    return [json.loads(line) for line in lines]


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _write(path: Path, write: Callable[[Path], object]) -> None:
    partial = _beside(path, PARTIAL)
    write(partial)
    _flush(partial)
    partial.replace(path)
    _flush(path.parent)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
