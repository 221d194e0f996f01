"""Settings of `r1-aqa export-checkpoint`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ExportCheckpointConfig:
    """Write the model of a checkpoint as a plain folder: of one process, DDP, FSDP or DeepSpeed."""

    checkpoint: Path
    """Folder of the checkpoint in its run: RUN/checkpoint-N."""
    out: Path
    """Folder of the model or adapters, as a training's `best` is."""
