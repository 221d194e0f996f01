"""What is not finite stops a training, and is never saved."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from aac_llm.config.model import ModelConfig
from aac_llm.config.train import DataConfig, TrainConfig, ValidationConfig
from aac_llm.models.captioner_model import CaptionModel, CaptionOutput
from aac_llm.trainers.finite import FiniteUpdate, TrainingError, check_weights
from aac_llm.trainers.run_folder import find_checkpoint
from aac_llm.trainers.train import train
from safetensors.torch import load_file


@pytest.fixture
def config(tiny_config: ModelConfig, scene_manifest: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        out=tmp_path / "run",
        model=tiny_config,
        data=DataConfig(
            train=(scene_manifest,), validation=(scene_manifest,), validation_splits=("train",), num_workers=0
        ),
        max_steps=4,
        epochs=10,
        batch_size=2,
        logging_steps=1,
        save_steps=1,
        eval_steps=1,
        validation=ValidationConfig(metric="loss", max_clips=0),
        device="cpu",
    )


def broken_from(monkeypatch: pytest.MonkeyPatch, call: int, value: float) -> None:
    """The loss of the n-th forward pass in training, and of all after it, is times a value."""
    real, calls = CaptionModel.forward, [0]

    def forward(self: CaptionModel, *args: Any, **kwargs: Any) -> CaptionOutput:
        output = real(self, *args, **kwargs)
        calls[0] += 1
        if calls[0] >= call:
            output.loss = output.loss * value
        return output

    monkeypatch.setattr(CaptionModel, "forward", forward)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("accumulation", "call"), [(1, 3), (2, 4), (2, 5)])
def test_a_loss_that_is_not_finite_stops_before_the_update(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, value: float, accumulation: int, call: int
) -> None:
    config = replace(config, gradient_accumulation_steps=accumulation)
    with monkeypatch.context() as patch:
        broken_from(patch, call, value)
        with pytest.raises(
            TrainingError, match=r"the loss of update 3 is not finite, with the clips scene\d"
        ):
            train(config)
    assert find_checkpoint(config.out) == config.out / "checkpoint-2"
    for path in config.out.rglob("*.safetensors"):
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(path).values())
    rows = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert max(row["step"] for row in rows) == 2
    assert not (config.out / "last").exists()
    # The cause removed, the same command goes on.
    assert train(config).steps == 4


def test_only_the_clips_of_the_broken_pass_are_named() -> None:
    update = FiniteUpdate(torch.device("cpu"), 1, scaled=False)
    update.add(torch.tensor(1.0), ["a", "b"])
    update.add(torch.tensor(math.nan), ["d", "c", "c"])
    with pytest.raises(
        TrainingError, match="the loss of update 7 is not finite, with the clips c, d; it was"
    ):
        update.check([], 7)
    # The next update begins anew.
    update.add(torch.tensor(1.0), ["a"])
    update.check([], 8)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_names_all_clips_of_the_update(value: float) -> None:
    update = FiniteUpdate(torch.device("cpu"), 1, scaled=False)
    update.add(torch.tensor(1.0), ["a"])
    update.add(torch.tensor(1.0), ["b"])
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([1.0, value])
    with pytest.raises(TrainingError, match="the gradient of update 1 is not finite, with the clips a, b;"):
        update.check([weight], 1)


def test_overflow_in_fp16_is_left_to_the_scaler() -> None:
    update = FiniteUpdate(torch.device("cpu"), 1, scaled=True)
    update.add(torch.tensor(1.0), ["a"])
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([math.inf])
    update.check([weight], 1)


def test_weights_that_are_not_finite_are_not_saved() -> None:
    weight = torch.nn.Parameter(torch.tensor([math.nan]))
    with pytest.raises(TrainingError, match="not saved"):
        check_weights([weight], torch.device("cpu"), 1)
    weight.requires_grad_(False)
    check_weights([weight], torch.device("cpu"), 1)


def test_a_validation_loss_that_is_not_finite_stops_and_keeps_the_best(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(config, max_steps=1))
    before = (config.out / "best" / "validation.json").read_bytes()
    real = CaptionModel.caption_logits

    def logits(self: CaptionModel, *args: Any) -> torch.Tensor:
        found = real(self, *args)
        return found if self.training else found * math.nan

    monkeypatch.setattr(CaptionModel, "caption_logits", logits)
    with pytest.raises(
        TrainingError, match="the validation loss is not finite, with the clips scene0, scene1"
    ):
        train(config)
    assert (config.out / "best" / "validation.json").read_bytes() == before
