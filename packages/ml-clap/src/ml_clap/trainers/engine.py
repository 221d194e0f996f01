"""How processes hold the weights: each has all (one process, DDP), or they share them out (FSDP 2, ZeRO).

`accelerate launch --config_file` chooses it; the recipes are in `ml_clap/recipes/accelerate`. The update is
the same whichever it is, and so is what is written: a checkpoint of one can be continued by another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from ml_clap.config.train import TrainConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.deepspeed_engine import DeepSpeedEngine
from ml_clap.trainers.named_state import NamedState, make_vectors_of_scalars
from ml_clap.trainers.objective import Towers
from ml_clap.trainers.optimizer import make_optimizer
from ml_clap.trainers.processes import is_shared_out
from ml_clap.trainers.torch_engine import TorchEngine


class Engine(Protocol):
    """Wraps model and optimizer, and takes the updates."""

    towers: nn.Module
    """What a forward pass calls."""
    optimizer: torch.optim.Optimizer
    """As accelerate wraps it."""

    def synced(self, is_last: bool) -> AbstractContextManager[None]:
        """Let processes share gradients within the block, or only add them up."""

    def backward(self, loss: Tensor) -> None:
        """Go back through the graph of a scalar."""

    def step(self, rate: float, limit: float | None, check: Callable[[float], None]) -> float:
        """Clip the gradients, update the weights, and return the gradients' norm before it was clipped.

        Args:
            rate: Learning rate of the update.
            limit: Longest norm; None: any.
            check: Raises where the norm is not finite.
        """

    def whole_state(self, average: dict[str, Tensor] | None) -> NamedState | None:
        """Return whole tensors on the CPU, on the main process; all must call this."""

    def whole_weights(self, values: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """Return the weights that learn, or `values` of their shapes, as `whole_state` does."""

    def load(self, state: NamedState, average: dict[str, Tensor] | None) -> None:
        """Take over whole tensors, the same on every process."""

    def not_finite(self) -> list[str]:
        """Return the names of weights that are not finite in what this process holds of them."""

    def scalar(self, weight: Tensor) -> float:
        """Return the value of a parameter of one element; all must call this."""


def make_engine(model: MLCLAP, config: TrainConfig, accelerator: Accelerator) -> Engine:
    """Wrap a model that is on its device, with a new optimizer, as the launcher says."""
    if is_shared_out(accelerator):
        # Processes gather a layer together: all must run it equally often, however long their clips are.
        model.audio_encoder.tokens_per_group = sys.maxsize
        make_vectors_of_scalars(model)
    is_ours = config.precision == "bf16" and accelerator.mixed_precision == "no"
    towers = Towers(model, config.augment, dtype=torch.bfloat16 if is_ours else None)
    optimizer = make_optimizer(model, config)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return DeepSpeedEngine(accelerator, towers, optimizer, config)
    return TorchEngine(accelerator, towers, optimizer)
