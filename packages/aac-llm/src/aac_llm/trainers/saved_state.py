"""What a checkpoint keeps beside weights and optimizer, so that a resumed run ends as an undisturbed one.

Trainer's own state (`trainer_state.json`, written last) holds the log; with it are kept here the losses that
are not logged yet, and what was found out about clips.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

KEY = "aac_llm"
"""Of our part in Trainer's saved state."""


class NothingLeftError(Exception):
    """The checkpoint is that of the last update: Trainer would take one more."""


@dataclass
class Unlogged:
    """The losses since the last line of the log, of which the next one will be the mean."""

    loss: Tensor | float = 0.0
    """Their sum; a tensor, so that no update waits for it."""
    since: int = 0
    """Update of that line."""
