"""Settings of `r1-aqa merge`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """Merge adapters into their base: a plain model, to serve or to train from."""

    source: Path
    """Folder of adapters, or a run (its best adapters)."""
    out: Path
    """Folder of the merged model."""
    family: str | None = None
    """`FILE.py:NAME`: a `Family` of your own for a kind of base not known here; the file is run."""
    dtype: Literal["bfloat16", "float32", "float16"] = "bfloat16"
    """Number format of its weights."""
