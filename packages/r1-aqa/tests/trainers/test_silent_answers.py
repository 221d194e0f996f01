"""Answers in silence for the counterfactual reward: once a question, by the model of the start."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from audio_common.strict_json import read_records
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.generation import generate_answers
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.models.silence import SECONDS
from r1_aqa.rewards.columns import require_columns
from r1_aqa.rewards.rewards import accuracy_reward, counterfactual_reward
from r1_aqa.trainers.rollouts import read_rollouts
from r1_aqa.trainers.silent_answers import SilentAnswers, needs_silent_answers
from r1_aqa.trainers.train import train_grpo

SPY = """
def spy(completions, silent_answer, choices, **_):
    return [float(len(text)) + len(said) for text, said in zip(completions, silent_answer)]
"""


@pytest.fixture(scope="module")
def questions(
    tmp_path_factory: pytest.TempPathFactory,
    ask_about_scenes: Callable[[Path, Iterable[int]], list[Question]],
) -> list[Question]:
    asked = ask_about_scenes(tmp_path_factory.mktemp("data"), range(3))
    # The same text about another sound is the same question in silence.
    return [*asked, replace(asked[0], id="twin", audio=asked[-1].audio)]


@pytest.fixture
def config(questions: list[Question], tiny_model_folder: Path, tmp_path: Path) -> GRPOTrainConfig:
    write_questions(tmp_path / "train.jsonl", questions)
    (tmp_path / "spy.py").write_text(SPY)
    return GRPOTrainConfig(
        out=tmp_path / "run",
        init_from=str(tiny_model_folder),
        data=DataConfig(train=(tmp_path / "train.jsonl",)),
        model=ModelConfig(dtype="float32", lora=LoRAConfig(rank=2, dropout=0.0)),
        rewards=(f"{tmp_path / 'spy.py'}:spy", "counterfactual"),
        num_rollouts=2,
        max_new_tokens=3,
        max_steps=3,
        save_steps=2,
        batch_size=2,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        check_heard=False,
        device="cpu",
    )


def in_silence(llm: AudioLLM, questions: list[Question], folder: Path) -> list[str]:
    """What the model answers about a file of silence."""
    soundfile.write(folder / "silence.wav", np.zeros(int(SECONDS * 16_000)), 16_000)
    muted = [replace(question, audio=folder / "silence.wav") for question in questions]
    prompts = EncodedPrompts(llm, muted, sound=SoundConfig(), style="answer", frozen=True, cache_bytes=2**24)
    batches = generate_answers(prompts, range(len(muted)), batch_size=16, max_new_tokens=3)
    found = {completion.row: completion.text or "" for batch in batches for completion in batch}
    return [found[row] for row in range(len(muted))]


def begin(callback: SilentAnswers, step: int = 0) -> None:
    state = SimpleNamespace(global_step=step, is_world_process_zero=True)
    callback.on_train_begin(None, state, None)


def test_a_training_gives_rewards_the_answers_of_its_start_and_resumes_with_them(
    config: GRPOTrainConfig, tiny_audio_llm: AudioLLM, questions: list[Question], tmp_path: Path
) -> None:
    train_grpo(config)
    kept = (config.out / "silent_answers.jsonl").read_bytes()
    expected = in_silence(tiny_audio_llm, questions, tmp_path)
    assert {row["answer"] for row in read_records(config.out / "silent_answers.jsonl")} == set(expected)
    assert len(read_records(config.out / "silent_answers.jsonl")) == len(questions) - 1
    rows, said = (
        read_rollouts(config.out / "rollouts"),
        dict(zip([q.id for q in questions], expected, strict=True)),
    )
    assert all(row["reward.spy"] == len(row["completion"]) + len(said[row["question_id"]]) for row in rows)
    parts = replace(config, out=tmp_path / "parts")
    train_grpo(replace(parts, max_steps=2))
    train_grpo(parts)
    assert (parts.out / "silent_answers.jsonl").read_bytes() == kept
    assert read_rollouts(parts.out / "rollouts") == rows
    (parts.out / "silent_answers.jsonl").unlink()
    with pytest.raises(ValueError, match="lacks the answers in silence to 7 of 7 questions"):
        train_grpo(replace(parts, max_steps=4))


def test_asking_that_was_killed_goes_on_to_the_same_file(
    config: GRPOTrainConfig,
    tiny_audio_llm: AudioLLM,
    questions: list[Question],
    caplog: pytest.LogCaptureFixture,
) -> None:
    config.out.mkdir()
    given: list[list[str]] = []
    callback = SilentAnswers(config, tiny_audio_llm, questions, given.append)
    with caplog.at_level(logging.INFO, "r1_aqa"):
        begin(callback)
    assert "of 7 questions are answered right in silence at the start" in caplog.text
    whole = callback.file.read_bytes()
    lines = whole.splitlines(keepends=True)
    callback.file.write_bytes(b"".join(lines[:2]) + lines[2][:9])
    begin(callback)
    begin(callback, step=3)
    assert callback.file.read_bytes() == whole
    assert given[0] == given[1] == given[2]
    # Answers of another model are of no use at the start.
    callback.file.write_bytes(whole.replace(b'"model": "', b'"model": "0'))
    begin(callback)
    assert callback.file.read_bytes() == whole


def test_answers_that_the_questions_bring_are_taken(questions: list[Question]) -> None:
    brought = [replace(question, extra={"silent_answer": "rain"}) for question in questions]
    assert needs_silent_answers([counterfactual_reward], questions)
    assert not needs_silent_answers([accuracy_reward], questions)
    assert not needs_silent_answers([counterfactual_reward], brought)
    require_columns([counterfactual_reward], brought)
    with pytest.raises(ValueError, match="counterfactual_reward needs the column 'silent_answer'"):
        require_columns([counterfactual_reward], questions)
    require_columns([counterfactual_reward], questions, made=["silent_answer"])
