"""Settings of `r1-aqa quickstart`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Train a small audio LLM from nothing on synthesized scenes: fine-tuning, then reinforcement."""

    out: Path = Path("runs/quickstart-r1-aqa")
    """Folder of all results; the same command again resumes there."""
    scenes: int = 2000
    """Training scenes to synthesize, with a few questions each."""
    test_scenes: int = 120
    """Held-out scenes to synthesize."""
    sft_epochs: int = 3
    """Passes of supervised fine-tuning over the training questions."""
    grpo_steps: int = 160
    """Updates of reinforcement learning."""
    seed: int = 0
    """Seed for scenes, weights, order and sampling."""

    def __post_init__(self) -> None:
        for name, least in (("scenes", 8), ("test_scenes", 4), ("sft_epochs", 1), ("grpo_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
