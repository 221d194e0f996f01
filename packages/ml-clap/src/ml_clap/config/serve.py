"""Settings of `ml-clap serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_clap.config.limits import check_at_least
from ml_clap.config.server import ServerConfig


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
        check_at_least(self, 1, "top_k")
