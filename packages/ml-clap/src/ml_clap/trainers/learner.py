"""What learns in a run: the model, its optimizer, the moving average; and one update of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from ml_clap.config.train import TrainConfig
from ml_clap.data.batches import Batch
from ml_clap.data.training_data import TrainingData
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.objective import Objective, Towers
from ml_clap.trainers.optimizer import MovingAverage, learning_rate, make_optimizer, set_learning_rate
from ml_clap.trainers.processes import check_finite_weights, random_seed
from ml_clap.trainers.text_table import TextTable


class Learner:
    """A model with all that changes its weights.

    Args:
        model: On its device.
        config: The run's settings.
        data: What the objective needs to know of the clips.
        accelerator: Wraps model and optimizer.
    """

    def __init__(
        self, model: MLCLAP, config: TrainConfig, data: TrainingData, accelerator: Accelerator
    ) -> None:
        self.model = model
        self.config = config
        self.accelerator = accelerator
        texts = TextTable(model, data.texts()) if config.precompute_text else None
        self.average = None if config.ema_decay is None else MovingAverage(model, config.ema_decay)
        self.towers, self.optimizer = accelerator.prepare(
            Towers(model, config.augment), make_optimizer(model, config)
        )
        self.objective = Objective(self.towers, config, data, accelerator, texts)

    def update(self, batches: list[Batch], *, step: int, done: float) -> dict[str, float]:
        """Take one update of the weights, from the mean gradient of some batches.

        Args:
            batches: All are weighed alike.
            step: Number of the update, from 1.
            done: Share of the run that is done, which decides the learning rate.

        Returns:
            Mean loss, learning rate, and norm of the gradient before it was clipped.

        Raises:
            TrainingError: Loss or gradient is not finite.
        """
        # A seed for each update: a resumed run draws the same dropout as one that was never stopped.
        torch.manual_seed(random_seed(self.config.seed, step, self.accelerator.process_index))
        rate = learning_rate(
            done,
            peak=self.config.learning_rate,
            warmup_ratio=self.config.warmup_ratio,
            final_factor=self.config.optimizer.final_lr_factor,
        )
        set_learning_rate(self.optimizer, rate)
        losses = [
            self.objective.backward(
                batch,
                step,
                lambda loss: self.accelerator.backward(loss / len(batches)),
                partial(self._synced, batch is batches[-1]),
            )
            for batch in batches
        ]
        norm = self._clip_gradients(batches, step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.model)
        return {"loss": sum(losses) / len(losses), "lr": rate, "grad_norm": norm}

    def _synced(self, is_last_batch: bool, is_last_chunk: bool) -> AbstractContextManager[None]:
        """Let processes average their gradients with the last chunk of an update, and only there."""
        is_last = is_last_batch and is_last_chunk
        return nullcontext() if is_last else self.accelerator.no_sync(self.towers)

    @contextmanager
    def as_saved(self) -> Iterator[MLCLAP]:
        """Give the model as it is validated and saved within the block: averaged, in evaluation mode."""
        averaged = nullcontext() if self.average is None else self.average.applied_to(self.model)
        with averaged:
            self.model.eval()
            yield self.model
        self.model.train()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        scaler = self.accelerator.scaler
        return {
            "model": self._changing_weights(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.model.load_state_dict(state["model"], strict=False)  # the frozen ones are as they were made
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def check_finite(self, step: int) -> None:
        """Raise a TrainingError if a weight is not finite: such weights are never written."""
        check_finite_weights(self.model, step)

    def _clip_gradients(self, batches: list[Batch], step: int) -> float:
        limit = self.config.max_grad_norm
        parameters = [parameter for parameter in self.towers.parameters() if parameter.requires_grad]
        norm = float(self.accelerator.clip_grad_norm_(parameters, math.inf if limit is None else limit))
        # In fp16 an overflow is expected now and then: the loss scaler leaves the update out.
        if not math.isfinite(norm) and self.config.precision != "fp16":
            clip_ids = torch.cat([batch.clip_ids for batch in batches])
            raise self.objective.not_finite("the norm of the gradient", norm, clip_ids, step)
        return norm

    def _changing_weights(self) -> dict[str, Tensor]:
        """Return all weights but the frozen ones, which come from where they came from."""
        frozen = {name for name, weight in self.model.named_parameters() if not weight.requires_grad}
        return {name: weight for name, weight in self.model.state_dict().items() if name not in frozen}
