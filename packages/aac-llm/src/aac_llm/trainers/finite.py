"""Losses, gradients and weights that are not finite stop a training before they do harm.

One NaN makes all weights NaN with the next update, and transformers' Trainer would train on, log a loss of
0.0 and save them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

MAX_NAMED = 8
"""Clips that an error names."""
WHAT_TO_DO = (
    "Look at these clips, or lower learning_rate (precision fp32 or bf16 instead of fp16 may help, too); the "
    "same command goes on from the last checkpoint"
)


class TrainingError(ValueError):
    """Training cannot go on; says what to do."""


class FiniteUpdate:
    """Looks at the losses and the gradients of one update after another, before the optimizer's step.

    Args:
        device: of the training.
        world_size: processes that train together; all of them stop, or none does.
        scaled: whether gradients are scaled for fp16: their overflow is expected now and then, and the
            scaler leaves such an update out.
    """

    def __init__(self, device: torch.device, world_size: int, *, scaled: bool) -> None:
        self.device = device
        self.world_size = world_size
        self.scaled = scaled
        self._passes: list[tuple[Tensor, Sequence[str]]] = []

    def add(self, loss: Tensor, clips: Sequence[str]) -> None:
        """Note the loss of one of the update's forward passes and the ids of its clips."""
        self._passes.append((loss.detach(), clips))

    def check(self, parameters: Iterable[nn.Parameter], step: int) -> None:
        """Look at the whole update, when all its gradients are there.

        Args:
            parameters: with their gradients.
            step: the update's number.

        Raises:
            TrainingError: on every process; names the clips of all of them.
        """
        passes, self._passes = self._passes, []
        losses = torch.stack([loss for loss, _ in passes])
        norm = None if self.scaled else gradient_norm(parameters)
        finite = losses.isfinite().all() if norm is None else losses.isfinite().all() & norm.isfinite()
        if not on_any(not finite, self.device, self.world_size):
            return
        # A loss names its clips; a gradient alone is that of all of them.
        guilty = [clips for loss, clips in passes if not loss.isfinite()]
        found = [
            (bool(guilty), [clip for clips in guilty or [clips for _, clips in passes] for clip in clips])
        ]
        found = gather_object(found) if self.world_size > 1 else found
        has_loss = any(is_loss for is_loss, _ in found)
        names = [clip for is_loss, clips in found if is_loss == has_loss for clip in clips]
        what = "the loss" if has_loss else "the gradient"
        raise TrainingError(
            f"{what} of update {step} is not finite, with the clips {name_some(names)}; it was not taken. "
            f"{WHAT_TO_DO}"
        )


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the norm of the gradients that are on this device (of sharded ones this process's part)."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return nn.utils.get_total_norm(
        [grad.to_local() if isinstance(grad, DTensor) else grad for grad in gradients]
    )


def on_any(found: bool | Tensor, device: torch.device, world_size: int) -> bool:
    """Tell whether something is so in any of the processes: all of them get the same answer."""
    if world_size == 1:
        return bool(found)
    flag = torch.tensor(float(found), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)


def _local(parameter: nn.Parameter) -> Tensor:
    # ZeRO-3 keeps this process's part beside the parameter, which itself is empty.
    return (
        parameter.to_local() if isinstance(parameter, DTensor) else getattr(parameter, "ds_tensor", parameter)
    )


def check_weights(parameters: Iterable[nn.Parameter], device: torch.device, world_size: int) -> None:
    """Refuse to keep weights that are not finite.

    Raises:
        TrainingError: on every process.
    """
    local = (_local(parameter) for parameter in parameters if parameter.requires_grad)
    if on_any(not all(bool(weight.isfinite().all()) for weight in local), device, world_size):
        raise TrainingError(
            "weights are not finite after the last update, so they are not saved: lower learning_rate; the "
            "same command goes on from the last checkpoint"
        )


def name_some(names: Iterable[str]) -> str:
    """Return names as a text, each once and not too many."""
    unique = sorted(set(names))
    return ", ".join(unique[:MAX_NAMED]) + (
        f" and {len(unique) - MAX_NAMED} more" if unique[MAX_NAMED:] else ""
    )
