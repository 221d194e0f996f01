"""What training does to the weights: parameter groups, the learning rate's course, their moving average."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ml_clap.config.train import OptimizerConfig

_ENCODERS = ("audio_encoder.", "text_encoder.")


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, object]]:
    """Trainable parameters of an `MLCLAP`, grouped by learning rate and weight decay.

    Vectors and scalars (norms, biases, the temperature) and position embeddings are not decayed: pulling them
    to zero does not make a function smoother.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and "pos_embed" not in name and "position" not in name
            groups.setdefault((name.startswith(_ENCODERS), decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr_factor": config.encoder_lr_factor if is_encoder else 1.0,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (is_encoder, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over `parameter_groups`; its rate is set before each update by `set_learning_rate`."""
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameter_groups(model, config), lr=config.lr, betas=config.betas, eps=config.eps)  # type: ignore[arg-type]


def learning_rate(progress: float, config: OptimizerConfig) -> float:
    """The rate when `progress` of the run (0 to 1) is done: a straight rise, then half a cosine."""
    if progress < config.warmup_fraction:
        return config.lr * progress / config.warmup_fraction
    done = (progress - config.warmup_fraction) / (1.0 - config.warmup_fraction)
    cosine = (1.0 + math.cos(math.pi * min(done, 1.0))) / 2.0
    return config.lr * (config.final_lr_factor + (1.0 - config.final_lr_factor) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group `rate` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


class MovingAverage:
    """Exponential moving average of a model's trainable parameters.

    Args:
        model: Its parameters are where the average starts.
        decay: Weight of the old average at each update; less in the first ones, for at update n it is
            at most (1 + n) / (10 + n), or the random start would weigh for long.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.average = {name: each.detach().clone() for name, each in _trainable(model)}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's present parameters in."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, parameter in _trainable(model):
            self.average[name].lerp_(parameter.detach(), 1.0 - decay)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Within the block the model has the averaged parameters."""
        kept = {name: each.detach().clone() for name, each in _trainable(model)}
        _assign(model, self.average)
        try:
            yield
        finally:
            _assign(model, kept)

    def state_dict(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"num_updates": self.num_updates, "average": self.average}

    def load_state_dict(self, state: dict) -> None:
        """From a checkpoint."""
        self.num_updates = state["num_updates"]
        for name, tensor in state["average"].items():
            self.average[name].copy_(tensor)


def _trainable(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, each) for name, each in model.named_parameters() if each.requires_grad)


@torch.no_grad()
def _assign(model: nn.Module, values: dict[str, Tensor]) -> None:
    for name, parameter in _trainable(model):
        parameter.copy_(values[name])
