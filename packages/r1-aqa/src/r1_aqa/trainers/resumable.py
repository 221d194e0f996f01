"""What both trainers add to transformers': updates that are finite, checkpoints that are whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather, gather_object
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainerCallback

from r1_aqa.files import write_atomically
from r1_aqa.models.licence import CARD_FILE
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.trainers.checkpoint import separate_steps
from r1_aqa.trainers.finite import TrainingError, are_finite, name_questions, require_finite_weights
from r1_aqa.trainers.gathering import leave_results_unrounded, whole_weights
from r1_aqa.trainers.sharding import check_sharding, is_sharded, keeps_parts

REMEDY = (
    "the weights have not taken this update. Look at these questions, lower learning_rate or max_grad_norm, "
    "or use bf16 or fp32 instead of fp16; the same command goes on from the last checkpoint"
)


class ResumableTrainer(Trainer):
    """A trainer whose checkpoints are finite, written once, and loaded whole.

    Attributes:
        prompts: the training questions.
        card: returns the text of the model card, for the folder of a checkpoint; None: there is none.
    """

    prompts: EncodedPrompts
    card: Callable[[], str] | None = None
    _losses: tuple[tuple[list[int], Tensor], ...] = ()
    _saved_step = -1

    def create_accelerator_and_postprocess(self) -> None:
        """Refuse a launcher's settings that would fail late."""
        super().create_accelerator_and_postprocess()
        check_sharding(self.accelerator)
        leave_results_unrounded(self.accelerator)

    @property
    def is_sharded(self) -> bool:
        """Return whether this process holds a part of the weights only."""
        return is_sharded(self.accelerator)

    def whole_weights(self) -> AbstractContextManager[nn.Module]:
        """Return a block, entered by all processes, in which the yielded model can be called in any way."""
        return whole_weights(self.model_wrapped, self.accelerator)

    def note_loss(self, rows: list[int], loss: Tensor) -> Tensor:
        """Remember the loss of a pass and the rows of its questions until the update; return it."""
        self._losses = (*self._losses, (rows, loss.detach()))
        if self.is_deepspeed_enabled:
            # Its weights take the update within the backward pass, before callbacks are asked.
            self.require_finite([])
        return loss

    def take_losses(self) -> list[tuple[list[int], float]]:
        """Return rows and loss of each pass since the last update."""
        noted, self._losses = self._losses, ()
        # Moved at once: each number alone would wait for the GPU.
        values = torch.stack([loss for _, loss in noted]).tolist() if noted else []
        return [(rows, value) for (rows, _), value in zip(noted, values, strict=True)]

    def require_finite(self, gradients: list[Tensor]) -> None:
        """Raise if the loss of a pass since the last update, or a gradient, is not finite.

        Raises:
            TrainingError: in all processes, for a loss or gradient of any.
        """
        passes = self.take_losses()
        bad = [rows for rows, loss in passes if not math.isfinite(loss)]
        fault = 2.0 if bad else 0.0 if are_finite(gradients) else 1.0
        # The others must not wait for this process, nor take the update.
        if (worst := float(gather(torch.tensor([fault], device=self.args.device)).max())) > 0:
            # Where this process's loss is finite, its questions are not to blame for another's.
            blamed = bad if worst == 2 else [rows for rows, _ in passes]
            what = "the loss" if worst == 2 else "the gradient"
            questions = self._names(row for rows in blamed for row in rows)
            place = f"at update {self.state.global_step + 1}, with questions {questions}"
            raise TrainingError(f"{what} is not finite {place}; {REMEDY}")

    def _names(self, rows: Iterable[int]) -> str:
        asked = self.prompts.questions
        return name_questions(gather_object([asked[row].id for row in dict.fromkeys(rows)]))

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: TRL would put a README.md into the folder of the training."""

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        step = self.state.global_step
        # Trainer saves after an update and again at the end of its epoch; written anew in its place, a
        # checkpoint would be half of one for a while.
        if step != self._saved_step:
            require_finite_weights(self.model, step)  # type: ignore[arg-type]
            if keeps_parts(self.accelerator) and self.card is not None and self.args.should_save:
                # Where weights are written in parts, `_save` is not called.
                folder = Path(str(self.args.output_dir)) / f"checkpoint-{step}"
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / CARD_FILE, self.card())
            super()._save_checkpoint(model, trial)
            self._saved_step = step

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        # Before the state, by which a checkpoint is whole; in place of peft's empty card.
        if self.card is not None and self.args.should_save:
            write_atomically(Path(output_dir or str(self.args.output_dir)) / CARD_FILE, self.card())

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save a model that loads anywhere, also where FSDP's checkpoints are in parts; Trainer does not."""
        if keeps_parts(self.accelerator) and not _internal_call:
            self._save(output_dir, state_dict=self.accelerator.get_state_dict(self.model))
        else:
            super().save_model(output_dir, _internal_call)

    def get_train_dataloader(self) -> Any:
        """Return batches of this training's size: transformers 4 resumes with that of the checkpoint."""
        self._train_batch_size = self.args.train_batch_size
        return super().get_train_dataloader()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            separate_steps(self.model_wrapped)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if model is not None or not load_weights(self.model, resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)


class FiniteUpdates(TrainerCallback):
    """Looks at loss and gradient of an update before the weights take it."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any
    ) -> None:
        """Raise for a loss or gradient that is not finite."""
        # With fp16 a gradient may overflow: the scaler then passes over this update by itself.
        is_scaled = self.trainer.accelerator.scaler is not None
        self.trainer.require_finite([] if is_scaled else _gradients(optimizer))


def _gradients(optimizer: Any) -> list[Tensor]:
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return [p.grad for p in parameters if p.grad is not None]


def load_weights(model: Any, checkpoint: str) -> bool:
    """Load the weights of a checkpoint into a bare model of transformers; return False if it is wrapped.

    transformers 5 saves a model under the names of its published files. On resuming, its Trainer looks for
    these names in the model as they are, finds none, and goes on without a word: with the optimizer of the
    checkpoint and the weights of the start. Here they are read as every published model is, and all of them
    must fit. Adapters, FSDP and DeepSpeed have ways of their own, which Trainer takes.

    Raises:
        RuntimeError: the checkpoint is of another model.
    """
    if not isinstance(model, PreTrainedModel):
        return False
    kind: Any = type(model)
    found = kind.from_pretrained(checkpoint, dtype=model.dtype, trust_remote_code=False)
    model.load_state_dict(found.state_dict())
    return True
