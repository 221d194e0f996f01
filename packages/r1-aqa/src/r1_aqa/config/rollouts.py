"""Settings of `r1-aqa rollouts`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RolloutsConfig:
    """Show the rollouts of a training as a page."""

    folder: Path
    """OUT/rollouts of a training."""
    out: Path = Path("rollouts.html")
    """The page."""
    questions: tuple[Path, ...] = ()
    """The training's files of questions, to play their sounds."""
    every: int = 1
    """Show each so many updates."""
    max_groups: int = 1000
    """No more groups than this, the latest."""

    def __post_init__(self) -> None:
        if self.every < 1 or self.max_groups < 1:
            raise ValueError("every and max_groups must be at least 1")
