"""Gradients of a batch that is encoded in chunks are those of the batch at once."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ml_clap import cli
from ml_clap.config.train import TrainConfig
from ml_clap.trainers.objective import Objective
from ml_clap.trainers.trainer import Trainer
from torch import Tensor

STEP = 3


@pytest.fixture
def config(tiny_recipe: Path, tmp_path: Path) -> TrainConfig:
    """The tiny recipe, all of its dropout, patch-out and masks on; 7 does not divide by the chunk."""
    words = ["train", "--config", str(tiny_recipe), "--out", str(tmp_path / "run"), "--batch_size", "7"]
    settings = cli.read([*words, "--augment.token_noise", "0.2"])
    assert isinstance(settings, TrainConfig)
    return replace(settings, data=replace(settings.data, validation=()), ema_decay=None)


def gradients_of(trainer: Trainer, losses: Tensor) -> dict[str, Tensor]:
    weights = {name: each for name, each in trainer.model.named_parameters() if each.requires_grad}
    return dict(zip(weights, torch.autograd.grad(losses, list(weights.values())), strict=True))


def at_once(trainer: Trainer, objective: Objective, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return loss and gradients with the graphs of all chunks kept; each draws what caching lets it draw."""
    batch = first_batch(trainer)
    torch.manual_seed(0)
    chunks = objective._inputs(batch, STEP).split(size)
    seeds = torch.randint(2**62, (len(chunks),)).tolist()
    encoded = []
    for chunk, seed in zip(chunks, seeds, strict=True):
        torch.manual_seed(seed)
        encoded.append(objective.towers(*chunk))
    audio, texts = (torch.cat(each) for each in list(zip(*encoded, strict=True))[:2])
    loss = objective._loss(batch, STEP, audio, texts, encoded[0][2])
    return loss, gradients_of(trainer, loss)


def first_batch(trainer: Trainer):
    return next(trainer.data.epoch(0, skip=0)[0])


def cached(trainer: Trainer, objective: Objective) -> tuple[float, dict[str, Tensor]]:
    synced: list[bool] = []

    def note(is_last: bool) -> nullcontext[None]:
        synced.append(is_last)
        return nullcontext()

    torch.manual_seed(0)
    trainer.model.zero_grad()
    loss = objective.backward(first_batch(trainer), STEP, lambda scalar: scalar.backward(), note)
    assert synced == [False] * (len(synced) - 1) + [True]
    return loss, {name: each.grad for name, each in trainer.model.named_parameters() if each.grad is not None}


LOSSES = [
    {},
    {"loss": "sigmoid", "matryoshka_dims": (4, 8)},
    {"multilingual": "one_to_k"},
    {"multilingual": "co_anchor", "positives": "label"},
]


@pytest.mark.parametrize("settings", LOSSES)
def test_gradients_with_dropout_are_those_of_the_batch_at_once(config: TrainConfig, settings: dict) -> None:
    trainer = Trainer(replace(config, gradient_cache=3, **settings))
    objective = trainer.learner.objective
    expected_loss, expected = at_once(trainer, objective, 3)
    loss, found = cached(trainer, objective)
    assert loss == pytest.approx(float(expected_loss), rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def test_gradients_without_dropout_are_those_of_one_forward_pass(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, gradient_cache=3))
    trainer.model.eval()
    objective = trainer.learner.objective
    objective.towers.spec_augment.time_masks = objective.towers.spec_augment.freq_masks = 0
    objective.towers.pieces = None  # no token noise
    expected = gradients_of(trainer, objective(first_batch(trainer), STEP))
    _, found = cached(trainer, objective)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def test_a_chunk_that_is_the_batch_or_more_is_refused(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"must be less than batch_size \(7\), got 7"):
        replace(config, gradient_cache=7)
    with pytest.raises(ValueError, match="gradient_cache must be at least 1, got 0"):
        replace(config, gradient_cache=0)


def test_a_process_with_fewer_chunks_waits_for_the_others_without_effect(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(replace(config, gradient_cache=3))
    objective = trainer.learner.objective
    expected_loss, expected = cached(trainer, objective)
    encoded: list[int] = []
    monkeypatch.setattr(Objective, "_most_chunks", lambda _, count: count + 2)
    objective.towers.register_forward_pre_hook(lambda *_: encoded.append(1))
    loss, found = cached(trainer, objective)
    assert len(encoded) == 2 * (3 + 2)
    assert loss == expected_loss
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
