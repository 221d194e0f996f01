"""Settings of `ml-clap quickstart`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Train a small model on synthesized sounds, evaluate it in eight languages and search with it."""

    out: Path = Path("runs/quickstart-ml-clap")
    """Folder for everything that is made."""
    steps: int = 2400
    """Updates to train for; about four minutes of one core."""
    clips: int = 1500
    """Training scenes to synthesize; validation and test have a tenth of that each."""
    seed: int = 0
    """Seed for the scenes and the training."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps")
        check_at_least(self, 100, "clips")
