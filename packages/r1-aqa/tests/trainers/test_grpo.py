"""GRPO on sound: the paper's numbers, the same rollouts and updates as without sharing, exact resume."""

import json
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import load_audio_llm
from r1_aqa.models.log_probs import completion_log_probs
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.rewards.rewards import accuracy_reward
from r1_aqa.trainers.grpo import group_advantages, grpo_arguments, grpo_loss
from r1_aqa.trainers.grpo_trainer import _GIVES_AUX_LOSS, AudioGRPOTrainer
from r1_aqa.trainers.rollouts import (
    RolloutLog,
    cut_at_end,
    flat_groups,
    nothing_to_learn,
    read_rollouts,
    replace_groups,
)
from r1_aqa.trainers.told import idle_updates
from r1_aqa.trainers.train import set_up, trainer_arguments
from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainerCallback, set_seed

REQUIRED: dict[str, Any] = {"out": Path("o"), "init_from": "m", "data": DataConfig(train=(Path("q"),))}


def length_reward(completions: list[str], **_: Any) -> list[float]:
    """Differs between rollouts of a random model, which accuracy does not."""
    return [float(len(text)) for text in completions]


def even_reward(completions: list[str], **_: Any) -> list[float]:
    return [1.0 for _ in completions]


@pytest.fixture(scope="module")
def questions(
    tmp_path_factory: pytest.TempPathFactory,
    ask_about_scenes: Callable[[Path, Iterable[int]], list[Question]],
) -> list[Question]:
    return ask_about_scenes(tmp_path_factory.mktemp("scenes"), range(8))


@pytest.fixture
def make(
    tiny_model_folder: Path, questions: list[Question], tmp_path: Path
) -> Callable[..., AudioGRPOTrainer]:
    def make_trainer(name: str, reward: Any = length_reward, **settings: Any) -> AudioGRPOTrainer:
        config = GRPOTrainConfig(
            out=tmp_path / name,
            init_from=str(tiny_model_folder),
            data=DataConfig(train=(Path("unused"),)),
            model=settings.pop("model", None) or ModelConfig(dtype="float32", lora=LoRAConfig(rank=4)),
            **{
                "num_rollouts": 4,
                "max_new_tokens": 5,
                "batch_size": 2,
                "gradient_accumulation_steps": 2,
                "learning_rate": 1e-3,
                "max_steps": 4,
                "save_steps": 2,
                "keep_checkpoints": 9,
                "device": "cpu",
            }
            | settings,
        )
        set_seed(1)
        llm = load_audio_llm(config.init_from, config.model)
        adapters, frozen = set_up(llm, config.model)
        prompts = EncodedPrompts(
            llm, questions, sound=config.sound, style="answer", frozen=frozen, cache_bytes=2**27
        )
        rollouts: list[tuple[int, list[dict[str, Any]]]] = []
        trainer = AudioGRPOTrainer(
            llm,
            prompts,
            rewards=[reward, accuracy_reward],
            config=config,
            args=grpo_arguments(config, **trainer_arguments(config, len(questions))),
            on_rollouts=lambda step, rows: rollouts.append((step, rows)),
            peft_config=adapters,
        )
        trainer.seen = rollouts  # type: ignore[attr-defined]
        return trainer

    return make_trainer


def losses(trainer: AudioGRPOTrainer) -> list[tuple[float, float]]:
    return [(row["loss"], row["grad_norm"]) for row in trainer.state.log_history if "loss" in row]


def completions(trainer: Any) -> list[list[str]]:
    return [[row["completion"] for row in rows] for _, rows in trainer.seen]


