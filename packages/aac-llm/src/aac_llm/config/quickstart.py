"""Settings of `aac-llm quickstart`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Train, evaluate and use a small captioner on synthesised sounds, in a few minutes."""

    out: Path = Path("runs/quickstart-aac-llm")
    """Folder of everything that is made."""
    clips: int = 2500
    """Training clips to synthesise; a tenth as many each for validation and test."""
    steps: int = 1600
    """Updates of the captioner."""
    seed: int = 0
    """Seed for the sounds and the training."""

    def __post_init__(self) -> None:
        if self.clips < 40:
            raise ValueError(f"clips must be at least 40, got {self.clips}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
