"""What a checkpoint keeps beside weights and optimizer, so that a resumed run ends as an undisturbed one.

Trainer's own state (`trainer_state.json`, written last) holds the log; with it are kept here the losses that
are not logged yet, and what was found out about clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

if TYPE_CHECKING:
    from aac_llm.trainers.trainer import CaptionTrainer

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


class Resume(TrainerCallback):
    """Where a training resumes, makes up for a validation that is due; ends where no update is left."""

    def __init__(self, trainer: CaptionTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take over what the checkpoint kept; validate; raise NothingLeftError after the last update."""
        if not state.global_step:
            return
        self.trainer.judged = state.global_step
        saved: Any = state.stateful_callbacks
        self.trainer.take_over(saved.get(KEY))
        if is_validation_due(args, state, self.trainer.updates_per_epoch):
            self.trainer.evaluate()
        if state.global_step >= state.max_steps:
            raise NothingLeftError


def is_validation_due(args: TrainingArguments, state: TrainerState, updates_per_epoch: int) -> bool:
    """Tell whether the update after which a checkpoint was saved still wants its validation.

    A checkpoint may come before the validation (`save_steps` with validation by epochs, Ctrl-C).
    """
    if args.eval_strategy == IntervalStrategy.NO:
        return False
    by_steps = args.eval_strategy == IntervalStrategy.STEPS
    every = int(args.eval_steps or 1) if by_steps else updates_per_epoch
    step = state.global_step
    is_wanted = step >= state.max_steps or step % every == 0
    return is_wanted and not any("eval_loss" in row and row["step"] == step for row in state.log_history)