class AfterStep(TrainerCallback):
    """Calls a function after every update."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.call()


class Gradients(TrainerCallback):
    """Those of the first update."""

    def __init__(self) -> None:
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        self.found = self.found or {name: grad.clone() for name, grad in grads.items()}


def test_the_next_steps_sounds_are_decoded_while_this_one_is_learned_from(make: Callable) -> None:
    trainer, events = make("ahead", max_steps=3, save_steps=3), []
    sounds = trainer.prompts.sounds
    decode, update = sounds.decode, trainer.training_step

    def note_decoding(clip: Any) -> Any:
        events.append(("decode", clip[0], threading.current_thread().name.startswith("decode")))
        return decode(clip)

    def note_update(*given: Any, **more: Any) -> Any:
        found = update(*given, **more)
        events.append(("update", None, None))
        return found

    sounds.decode, trainer.training_step = note_decoding, note_update
    trainer.train()
    firsts: dict[Any, bool] = {}
    for kind, clip, in_thread in events:
        if kind == "decode":
            firsts.setdefault(clip, in_thread)
    # A second question about a clip in the same step reads it again for its own features.
    assert all(firsts.values())
    # Before the first update is over the sounds of the next step are read, too, and no further ones.
    before = {clip for kind, clip, _ in events[: events.index(("update", None, None))] if kind == "decode"}
    clip_of = {question.id: question.audio for question in trainer.prompts.questions}
    steps = [{clip_of[row["question_id"]] for row in rows} for _, rows in trainer.seen]
    assert steps[0] < before <= steps[0] | steps[1]
    assert sounds.decoded == {}


def test_a_sound_that_cannot_be_read_ahead_is_replaced_as_before(make: Callable, tmp_path: Path) -> None:
    trainer = make("unreadable", max_steps=2, save_steps=2)
    told: list[str] = []
    trainer.prompts.sounds.on_unreadable = lambda question, why: told.append(question.id)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    trainer.prompts.sounds.questions[0] = replace(trainer.prompts.questions[0], audio=bad)
    trainer.prompts.questions[0] = trainer.prompts.sounds.questions[0]
    trainer.ahead.begin([0, 1])
    trainer.ahead.take([0, 1])
    assert "bad.wav" in trainer.prompts.sounds.unreadable[bad]
    assert trainer.prompts.readable_row(0) == 1
    assert told == [trainer.prompts.questions[0].id]


def test_what_is_kept_stays_within_its_memory_over_the_steps(make: Callable) -> None:
    roomy = make("roomy", max_steps=3, save_steps=3)
    roomy.train()
    bound = roomy.prompts.held_bytes() // 3
    tight, held = make("tight", max_steps=3, save_steps=3), []
    for kept in (tight.prompts._inputs, tight.prompts._embeddings, tight.prompts.clips):
        kept.max_bytes = bound // 3
    tight.add_callback(AfterStep(lambda: held.append(tight.prompts.held_bytes())))
    tight.train()
    assert len(held) == 3
    assert max(held) <= bound
    assert completions(tight) == completions(roomy)


def test_sharing_gives_the_rollouts_and_gradients_of_encoding_every_rollout(make: Callable) -> None:
    trainers, gradients = [], []
    for share in (True, False):
        trainer, found = make(f"share-{share}", max_steps=1, share=share), Gradients()
        trainer.add_callback(found)
        trainer.train()
        trainers.append(trainer)
        gradients.append(found.found)
    assert completions(trainers[0]) == completions(trainers[1])
    assert losses(trainers[0])[0] == pytest.approx(losses(trainers[1])[0], rel=1e-4, abs=1e-6)
    assert gradients[0].keys() == gradients[1].keys() != set()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_a_resumed_training_is_the_same_training(
    make: Callable, tmp_path: Path, tiny_model_folder: Path, strategy: Any
) -> None:
    model = ModelConfig(dtype="float32", strategy=strategy, lora=LoRAConfig(rank=4))
    whole, resumed = make("whole", model=model), make("whole", model=model)
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert completions(resumed) == completions(whole)[2:]
    assert losses(resumed) == losses(whole)


def test_a_full_training_with_encoder_keeps_its_reference(make: Callable, tiny_model_folder: Path) -> None:
    model = ModelConfig(
        dtype="float32",
        strategy="full",
        freeze_encoder=False,
        freeze_projector=False,
    )
    trainer = make("full", model=model, max_steps=2)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
    assert any("audio_tower" in name for name in moved)
    for name, parameter in trainer.ref_model.named_parameters():
        assert torch.equal(parameter, before[name])
    kl = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert kl[1] > 1e-6


def test_every_rollout_is_scored_with_its_own_sound(make: Callable) -> None:
    """The published trainer exchanged sounds when a device had more than one prompt."""
    trainer = make("own", max_steps=1, batch_size=4, gradient_accumulation_steps=1, beta=0.0)
    trainer._prepare_inputs([trainer.train_dataset[row] for row in (0, 5, 2, 9) for _ in range(4)])
    batch = trainer._passes[0]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    trainer._rows = batch["row"].tolist()
    together = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 5)[0]
    for place, row in enumerate(trainer._rows):
        inputs = trainer.prompts.inputs([row])
        completion = batch["completion_ids"][place : place + 1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], completion], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.no_grad():
            logits = trainer.model(**inputs).logits[0, -6:-1]
        alone = logits.log_softmax(-1).gather(-1, completion[0, :, None])[:, 0]
        counted = batch["completion_mask"][place].bool()
        torch.testing.assert_close(together[place][counted], alone[counted], atol=1e-4, rtol=1e-4)


def test_groups_without_a_difference_move_nothing_when_dropped(make: Callable) -> None:
    trainer = make("dropped", reward=even_reward, zero_advantage="drop", max_steps=1)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert trainer.state.log_history[0]["dropped_groups"] == 1.0
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_other_questions_take_the_place_of_groups_without_a_difference(make: Callable) -> None:
    def only_late(completions: list[str], question_id: list[str], **_: Any) -> list[float]:
        """Rollouts of the first four questions are all alike."""
        return [len(t) * float(int(q[0]) >= 2) for t, q in zip(completions, question_id, strict=True)]

    trainer = make("resampled", reward=only_late, zero_advantage="resample", resample_rounds=4, max_steps=2)
    trainer.train()
    assert len(trainer.seen) > 2
    drawn = [row["question_id"] for step, rows in trainer.seen if step == 1 for row in rows[::4]]
    assert len(set(drawn)) == len(drawn)
    assert all(row["dropped_groups"] == 0 for row in trainer.state.log_history if "dropped_groups" in row)


def test_a_reward_that_does_not_apply_is_left_out_of_the_sum(make: Callable, tmp_path: Path) -> None:
    def sometimes(completions: list[str], question_id: list[str], **_: Any) -> list[float | None]:
        """Applies to the questions of even scenes alone."""
        return [
            None if int(q[0]) % 2 else 2.0 * len(t) for t, q in zip(completions, question_id, strict=True)
        ]

    trainer = make("sometimes", reward=sometimes, max_steps=2)
    trainer.train()
    rows = [row for _, rows in trainer.seen for row in rows]
    for row in rows:
        applies, accuracy = row["rewards"]["sometimes"], row["rewards"]["accuracy_reward"]
        assert (applies is None) == bool(int(row["question_id"][0]) % 2)
        assert row["reward"] == (applies or 0.0) + accuracy
    assert {row["rewards"]["sometimes"] is None for row in rows} == {True, False}
    log = RolloutLog(tmp_path / "log")
    for applies in (True, False):
        log.append(1, [row for row in rows if (row["rewards"]["sometimes"] is not None) == applies])
    types = {pq.read_schema(path).field("reward.sometimes").type for path in (tmp_path / "log").iterdir()}
    assert types == {pa.float64()}
    missing = [row["reward.sometimes"] for row in read_rollouts(tmp_path / "log")].count(None)
    assert missing == sum(row["rewards"]["sometimes"] is None for row in rows)


def test_rollouts_of_one_sampling_are_divided_between_updates(make: Callable, tmp_path: Path) -> None:
    settings = {"minibatches": 2, "gradient_accumulation_steps": 1, "max_steps": 4, "loss": "dapo"}
    whole, resumed = make("mini", **settings), make("mini", **settings)
    whole.train()
    assert [step for step, _ in whole.seen] == [1, 3]
    for _, rows in whole.seen:
        assert len({row["question_id"] for row in rows}) == 4  # of two updates
    # The second update learns from a policy that the first has moved: ratios are not 1 any more.
    ratios = [row["clip_ratio/region_mean"] for row in whole.state.log_history if "loss" in row]
    assert len(ratios) == 4
    assert whole._passes[0]["old_per_token_logps"].shape == whole._passes[0]["completion_ids"].shape
    resumed.train(resume_from_checkpoint=str(tmp_path / "mini" / "checkpoint-2"))
    assert completions(resumed) == completions(whole)[1:]
    assert losses(resumed) == losses(whole)
    with pytest.raises(ValueError, match=r"save_steps \(3\) must be a multiple of updates_per_rollout times"):
        GRPOTrainConfig(**REQUIRED, minibatches=2, save_steps=3)


@pytest.mark.parametrize(
    ("reward", "more", "why"),
    [
        (even_reward, {}, "equal_rewards"),
        (even_reward, {"zero_advantage": "drop"}, "equal_rewards"),
        (length_reward, {"ignore_truncated": True}, "all_cut"),
        (length_reward, {}, ""),
    ],
)
def test_an_update_with_nothing_to_learn_says_so(
    make: Callable, caplog: pytest.LogCaptureFixture, reward: Any, more: dict[str, Any], why: str
) -> None:
    trainer = make("idle", reward=reward, max_steps=2, gradient_accumulation_steps=1, **more)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    for reason in ("equal_rewards", "all_cut"):
        assert [row[f"nothing_to_learn/{reason}"] for row in rows] == [float(reason == why)] * 2
    lines = [line for line in caplog.messages if "has nothing to learn" in line]
    assert len(lines) == bool(why)  # the first of twenty
    if why:
        assert lines[0].startswith("update 1 has nothing to learn: ")
        assert "8 of 8 rollouts reach max_new_tokens" in lines[0]
        assert ("only the KL term" in lines[0]) == (not more or "ignore_truncated" in more)


def test_updates_with_nothing_to_learn_are_counted_over_lines_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [
        {"step": 2, "nothing_to_learn/equal_rewards": 0.5, "nothing_to_learn/all_cut": 0.0},
        {"step": 2, "eval_accuracy": 0.5},
        {"step": 4, "nothing_to_learn/equal_rewards": 1.0, "nothing_to_learn/all_cut": 0.0},
        {"step": 5, "nothing_to_learn/equal_rewards": 0.0, "nothing_to_learn/all_cut": 1.0},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with caplog.at_level(logging.WARNING):
        found = idle_updates(GRPOTrainConfig(**REQUIRED | {"out": tmp_path}))
    assert found == {"equal_rewards": 3, "all_cut": 1}
    assert "4 of 5 updates had nothing to learn (3 equal_rewards, 1 all_cut)" in caplog.text


def test_settings_of_trl_have_their_effect(make: Callable) -> None:
    trl = {"delta": 2.0, "min_p": 0.3, "adam_beta2": 0.9, "top_entropy_quantile": 0.5}
    trainer = make("trl", max_steps=1, trl=trl)
    assert trainer.generation_config.min_p == 0.3
    trainer.train()
    assert trainer.optimizer.param_groups[0]["betas"] == (0.9, 0.9)
    policy = torch.full((8, 5), -2.0, requires_grad=True)
    old = torch.full((8, 5), -3.0)  # all ratios are e: beyond delta
    mask = torch.ones(8, 5, dtype=torch.long)
    tensors = {"old_per_token_logps": old, "ref_per_token_logps": policy.detach()}
    loss = trl_loss(trainer, policy, mask, torch.full((8,), -1.0), **tensors)
    assert loss.item() == pytest.approx(2.0, rel=1e-4)


def test_a_bonus_for_entropy_moves_the_weights(make: Callable) -> None:
    """Where all rewards are equal, and no divergence counts, the bonus is all that there is to learn."""
    given = {"reward": even_reward, "max_steps": 1, "beta": 0.0, "share": True}
    gradients = []
    for coefficient in (0.5, 1.0):
        trainer, found = make("entropy", trl={"entropy_coef": coefficient}, **given), Gradients()
        trainer.add_callback(found)
        trainer.args.max_grad_norm = 0.0
        trainer.train()
        gradients.append(found.found)
    assert any(gradient.any() for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], 2 * gradient, atol=1e-6, rtol=1e-3)


def test_replaced_groups_fit_whatever_their_lengths() -> None:
    batch = {
        "prompt_ids": torch.tensor([[7, 8]] * 4),
        "completion_ids": torch.tensor([[1, 2, 3]] * 4),
        "advantages": torch.tensor([1.0, -1.0, 0.0, 0.0]),
        "num_items_in_batch": torch.tensor(12),
    }
    found = {
        "prompt_ids": torch.tensor([[5, 5, 6]] * 2),
        "completion_ids": torch.tensor([[4]] * 2),
        "advantages": torch.tensor([0.5, -0.5]),
        "num_items_in_batch": torch.tensor(2),
    }
    dull = flat_groups(batch["advantages"], 2).nonzero()[:, 0]
    merged = replace_groups(batch, dull, found, 2, pad_token_id=0)
    assert merged["prompt_ids"].tolist() == [[0, 7, 8], [0, 7, 8], [5, 5, 6], [5, 5, 6]]
    assert merged["completion_ids"].tolist() == [[1, 2, 3], [1, 2, 3], [4, 0, 0], [4, 0, 0]]
    assert merged["advantages"].tolist() == [1.0, -1.0, 0.5, -0.5]


def test_why_there_is_nothing_to_learn() -> None:
    mask = torch.tensor([[1, 1], [0, 0], [1, 0]])
    assert nothing_to_learn(torch.tensor([0.0, 1e-8, 0.0]), mask) == "equal_rewards"
    assert nothing_to_learn(torch.tensor([0.0, 1.0, 0.0]), mask) == "all_cut"
    assert nothing_to_learn(torch.tensor([0.0, 1.0, -1.0]), mask) == ""


def test_completions_end_with_their_first_end_token() -> None:
    assert cut_at_end([5, 2, 0, 2], [2]) == [5, 2]
    assert cut_at_end([5, 6], [2]) == [5, 6]


def test_rollouts_that_cannot_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="num_rollouts must be at least 2"):
        GRPOTrainConfig(**REQUIRED, num_rollouts=1)
    with pytest.raises(ValueError, match="temperature must be positive"):
        GRPOTrainConfig(**REQUIRED, temperature=0.0)


LOOSE = ("zero_variance_float_constant", "tiny_variance")
"""Golden cases in which float32 rounding is magnified by the 1e-4 beside the deviation."""


@dataclass
class Golden:
    """A case of the published trainer, computed by its own code (shared/golden/grpo)."""

    about: dict[str, Any]
    tensors: dict[str, Tensor]

    def __getitem__(self, field: str) -> Tensor:
        return self.tensors[f"{self.about['name']}/{field}"]

    @property
    def tolerance(self) -> float:
        return 1e-3 if self.about["name"] in LOOSE else 1e-6

    def policy(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the leaf, its log-probabilities, and the gradient that the loss should have at the leaf."""
        ids = self["completion_ids"].long()
        if self.about["vocab"] is None:
            given = self["policy_logps"].clone().requires_grad_()
            return given, given, self["grad_policy_logps"]
        given = self["policy_logits"].clone().requires_grad_()
        log_probs = completion_log_probs(given[:, -ids.shape[1] - 1 : -1], ids)
        torch.testing.assert_close(log_probs.detach(), self["policy_logps"], atol=1e-5, rtol=0)
        return given, log_probs, self["grad_policy_logits"]


