"""Settings of `r1-aqa rollouts`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RolloutsConfig:
    """Show the rollouts of a training as a page."""

    run: Path
    """Folder of a training, or its folder `rollouts`."""
    out: Path = Path("rollouts.html")
    """The page."""
    data: tuple[Path, ...] = ()
    """Files of questions, to play their audio; none: those that the run was trained on."""
    every: int = 1
    """Show every n-th update."""
    limit: int | None = 1000
    """Show only this many groups, the latest; none: all."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")
