"""How training changes the weights: parameter groups, the learning rate over the run, the moving average."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ml_clap.config.train import TrainConfig

_ENCODERS = ("audio_encoder.", "text_encoder.")


def parameter_groups(
    model: nn.Module, *, weight_decay: float, encoder_lr_factor: float
) -> list[dict[str, object]]:
    """Group the trainable parameters of an `MLCLAP` by learning rate and weight decay.

    Vectors and scalars (norms, biases, the temperature) and position embeddings are not decayed: pulling them
    to zero does not make a function smoother.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and "pos_embed" not in name and "position" not in name
            groups.setdefault((name.startswith(_ENCODERS), decays), []).append(parameter)
    # Sorted: a checkpoint of the optimizer names groups by their order alone.
    return [
        {
            "params": parameters,
            "lr_factor": encoder_lr_factor if is_encoder else 1.0,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (is_encoder, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def optimizer_order(model: nn.Module) -> list[str]:
    """Return the names of the weights that learn, in the order of `parameter_groups`."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    groups = parameter_groups(model, weight_decay=0.0, encoder_lr_factor=1.0)
    return [names[id(weight)] for group in groups for weight in group["params"]]  # type: ignore[attr-defined]


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return Adam or AdamW over `parameter_groups`; `set_learning_rate` sets its rate before each update."""
    own = config.optimizer
    kind = torch.optim.AdamW if own.name == "adamw" else torch.optim.Adam
    groups = parameter_groups(
        model, weight_decay=config.weight_decay, encoder_lr_factor=own.encoder_lr_factor
    )
    return kind(groups, lr=config.learning_rate, betas=own.betas, eps=own.eps)  # type: ignore[arg-type]


def learning_rate(
    progress: float, *, peak: float, warmup_ratio: float = 0.0, final_factor: float = 0.0
) -> float:
    """Return the rate when `progress` of the run (0 to 1) is done: a straight rise, then half a cosine.

    Args:
        progress: share of the run.
        peak: rate at the end of the rise.
        warmup_ratio: share of the run that the rise takes.
        final_factor: rate at the end of the run, as a multiple of the peak.
    """
    if progress < warmup_ratio:
        return peak * progress / warmup_ratio
    done = (progress - warmup_ratio) / (1.0 - warmup_ratio)
    cosine = (1.0 + math.cos(math.pi * min(done, 1.0))) / 2.0
    return peak * (final_factor + (1.0 - final_factor) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group `rate` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


class MovingAverage:
    """Exponential moving average of a model's trainable parameters.

    Args:
        model: Its parameters are where the average starts.
        decay: Weight of the old average at each update. At update n it is at most (1 + n) / (10 + n), or the
            random start would weigh for long.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.average = {name: value.detach().clone() for name, value in _trainable(model)}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Add the model's present parameters to the average."""
        self.num_updates += 1
        # As in TensorFlow's moving average: short at first, or random weights would stay in it for long.
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, parameter in _trainable(model):
            self.average[name].lerp_(parameter.detach(), 1.0 - decay)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Give the model the averaged parameters within the block."""
        kept = {name: value.detach().clone() for name, value in _trainable(model)}
        _assign(model, self.average)
        try:
            yield
        finally:
            _assign(model, kept)

    def state_dict(self) -> dict[str, object]:
        """Return what a checkpoint keeps."""
        return {"num_updates": self.num_updates, "average": self.average}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what a checkpoint kept."""
        self.num_updates = state["num_updates"]
        for name, tensor in state["average"].items():
            self.average[name].copy_(tensor)


def _trainable(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, value) for name, value in model.named_parameters() if value.requires_grad)


@torch.no_grad()
def _assign(model: nn.Module, values: dict[str, Tensor]) -> None:
    for name, parameter in _trainable(model):
        parameter.copy_(values[name])