@pytest.fixture
def golden(shared: Path) -> list[Golden]:
    tensors = load_file(shared / "golden" / "grpo" / "grpo.safetensors")
    cases = json.loads((shared / "golden" / "grpo" / "cases.json").read_text())
    return [Golden(case, tensors) for case in cases]


def test_advantages_are_the_papers(golden: list[Golden]) -> None:
    for case in golden:
        found = group_advantages(case["rewards"], case.about["generations"])
        tolerance = 1e-2 if case.about["name"] in LOOSE else 1e-5
        torch.testing.assert_close(found, case["advantages"], atol=tolerance, rtol=0)


def test_the_objective_is_the_papers(golden: list[Golden]) -> None:
    for case in golden:
        given, log_probs, gradient = case.policy()
        mask, beta = case["completion_mask"].long(), case.about["beta"]
        loss = grpo_loss(log_probs, None, case["ref_logps"], case["advantages"], mask, beta=beta)
        loss.backward()
        torch.testing.assert_close(loss.detach(), case["loss"].reshape(()), atol=case.tolerance, rtol=0)
        torch.testing.assert_close(given.grad, gradient, atol=case.tolerance, rtol=0)


def trl_loss(trainer: Any, log_probs: Tensor, mask: Tensor, advantages: Tensor, **more: Tensor) -> Tensor:
    """The loss that TRL computes in a training, of given log-probabilities."""
    trainer.current_gradient_accumulation_steps = 1
    values = (log_probs, torch.zeros_like(log_probs), None)[: 3 if _GIVES_AUX_LOSS else 2]
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: values
    ids = torch.zeros_like(mask)
    return trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": mask[:, :1],
            "prompt_mask": mask[:, :1],
            "completion_ids": ids,
            "completion_mask": mask,
            "advantages": advantages,
            "row": torch.zeros(len(mask), dtype=torch.long),
            "num_items_in_batch": mask.sum(),
        }
        | more,
    )


