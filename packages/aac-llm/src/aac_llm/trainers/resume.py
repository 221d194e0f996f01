"""Where a training resumes: what its checkpoint kept is taken over, and a validation that is due is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from aac_llm.trainers.saved_state import KEY, NothingLeftError

if TYPE_CHECKING:
    from aac_llm.trainers.trainer import CaptionTrainer


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
