"""Settings of `ml-clap serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_clap.config.server import ServerConfig

MOST_HITS = 50
"""Hits that one answer may have."""


@dataclass(frozen=True, kw_only=True)
class ServeConfig(ServerConfig):
    """Search an index on a page in the browser, and by HTTP."""

    index: Path
    """Folder made by `ml-clap index`."""
    model: str | None = None
    """The model, if it is no longer where it was when the index was made."""
    calibration: Path | None = None
    """File of `ml-clap calibrate` (default: calibration.json in the model's folder)."""
    lang: str = "eng_Latn"
    """Language that the page begins with."""
    top_k: int = 5
    """Hits that the page begins with."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.top_k <= MOST_HITS:
            raise ValueError(f"top_k must be 1 to {MOST_HITS}, got {self.top_k}")
