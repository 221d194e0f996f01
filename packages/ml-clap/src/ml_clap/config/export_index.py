"""Settings of `ml-clap export-index`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ExportIndexConfig:
    """Write an index as one Parquet file: a row a window, with its vector, clip, captions and metadata."""

    index: Path
    """Folder made by `ml-clap index`."""
    out: Path | None = None
    """Parquet file to write."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the table goes, --out FILE.parquet")
