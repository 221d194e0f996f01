"""Settings of `ml-clap export-checkpoint`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ExportCheckpointConfig:
    """Write a checkpoint of a training run as a model folder, whatever number of processes wrote it."""

    checkpoint: Path
    """Checkpoint of `ml-clap train`: RUN/checkpoint-500."""
    out: Path | None = None
    """Folder to write; `MLCLAP.from_pretrained` and every other verb read it."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the model goes, --out FOLDER")
