"""Weights by torch alone: whole in each process (one, or several by DDP), or shared out by FSDP 2."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from ml_clap.trainers.named_state import NamedState, as_vector, learning, state_of
from ml_clap.trainers.optimizer import set_learning_rate


class TorchEngine:
    """See `ml_clap.trainers.engine.Engine`.

    Args:
        accelerator: Wraps model and optimizer.
        towers: On its device.
        optimizer: Of its parameters.
    """

    def __init__(self, accelerator: Accelerator, towers: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.accelerator = accelerator
        self.model: nn.Module = towers.model  # type: ignore[assignment]
        self.towers, self.optimizer = accelerator.prepare(towers, optimizer)

    def synced(self, is_last: bool) -> AbstractContextManager[None]:
        """Average gradients over the processes within the block, or only add them up."""
        return nullcontext() if is_last else self.accelerator.no_sync(self.towers)

    def backward(self, loss: Tensor) -> None:
        """Go back through the graph of a scalar, scaled in fp16."""
        self.accelerator.backward(loss)

    def step(self, rate: float, limit: float | None, check: Callable[[float], None]) -> float:
        """Clip the gradients, update the weights, and return the norm; see `Engine`."""
        set_learning_rate(self.optimizer, rate)
        parameters = [parameter for parameter in self.towers.parameters() if parameter.requires_grad]
        found = self.accelerator.clip_grad_norm_(parameters, math.inf if limit is None else limit)
        norm = float(whole(found))
        check(norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def state(self, average: dict[str, Tensor] | None) -> NamedState:
        """Return what this process holds of the state; the tensors are those that learn."""
        return state_of(self.model, self.optimizer.optimizer, average)

    def whole_state(self, average: dict[str, Tensor] | None) -> NamedState | None:
        """Return whole tensors on the CPU, on the main process; all must call this."""
        state = {kind: self._gather(values) for kind, values in self.state(average).items()}
        return state if self.accelerator.is_main_process else None

    def whole_weights(self, values: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """Return the weights that learn, or `values` of their shapes, as `whole_state` does."""
        gathered = self._gather(learning(self.model) if values is None else values)
        return gathered if self.accelerator.is_main_process else None

    def _gather(self, values: dict[str, Tensor] | dict[str, nn.Parameter]) -> dict[str, Tensor]:
        gathered = {}
        for name, value in values.items():
            found = whole(value.detach())
            if self.accelerator.is_main_process:
                gathered[name] = found.cpu()
        return gathered

    @torch.no_grad()
    def load(self, state: NamedState, average: dict[str, Tensor] | None) -> None:
        """Take over whole tensors, the same on every process."""
        for kind, values in self.state(average).items():
            for name, value in state[kind].items():
                _copy(values[name], as_vector(value) if values[name].ndim else value)

    def not_finite(self) -> list[str]:
        """Return the names of weights that are not finite in what this process holds of them."""
        weights = self.model.named_parameters()
        return [name for name, weight in weights if not local(weight.detach()).isfinite().all()]

    def scalar(self, weight: Tensor) -> float:
        """Return the value of a parameter of one element; all must call this."""
        return float(whole(weight.detach()))


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that may be in parts; of one in parts all processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor that may be in parts."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _copy(own: Tensor, value: Tensor) -> None:
    if isinstance(own, DTensor):
        # Every process has read the value: each takes its part, and none waits for another.
        value = distribute_tensor(value.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
    own.copy_(value)
