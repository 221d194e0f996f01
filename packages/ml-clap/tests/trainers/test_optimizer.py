"""Groups, learning rate and moving average of the weights, against values worked out by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ml_clap.config.train import DataConfig, OptimizerConfig, TrainConfig
from ml_clap.trainers.optimizer import (
    MovingAverage,
    learning_rate,
    make_optimizer,
    parameter_groups,
    set_learning_rate,
)
from torch import nn


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
        self.audio_encoder.register_parameter("time_pos_embed", nn.Parameter(torch.ones(1, 4, 1, 2)))
        self.audio_proj = nn.Linear(3, 2)
        self.log_temperature = nn.Parameter(torch.tensor(0.0))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def settings(**changed: Any) -> TrainConfig:
    return TrainConfig(out=Path("run"), data=DataConfig(train=(Path("clips.jsonl"),)), **changed)


def test_rate_rises_then_falls_as_a_cosine() -> None:
    rates = [
        learning_rate(done, peak=2.0, warmup_ratio=0.2, final_factor=0.1)
        for done in (0.0, 0.1, 0.2, 0.6, 1.0)
    ]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.1, 0.2])


def test_without_warmup_the_rate_starts_at_its_highest() -> None:
    assert learning_rate(0.0, peak=3.0) == 3.0


def test_only_matrices_that_learn_are_decayed_and_encoders_have_their_own_rate() -> None:
    model = TwoTowers()
    groups = parameter_groups(model, weight_decay=0.5, encoder_lr_factor=0.1)
    place = {
        id(each): (group["lr_factor"], group["weight_decay"]) for group in groups for each in group["params"]
    }
    found = {name: place.get(id(each)) for name, each in model.named_parameters()}
    assert found == {
        "audio_encoder.0.weight": (0.1, 0.5),
        "audio_encoder.0.bias": (0.1, 0.0),
        "audio_encoder.1.weight": (0.1, 0.0),
        "audio_encoder.1.bias": (0.1, 0.0),
        "audio_encoder.time_pos_embed": (0.1, 0.0),
        "audio_proj.weight": (1.0, 0.5),
        "audio_proj.bias": (1.0, 0.0),
        "log_temperature": (1.0, 0.0),
        "frozen.weight": None,
        "frozen.bias": None,
    }


def test_each_group_takes_its_share_of_the_rate() -> None:
    optimizer = make_optimizer(TwoTowers(), settings(optimizer=OptimizerConfig(encoder_lr_factor=0.1)))
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.05, 0.5}


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_decays_through_the_gradient_and_adamw_beside_it(name: str) -> None:
    model = TwoTowers()
    nn.init.ones_(model.audio_proj.weight)
    optimizer = make_optimizer(
        model, settings(optimizer=OptimizerConfig(name=name), learning_rate=0.1, weight_decay=0.5)
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # No gradient: adamw takes lr x decay off; adam sees the decay as a gradient and takes a step of lr.
    expected = 1.0 - 0.1 * 0.5 if name == "adamw" else 1.0 - 0.1
    assert model.audio_proj.weight.mean().item() == pytest.approx(expected, rel=1e-4)


def test_moving_average_equals_the_sum_written_out() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, decay=0.5)
    expected = 0.0
    for update in range(1, 20):
        nn.init.constant_(model.weight, float(update))
        average.update(model)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
    with average.applied_to(model):
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    assert model.weight.item() == 19.0


def test_moving_average_comes_back_from_a_checkpoint() -> None:
    model = nn.Linear(3, 2)
    average = MovingAverage(model, decay=0.9)
    nn.init.ones_(model.weight)
    average.update(model)
    other = MovingAverage(nn.Linear(3, 2), decay=0.9)
    other.load_state_dict(average.state_dict())
    assert other.num_updates == 1
    assert all(torch.equal(other.average[name], each) for name, each in average.average.items())


def test_impossible_settings_are_refused_by_name() -> None:
    for field, value in (
        ("learning_rate", 0.0),
        ("warmup_ratio", 1.0),
        ("max_grad_norm", -1.0),
        ("eval_steps", 0),
    ):
        with pytest.raises(ValueError, match=f"^{field} must be"):
            settings(**{field: value})
    for field, value in (("betas", (0.9, 1.0)), ("eps", 0.0), ("final_lr_factor", -1.0)):
        with pytest.raises(ValueError, match=f"^optimizer.{field} must"):
            OptimizerConfig(**{field: value})
