"""Training by rewards: it learns what is rewarded, stops before harm, and resumes to the last bit."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from aac_llm.cli import read
from aac_llm.config.model import ModelConfig
from aac_llm.config.reinforce import ReinforceConfig, ReinforceValidationConfig
from aac_llm.config.train import DataConfig
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.prompt import IGNORED
from aac_llm.trainers import reinforce_trainer
from aac_llm.trainers.finite import TrainingError
from aac_llm.trainers.grpo import token_log_probs
from aac_llm.trainers.reinforce import reinforce
from aac_llm.trainers.reinforce_trainer import ReinforceTrainer
from aac_llm.trainers.rollouts import be_still, cut_at_end, roll_out, seeded, weights


class Killed(BaseException):
    """Stands for SIGKILL: nothing below `reinforce` handles it."""


@pytest.fixture
def config(tiny_model_folder: Path, scene_manifest: Path, tmp_path: Path) -> ReinforceConfig:
    return ReinforceConfig(
        out=tmp_path / "run",
        init_from=str(tiny_model_folder),
        data=DataConfig(
            train=(scene_manifest,), validation=(scene_manifest,), validation_splits=("train",), num_workers=0
        ),
        max_steps=4,
        epochs=10,
        batch_size=2,
        num_rollouts=3,
        max_new_tokens=6,
        learning_rate=3e-3,
        logging_steps=2,
        save_steps=1,
        eval_steps=2,
        keep_checkpoints=9,
        validation=ReinforceValidationConfig(max_clips=2),
        device="cpu",
    )


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def reward_of(function: Any) -> Any:
    """Let one function of texts be all rewards."""
    return lambda *_: {"events": lambda texts, references: np.array([function(text) for text in texts])}


def test_a_run_has_what_a_training_has_and_the_log_of_each_reward(config: ReinforceConfig) -> None:
    result = reinforce(config)
    assert result.steps == 4
    logged = [row for row in rows(config.out) if "loss" in row]
    assert [row["step"] for row in logged] == [2, 4]
    for name in ("reward_cider", "reward_events", "reward_fluency", "reward_std", "kl", "flat_groups"):
        assert all(np.isfinite(row[name]) for row in logged)
    assert logged[0]["reward"] == pytest.approx(
        sum(logged[0][f"reward_{name}"] for name in ("cider", "events", "fluency"))
    )
    assert 0 < logged[0]["tokens"] <= 6
    assert logged[1]["kl"] > 0
    validated = [row for row in rows(config.out) if "eval_reward" in row]
    assert [row["step"] for row in validated] == [0, 2, 4]
    assert {"reward", "reward_events", "cider_d", "loss"} <= set(result.scores)
    assert result.scores["reward"] == max(row["eval_reward"] for row in validated)
    assert CaptionModel.from_pretrained(config.out).generate(torch.randn(1, 16_000) * 0.1)
    words = ["reinforce", "--config", str(config.out / "config.json"), "--out", "AGAIN"]
    assert f"aac-llm {shlex.join(words)}" in (config.out / "best" / "README.md").read_text()
    assert read(words) == replace(config, out=Path("AGAIN"))


def test_what_is_rewarded_becomes_more_frequent(
    config: ReinforceConfig, tiny_config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CaptionModel.from_config(replace(tiny_config, decoder_strategy="full"))
    model.save_pretrained(tmp_path / "full")
    monkeypatch.setattr(reinforce_trainer, "make_rewards", reward_of(lambda text: text.count("e") / 10))
    reinforce(
        replace(
            config, init_from=str(tmp_path / "full"), data=replace(config.data, validation=()), max_steps=12,
            rewards=("events",), learning_rate=1e-2, num_rollouts=8, logging_steps=3, save_steps=12,
        )
    )  # fmt: skip
    found = [row["reward_events"] for row in rows(config.out)]
    assert found[-1] > 1.5 * found[0]


@pytest.mark.parametrize(
    "settings",
    [{}, {"baseline": "greedy", "scale_rewards": "none", "beta": 0.0, "gradient_accumulation_steps": 2}],
    ids=["grpo", "self-critical"],
)
def test_a_killed_run_ends_as_an_undisturbed_one(
    config: ReinforceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    whole = replace(config, out=tmp_path / "whole", **settings)
    reinforce(whole)
    killed = replace(config, **settings)
    real = ReinforceTrainer.training_step

    def step(self: ReinforceTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.state.global_step == 3:  # the line of the log is half full
            raise Killed
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ReinforceTrainer, "training_step", step)
        with pytest.raises(Killed):
            reinforce(killed)
    reinforce(killed)
    assert rows(killed.out) == rows(whole.out)
    files = sorted((whole.out / "last").rglob("*.safetensors"))
    assert len(files) >= 3  # the bridge, two adapters, and an encoder that was made for the test
    for path in files:
        assert path.read_bytes() == (killed.out / path.relative_to(whole.out)).read_bytes(), path
    best = [json.loads((run.out / "best" / "validation.json").read_text()) for run in (whole, killed)]
    assert best[0] == best[1]


def test_a_reward_that_is_not_finite_stops_before_the_update(
    config: ReinforceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reinforce_trainer, "make_rewards", reward_of(lambda text: float("nan")))
    settings = replace(config, data=replace(config.data, validation=()), rewards=("events",))
    with pytest.raises(TrainingError, match=r"reward events of update 1 is not finite, with the clips scene"):
        reinforce(settings)
    assert not list(config.out.glob("checkpoint-*"))


def test_captions_that_do_not_fit_are_refused(config: ReinforceConfig) -> None:
    with pytest.raises(ValueError, match=r"max_new_tokens: with captions of 100000 tokens"):
        reinforce(replace(config, max_new_tokens=100_000))


# -- parts ----------------------------------------------------------------------------------------------


def draw(model: CaptionModel, seconds: tuple[float, ...], seed: int = 0, count: int = 3) -> Any:
    lengths = torch.tensor([round(one * 16_000) for one in seconds])
    torch.manual_seed(5)
    waveforms = torch.randn(len(seconds), int(lengths.max())) * 0.1
    acoustic = model.encode_audio(waveforms, lengths)
    with seeded(seed):
        rollouts = roll_out(model, acoustic, num_rollouts=count, max_new_tokens=6, temperature=1.0)
    return waveforms, lengths, rollouts


def test_log_probabilities_are_those_of_each_caption_by_itself(tiny_model: CaptionModel) -> None:
    waveforms, lengths, rollouts = draw(tiny_model, (1.0, 2.3))
    with torch.no_grad():
        logits = tiny_model(waveforms, lengths, rollouts.labels).logits
        together = token_log_probs(logits, rollouts.labels)
        for row, labels in enumerate(rollouts.labels):
            clip = row // 3
            own = labels[labels != IGNORED][None]
            sound = waveforms[clip : clip + 1, : lengths[clip]]
            alone = token_log_probs(tiny_model(sound, None, own).logits, own)
            torch.testing.assert_close(together[row, : own.shape[1]], alone[0], rtol=1e-4, atol=1e-4)


def test_as_many_captions_of_each_sound_or_an_error(tiny_model: CaptionModel) -> None:
    waveforms, lengths, rollouts = draw(tiny_model, (1.0, 2.3))
    with pytest.raises(ValueError, match="or a multiple, got 5 and 2"):
        tiny_model(waveforms, lengths, rollouts.labels[:5])


def test_captions_depend_on_their_seed_alone(tiny_model: CaptionModel) -> None:
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    texts = [draw(tiny_model, (1.0,), seed)[2].texts for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]
    with seeded(3):
        torch.rand(9)
    torch.manual_seed(1)
    with seeded(3):
        torch.rand(9)
    assert torch.rand(1) == before


def test_a_caption_ends_with_its_first_end() -> None:
    tokens = torch.tensor([[4, 9, 2, 2], [3, 2, 4, 4], [4, 4, 4, 4]])
    found = cut_at_end(tokens, torch.tensor([2, 3])).tolist()
    assert found == [[4, 9, 2, -100], [3, -100, -100, -100], [4, 4, 4, 4]]


def test_the_reference_is_asked_without_a_trace(tiny_model: CaptionModel) -> None:
    waveforms, lengths, rollouts = draw(tiny_model, (1.0,))
    trained = tiny_model.trainable_parameters()
    start = [one.detach().clone() for one in trained]
    logits = tiny_model(waveforms, lengths, rollouts.labels).logits
    with torch.no_grad():
        for one in trained:
            one.add_(0.1)
    moved = tiny_model(waveforms, lengths, rollouts.labels).logits
    with torch.no_grad(), weights(trained, start):
        torch.testing.assert_close(tiny_model(waveforms, lengths, rollouts.labels).logits, logits.detach())
    torch.testing.assert_close(tiny_model(waveforms, lengths, rollouts.labels).logits, moved)
    assert not torch.allclose(moved, logits)


def test_nothing_is_dropped_and_layers_are_recomputed(tiny_config: ModelConfig) -> None:
    model = CaptionModel.from_config(tiny_config)
    waveforms, lengths, rollouts = draw(model, (1.0,))
    model.train()
    be_still(model)
    first, second = (model(waveforms, lengths, rollouts.labels).logits for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    model.gradient_checkpointing_enable()
    calls = []
    layer = model.decoder.model.layers[0].mlp
    layer.register_forward_pre_hook(lambda *_: calls.append(1))
    be_still(model)
    recomputed = model(waveforms, lengths, rollouts.labels).logits
    torch.testing.assert_close(recomputed, first)
    recomputed.sum().backward()
    assert len(calls) == 2
