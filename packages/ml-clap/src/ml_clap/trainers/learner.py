"""What learns in a run: the model, its optimizer, the moving average; and one update of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from ml_clap.config.train import TrainConfig
from ml_clap.data.batches import Batch
from ml_clap.data.training_data import TrainingData
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.shared_space import temperature_of
from ml_clap.trainers.engine import make_engine
from ml_clap.trainers.objective import Objective
from ml_clap.trainers.optimizer import MovingAverage, learning_rate, optimizer_order
from ml_clap.trainers.processes import is_shared_out, not_finite_weights, random_seed
from ml_clap.trainers.text_table import TextTable


class Learner:
    """A model with all that changes its weights.

    Args:
        model: On its device.
        config: The run's settings.
        data: What the objective needs to know of the clips.
        accelerator: Wraps model and optimizer, and may share them out among processes.
    """

    def __init__(
        self, model: MLCLAP, config: TrainConfig, data: TrainingData, accelerator: Accelerator
    ) -> None:
        self.model = model
        self.config = config
        self.accelerator = accelerator
        texts = TextTable(model, data.texts()) if config.precompute_text else None
        self.names = optimizer_order(model)
        """Names of the weights that learn, in the order in which the optimizer has them."""
        self.is_shared_out = is_shared_out(accelerator)
        self.replica: MLCLAP | None = None
        """All weights, on the main process, to validate and save where no process has them to train."""
        if self.is_shared_out and accelerator.is_main_process:
            self.replica = deepcopy(model).cpu()
        self.engine = make_engine(model, config, accelerator)
        self.average = None if config.ema_decay is None else MovingAverage(model, config.ema_decay)
        self.objective = Objective(self.engine.towers, config, data, accelerator, texts)

    def update(self, batches: list[Batch], *, step: int, done: float) -> dict[str, float]:
        """Take one update of the weights, from the mean gradient of some batches.

        Args:
            batches: All are weighed alike.
            step: Number of the update, from 1.
            done: Share of the run that is done, which decides the learning rate.

        Returns:
            Mean loss, learning rate, norm of the gradient before it was clipped, and the temperature after.

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
        losses = [
            self.objective.backward(
                batch,
                step,
                lambda loss: self.engine.backward(loss / len(batches)),
                partial(self._synced, batch is batches[-1]),
            )
            for batch in batches
        ]
        norm = self.engine.step(rate, self.config.max_grad_norm, partial(self._check_norm, batches, step))
        if self.average is not None:
            self.average.update(self.model)
        loss = sum(losses) / len(losses)
        return {"loss": loss, "lr": rate, "grad_norm": norm, "temperature": self._temperature()}

    def _synced(self, is_last_batch: bool, is_last_chunk: bool) -> AbstractContextManager[None]:
        """Let processes average their gradients with the last chunk of an update, and only there."""
        return self.engine.synced(is_last_batch and is_last_chunk)

    @contextmanager
    def as_saved(self) -> Iterator[MLCLAP]:
        """Give the model as it is validated and saved within the block: averaged, in evaluation mode.

        All processes must enter it; where the weights are shared out, the main one alone gets them.
        """
        if self.is_shared_out:
            with self._gathered() as model:
                yield model
            return
        averaged = nullcontext() if self.average is None else self.average.applied_to(self.model)
        with averaged:
            self.model.eval()
            yield self.model
        self.model.train()

    @contextmanager
    def _gathered(self) -> Iterator[MLCLAP]:
        weights = self.engine.whole_weights(self.averages())
        if weights is None or self.replica is None:
            yield self.model
            return
        shapes = {name: value.shape for name, value in self.replica.state_dict().items()}
        changed = weights | dict(self.model.named_buffers())
        self.replica.load_state_dict(
            {name: value.view(shapes[name]) for name, value in changed.items() if name in shapes},
            strict=False,
        )
        yield self.replica.to(self.accelerator.device).eval()
        self.replica.cpu()

    def averages(self) -> dict[str, Tensor] | None:
        """Return the moving averages by the names of their weights, as this process holds them."""
        return None if self.average is None else self.average.average

    def check_finite(self, step: int) -> None:
        """Raise a TrainingError in all processes if a weight is not finite: such are never written."""
        names = self.engine.not_finite()
        if self.is_shared_out:
            names = [name for found in gather_object([names]) for name in found]
        if names:
            raise not_finite_weights(names[0], step)

    def _check_norm(self, batches: list[Batch], step: int, norm: float) -> None:
        # In fp16 an overflow is expected now and then: the loss scaler leaves the update out.
        if not math.isfinite(norm) and self.config.precision != "fp16":
            clip_ids = torch.cat([batch.clip_ids for batch in batches])
            raise self.objective.not_finite("the norm of the gradient", norm, clip_ids, step)

    def _temperature(self) -> float:
        if self.model.config.temperature_parameter == "raw":
            return self.engine.scalar(self.model.raw_temperature)
        return temperature_of(torch.tensor(self.engine.scalar(self.model.log_temperature))).item()
