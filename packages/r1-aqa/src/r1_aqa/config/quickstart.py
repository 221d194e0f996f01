"""Settings of `r1-aqa quickstart`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Train a small audio LLM from nothing on synthesised sounds: fine-tuning, then reinforcement."""

    out: Path = Path("r1-aqa-quickstart")
    """Folder; the same command again goes on there."""
    scenes: int = 1600
    """Synthesised training scenes, with a few questions each."""
    test_scenes: int = 60
    """Held-out scenes."""
    sft_epochs: float = 4.0
    """Passes of supervised fine-tuning over the training questions."""
    grpo_steps: int = 120
    """Updates of reinforcement learning."""
    seed: int = 0
    """Of scenes, weights, order and sampling."""

    def __post_init__(self) -> None:
        if self.scenes < 8 or self.test_scenes < 4:
            raise ValueError("give at least 8 scenes and 4 test_scenes")
