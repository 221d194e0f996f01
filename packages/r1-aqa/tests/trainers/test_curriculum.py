"""A curriculum by audio dependence: the order of an epoch, and the same training after a resume."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig
from r1_aqa.data.dependence import with_dependence
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.readers import read_questions
from r1_aqa.trainers import sft
from r1_aqa.trainers.curriculum import CurriculumSampler, easiness, easy_first
from r1_aqa.trainers.curves import read_log
from r1_aqa.trainers.rollouts import read_rollouts
from r1_aqa.trainers.train import train_grpo, train_sft
from safetensors.torch import load_file


def probed(question: Question, probability: float) -> Question:
    right = question.choices.index(question.answer or "")
    rest = (1 - probability) / (len(question.choices) - 1)
    values = [probability if place == right else rest for place in range(len(question.choices))]
    return with_dependence(question, {"probe": values}, 0.5)


@pytest.fixture(scope="module")
def data(
    tmp_path_factory: pytest.TempPathFactory,
    ask_about_scenes: Callable[[Path, Iterable[int]], list[Question]],
) -> Path:
    folder = tmp_path_factory.mktemp("data")
    asked = ask_about_scenes(folder, range(4))[:8]
    easy = [0.1, 0.7, 0.3, 0.7, 0.2, 0.9, 0.5, 0.4]
    found = [
        probed(replace(q, id=str(i)), value) for i, (q, value) in enumerate(zip(asked, easy, strict=True))
    ]
    write_questions(folder / "probed.jsonl", found)
    write_questions(folder / "plain.jsonl", [*found[:3], replace(asked[3], id="plain")])
    return folder


def settings(folder: Path, model: Path, out: Path, /, **changes: Any) -> dict[str, Any]:
    return {
        "out": out,
        "init_from": str(model),
        "data": DataConfig(train=(folder / "probed.jsonl",), curriculum="easy_first"),
        "model": ModelConfig(dtype="float32", lora=LoRAConfig(rank=2, dropout=0.0)),
        "batch_size": 4,
        "epochs": 2,
        "save_steps": 3,
        "lr_scheduler_type": "constant",
        "learning_rate": 1e-3,
        "check_heard": False,
        "device": "cpu",
    } | changes


def test_an_epoch_begins_with_what_the_text_tells() -> None:
    easy = [0.2, 0.9, 0.2, 0.5, 0.2]
    orders = {tuple(easy_first(easy, seed=seed, epoch=epoch)) for seed in range(4) for epoch in range(4)}
    assert all(order[:2] == (1, 3) for order in orders)
    assert {order[2:] for order in orders} == set(permutations([0, 2, 4]))
    assert list(CurriculumSampler(easy, seed=7)) == easy_first(easy, seed=7, epoch=0)


def test_what_fills_no_update_is_drawn_by_lot_and_not_the_hardest() -> None:
    easy = [0.1 * row for row in range(10)]
    over = {easy_first(easy, seed=0, epoch=epoch, multiple=4)[-2:][0] for epoch in range(40)}
    assert over == set(range(10))
    first = easy_first(easy, seed=0, epoch=3, multiple=4)[:8]
    assert first == sorted(first, reverse=True)


def test_questions_that_were_not_probed_are_refused_by_name(data: Path, tmp_path: Path) -> None:
    files = DataConfig(train=(data / "plain.jsonl",), curriculum="easy_first")
    with pytest.raises(ValueError, match="1 of 4 questions lack, the first: plain; prepare them with"):
        train_sft(SFTTrainConfig(**settings(data, Path("no-model"), tmp_path, data=files)))


def test_reinforcement_follows_the_order_and_resumes_in_it(
    data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    more = {"num_rollouts": 2, "max_new_tokens": 2}
    whole = GRPOTrainConfig(**settings(data, tiny_model_folder, tmp_path / "whole", **more))
    train_grpo(whole)
    rows = read_rollouts(tmp_path / "whole" / "rollouts")
    asked = [row["question_id"] for row in rows[::2]]
    # Two epochs; "1" and "3" are alike.
    for epoch in (asked[:8], asked[8:]):
        assert [{"1", "3"} if name in "13" else name for name in epoch] == [
            *("5", {"1", "3"}, {"1", "3"}, "6", "7", "2", "4", "0")
        ]
    parts = replace(whole, out=tmp_path / "parts")
    train_grpo(replace(parts, max_steps=3))
    train_grpo(parts)
    assert read_rollouts(tmp_path / "parts" / "rollouts") == rows
    first, second = (
        load_file(tmp_path / name / "last" / "adapter_model.safetensors") for name in ("whole", "parts")
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_fine_tuning_follows_the_order_and_resumes_in_it(
    data: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    collate = sft.collate_targets

    def note(examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        asked.append([example["row"] for example in examples])
        return collate(examples)

    monkeypatch.setattr(sft, "collate_targets", note)
    whole = SFTTrainConfig(**settings(data, tiny_model_folder, tmp_path / "whole"))
    train_sft(whole)
    assert [sorted(rows) for rows in asked] == [[1, 3, 5, 6], [0, 2, 4, 7]] * 2
    parts = replace(whole, out=tmp_path / "parts")
    train_sft(replace(parts, max_steps=3))
    train_sft(parts)
    losses = [
        [row["loss"] for row in read_log(config.out / "log.jsonl") if "loss" in row]
        for config in (whole, parts)
    ]
    assert losses[1] == losses[0]


def test_the_column_gives_the_order(data: Path) -> None:
    assert easiness(read_questions(data / "probed.jsonl")) == [0.1, 0.7, 0.3, 0.7, 0.2, 0.9, 0.5, 0.4]