def test_training_computes_the_papers_loss(make: Callable, golden: list[Golden]) -> None:
    """The settings of preset `paper` make TRL compute what the published trainer computed."""
    trainers: dict[float, Any] = {}
    for case in golden:
        beta = case.about["beta"]
        if beta not in trainers:
            trainers[beta] = make(f"golden{beta}", beta=beta, gradient_accumulation_steps=1)
        given, log_probs, gradient = case.policy()
        mask, reference = case["completion_mask"].long(), case["ref_logps"]
        loss = trl_loss(trainers[beta], log_probs, mask, case["advantages"], ref_per_token_logps=reference)
        loss.backward()
        torch.testing.assert_close(loss.detach(), case["loss"].reshape(()), atol=case.tolerance, rtol=0)
        torch.testing.assert_close(given.grad, gradient, atol=case.tolerance, rtol=0)


@pytest.mark.parametrize("loss", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"beta": 0.0},
        {"clip": 0.1, "clip_high": 0.28},
        {"sequence_ratio": True},
        {"correct_kl": True},
        {"sequence_ratio": True, "correct_kl": True, "clip_high": 3.0},
    ],
    ids=lambda more: "-".join(more) or "plain",
)
def test_training_computes_the_objective(make: Callable, loss: Any, more: dict[str, Any]) -> None:
    """TRL's loss and gradients are those of the pure function, off-policy and with masked rollouts."""
    settings: dict[str, Any] = {"beta": 0.04, "clip": 0.2, "clip_high": None} | more
    trainer = make("objective", loss=loss, gradient_accumulation_steps=1, **settings)
    generator = torch.Generator().manual_seed(7)
    policy, step, away = (torch.randn(8, 5, generator=generator) for _ in range(3))
    policy = policy - 3
    mask = (torch.arange(5) < torch.tensor([5, 3, 1, 5, 2, 4, 0, 5])[:, None]).long()
    advantages = torch.randn(8, generator=generator)
    old, reference = policy + 0.3 * step, policy + 0.5 * away
    results = []
    for compute in ("function", "TRL"):
        log_probs = policy.clone().requires_grad_()
        if compute == "TRL":
            tensors = {"old_per_token_logps": old, "ref_per_token_logps": reference}
            found = trl_loss(trainer, log_probs, mask, advantages, **tensors)
        else:
            found = grpo_loss(
                log_probs,
                old,
                reference if settings["beta"] else None,
                advantages,
                mask,
                loss=loss,
                max_length=trainer.config.max_new_tokens,
                **settings,
            )
        found.backward()
        results.append((found.detach(), log_probs.grad))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_training_computes_the_advantages(make: Callable, scale: Any) -> None:
    trainer = make(f"scale-{scale}", scale_rewards=scale, max_steps=1)
    trainer._prepare_inputs([trainer.train_dataset[row] for row in (0, 5, 2, 9) for _ in range(4)])
    rows = trainer.seen[0][1]
    rewards = torch.tensor([row["reward"] for row in rows])
    found = torch.tensor([row["advantage"] for row in rows])
    assert found.abs().max() > 0
    torch.testing.assert_close(group_advantages(rewards, 4, scale), found, atol=1e-5, rtol=1e-5)
