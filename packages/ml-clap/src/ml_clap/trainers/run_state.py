"""How far a run is; with the tensors, what a checkpoint holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ml_clap.config.train import TrainConfig


@dataclass
class RunState:
    """How far a run is. What is due follows from it and the settings alone, whatever stopped the run."""

    step: int = 0
    """Updates taken."""
    epoch: int = 0
    batches: int = 0
    """Batches of this epoch that are done."""
    best: float | None = None
    """Highest validation score."""
    validated: int = 0
    """Update after which the last validation ran."""
    bad_files: dict[str, str] = field(default_factory=dict)
    """Files that could not be read so far, of all processes, and why."""

    def is_done(self, config: TrainConfig) -> bool:
        """Tell whether no update is left."""
        if config.max_steps is not None:
            return self.step >= config.max_steps
        return self.epoch >= config.epochs

    def is_validation_due(self, config: TrainConfig) -> bool:
        """Tell whether this update still needs a validation, by `eval_steps` or as the last one."""
        every = config.eval_steps
        is_wanted = self.is_done(config) or (every is not None and self.step % every == 0)
        return is_wanted and self.step > self.validated

    def share(self, config: TrainConfig, num_batches: int) -> float:
        """Return the share of the run that is done, 0 to 1; `num_batches` are those of this epoch."""
        if config.max_steps is not None:
            return self.step / config.max_steps
        return (self.epoch + self.batches / num_batches) / config.epochs

    def total(self, config: TrainConfig, num_batches: int) -> int:
        """Return how many updates the whole run has: with further languages epochs differ a little."""
        if config.max_steps is not None:
            return config.max_steps
        per_epoch = math.ceil(num_batches / config.gradient_accumulation_steps)
        done_of_epoch = math.ceil(self.batches / config.gradient_accumulation_steps)
        return self.step - done_of_epoch + (config.epochs - self.epoch) * per_epoch
