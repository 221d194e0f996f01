"""Whole trainings through the verbs: fine-tuning, reinforcement, kills, validation, refusals."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from launched import run_launched
from r1_aqa.config.merge import MergeConfig
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig, ValidationConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.readers import read_questions
from r1_aqa.models.audio_llm import load_audio_llm
from r1_aqa.models.heard import DeafModelError
from r1_aqa.models.lora import merge
from r1_aqa.trainers.curves import read_log
from r1_aqa.trainers.rollouts import read_rollouts
from r1_aqa.trainers.told import say_new_length
from r1_aqa.trainers.train import train_grpo, train_sft, train_verb
from safetensors.torch import load_file

AskAboutScenes = Callable[[Path, Iterable[int]], list[Question]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, ask_about_scenes: AskAboutScenes) -> Path:
    folder = tmp_path_factory.mktemp("data")
    found = ask_about_scenes(folder, range(6))
    write_questions(folder / "train.jsonl", found[:8])
    write_questions(folder / "validation.jsonl", found[8:])
    (folder / "bonus.py").write_text(
        "def bonus(completions, **_):\n    return [float(len(text)) for text in completions]\n"
    )
    return folder


def settings(folder: Path, model: Path, out: Path, /, **changes: Any) -> dict[str, Any]:
    return {
        "out": out,
        "init_from": str(model),
        "data": DataConfig(train=(folder / "train.jsonl",), validation=(folder / "validation.jsonl",)),
        "model": ModelConfig(dtype="float32", lora=LoRAConfig(rank=4, dropout=0.0)),
        "batch_size": 2,
        "max_steps": 3,
        "save_steps": 1,
        "validation": ValidationConfig(max_new_tokens=4),
        "learning_rate": 1e-3,
        "device": "cpu",
    } | changes


def test_fine_tuning_saves_what_can_be_loaded_and_merged(
    data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    result = train_sft(SFTTrainConfig(**settings(data, tiny_model_folder, tmp_path / "sft", eval_steps=2)))
    assert (result.steps, result.model) == (3, tmp_path / "sft" / "best")
    log = read_log(tmp_path / "sft" / "log.jsonl")
    assert [row["step"] for row in log if "eval_accuracy" in row] == [0, 2, 3]
    assert (tmp_path / "sft" / "curves.png").stat().st_size > 5000
    adapters = load_audio_llm(tmp_path / "sft" / "last", ModelConfig(dtype="float32"))
    merge(MergeConfig(source=tmp_path / "sft" / "last", out=tmp_path / "merged", dtype="float32"))
    merged = load_audio_llm(tmp_path / "merged", ModelConfig(dtype="float32"))
    inputs = adapters.encode(
        [adapters.format_chat("What?")], [soundfile.read(data / "0.wav", dtype="float32")[0]]
    )
    assert adapters.model(**inputs).logits.allclose(merged.model(**inputs).logits, atol=1e-4)
    with pytest.raises(ValueError, match="holds no adapters"):
        merge(MergeConfig(source=tmp_path / "merged", out=tmp_path / "twice"))


@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_the_same_command_after_the_end_changes_nothing(
    data: Path, tiny_model_folder: Path, tmp_path: Path, strategy: Any
) -> None:
    model = ModelConfig(dtype="float32", strategy=strategy)
    unvalidated = DataConfig(train=(data / "train.jsonl",))
    config = SFTTrainConfig(
        **settings(data, tiny_model_folder, tmp_path / "sft", model=model, data=unvalidated)
    )
    train_sft(config)
    (file,) = (tmp_path / "sft" / "last").glob("*model.safetensors")
    before = load_file(file)
    assert train_sft(config).steps == 3
    after = load_file(file)
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_another_end_is_said_where_the_rate_falls_towards_it(
    data: Path, tiny_model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unvalidated = {"data": DataConfig(train=(data / "train.jsonl",)), "save_steps": 2, "check_heard": False}
    config = SFTTrainConfig(**settings(data, tiny_model_folder, tmp_path / "sft", max_steps=2, **unvalidated))
    train_sft(config)
    with caplog.at_level("WARNING"):
        train_sft(replace(config, max_steps=4))
    (line,) = [line for line in caplog.messages if "was to end" in line]
    assert line.startswith(
        "this training was to end after 2 updates and now ends after 4: at update 2 its linear learning rate "
        "goes from 0 to 0.0005."
    )
    caplog.clear()
    steady = replace(config, lr_scheduler_type="constant")
    say_new_length(steady, tmp_path / "sft" / "checkpoint-4", 8, 0)
    say_new_length(config, tmp_path / "sft" / "checkpoint-4", 4, 0)  # the same end
    assert not caplog.messages


def test_a_full_fine_tuning_goes_on_with_its_weights(
    data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    same = {
        "model": ModelConfig(dtype="float32", strategy="full", freeze_encoder=False),
        "data": DataConfig(train=(data / "train.jsonl",)),
        "lr_scheduler_type": "constant",
    }
    whole = SFTTrainConfig(**settings(data, tiny_model_folder, tmp_path / "whole", **same))
    train_sft(whole)
    parts = replace(whole, out=tmp_path / "parts")
    train_sft(replace(parts, max_steps=1))
    train_sft(parts)
    losses = [
        [row["loss"] for row in read_log(config.out / "log.jsonl") if "loss" in row]
        for config in (whole, parts)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_reinforcement_goes_on_from_fine_tuned_adapters(
    data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    train_sft(SFTTrainConfig(**settings(data, tiny_model_folder, tmp_path / "sft", max_steps=2)))
    config = GRPOTrainConfig(
        **settings(data, tmp_path / "sft" / "last", tmp_path / "grpo"),
        num_rollouts=4,
        max_new_tokens=5,
        rewards=("accuracy", f"{data / 'bonus.py'}:bonus"),
    )
    result = train_grpo(config)
    log = [row for row in read_log(tmp_path / "grpo" / "log.jsonl") if "kl" in row]
    assert result.steps == 3
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6)  # the reference is the fine-tuned model
    assert log[-1]["kl"] > 1e-7
    rows = read_rollouts(tmp_path / "grpo" / "rollouts")
    assert len(rows) == 3 * 2 * 4
    assert {"reward.accuracy_reward", "reward.bonus"} <= rows[0].keys()
    assert load_audio_llm(tmp_path / "grpo" / "last", ModelConfig(dtype="float32"))


def test_columns_reach_rewards_and_what_is_cut_or_bad_is_said(
    data: Path, tiny_model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.wav", rng.normal(0, 0.1, 9 * 16_000), 16_000)
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text(encoding="utf-8").splitlines()[:4]]
    rows = [
        row | {"audio": str(data / row["audio"]), "weight": n, "tags": ["x", n]} for n, row in enumerate(rows)
    ]
    rows.append(rows[0] | {"id": "long", "audio": "long.wav", "weight": "many", "completions": "taken"})
    rows.append(rows[0] | {"id": "two", "audio": ["a.wav", "b.wav"]})
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    (tmp_path / "own.py").write_text(
        "def own(completions, weight, tags, question, audio, **_):\n"
        "    assert all(len(v) == len(completions) for v in (weight, tags, question, audio))\n"
        "    assert all(tag == ['x', 0 if w == 'many' else w] for w, tag in zip(weight, tags))\n"
        "    return [float(w != 'many') for w in weight]\n"
    )
    questions = DataConfig(train=(tmp_path / "q.jsonl",), validation=(data / "validation.jsonl",))
    config = GRPOTrainConfig(
        **settings(data, tiny_model_folder, tmp_path / "grpo", data=questions)
        | {"validation": ValidationConfig(max_new_tokens=2, max_questions=1)},
        num_rollouts=2,
        max_new_tokens=2,
        rewards=("accuracy", f"{tmp_path / 'own.py'}:own"),
    )
    with caplog.at_level("INFO", "r1_aqa"):
        assert train_verb(config) == 1
    skipped = [json.loads(line) for line in (tmp_path / "grpo" / "skipped.jsonl").read_text().splitlines()]
    assert "/a.wav cannot be opened" in skipped[0]["why"]
    assert "q.jsonl:7: " in skipped[1]["why"]
    finished = json.loads((tmp_path / "grpo" / "finished.json").read_text())
    assert finished["num_cut"] == 1
    assert finished["truncated_rollouts"] > 0
    assert finished["nothing_to_learn"] == {"equal_rewards": 3, "all_cut": 0}
    log = read_log(tmp_path / "grpo" / "log.jsonl")
    assert all(row["eval_truncated"] == 1 for row in log if "eval_accuracy" in row)
    said = "\n".join(caplog.messages)
    for line in (
        "2 of 7 questions cannot be used, the first: two (",
        "1 of 4 validation questions are asked (validation.max_questions)",
        "the sounds of 1 of 5 questions are cut: only their first 4 s are heard, of up to 9.0 s (--sound.",
        "the columns completions are not given to rewards: the names are taken",
        "each pass over the questions leaves out 1 of 5, others each time: they fill no update",
        "of rollouts were ended after 2 tokens (max_new_tokens)",
        "1 of 1 validation answers were ended after 2 tokens (validation.max_new_tokens)",
    ):
        assert line in said


def test_windows_are_refused_in_training(data: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sound\.too_long windows is for evaluate and answer"):
        SFTTrainConfig(**settings(data, tiny_model_folder, tmp_path, sound=SoundConfig(too_long="windows")))


def test_other_settings_are_refused_on_resuming(data: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    train_sft(SFTTrainConfig(**settings(data, tiny_model_folder, tmp_path / "x", max_steps=1)))
    with pytest.raises(ValueError, match=r"other settings \(learning_rate: 0.001 -> 0.5\)"):
        train_sft(SFTTrainConfig(**settings(data, tiny_model_folder, tmp_path / "x", learning_rate=0.5)))
    more = train_sft(SFTTrainConfig(**settings(data, tiny_model_folder, tmp_path / "x", max_steps=2)))
    assert more.steps == 2


def test_a_deaf_model_is_not_trained(data: Path, deaf_model_folder: Path, tmp_path: Path) -> None:
    for train, config in ((train_sft, SFTTrainConfig), (train_grpo, GRPOTrainConfig)):
        with pytest.raises(DeafModelError, match="does not hear"):
            train(config(**settings(data, deaf_model_folder, tmp_path / config.__name__)))  # type: ignore[operator]


def test_bad_sounds_are_listed_and_left_out(data: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    rows = (data / "train.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(rows[0])
    questions = [
        json.dumps(json.loads(line) | {"audio": str(data / json.loads(line)["audio"])}) for line in rows
    ]
    questions += [json.dumps(row | {"id": "bad", "audio": str(tmp_path / "bad.wav")})]
    questions += [json.dumps(row | {"id": "gone", "audio": str(tmp_path / "gone.wav")})]
    (tmp_path / "q.jsonl").write_text("\n".join(questions))
    config = settings(
        data,
        tiny_model_folder,
        tmp_path / "out",
        data=DataConfig(train=(tmp_path / "q.jsonl",)),
        max_steps=1,
    )
    train_sft(SFTTrainConfig(**config))
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [row["id"] for row in skipped] == ["bad", "gone"]


def test_by_default_each_epoch_is_validated_and_saved(
    data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    each_epoch = {"epochs": 2, "max_steps": None, "save_steps": None, "keep_checkpoints": 2}
    config = settings(data, tiny_model_folder, tmp_path / "x", max_grad_norm=None, **each_epoch)
    config["validation"] = ValidationConfig(max_new_tokens=2, max_questions=1, metric="official")
    result = train_sft(SFTTrainConfig(**config))
    assert result.steps == 8
    log = read_log(tmp_path / "x" / "log.jsonl")
    assert [row["step"] for row in log if "eval_accuracy" in row] == [4, 8]
    names = {path.name for path in (tmp_path / "x").iterdir()}
    assert {"checkpoint-4", "checkpoint-8", "best", "last", "curves.png", "config.json"} <= names
    assert "README.md" not in names


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_a_damaged_sound_does_not_end_a_training(
    data: Path, tiny_model_folder: Path, tmp_path: Path, method: str
) -> None:
    good = read_questions(data / "train.jsonl")
    samples, rate = soundfile.read(good[0].audio)
    samples[-1] = np.nan  # its header is that of any sound
    soundfile.write(tmp_path / "nan.wav", samples, rate, subtype="FLOAT")
    bad = replace(good[0], id="bad", audio=tmp_path / "nan.wav")
    write_questions(tmp_path / "train.jsonl", [bad, *good[:3]])
    write_questions(tmp_path / "validation.jsonl", [good[3], replace(bad, id="bad too")])
    config = settings(
        data,
        tiny_model_folder,
        tmp_path / method,
        data=DataConfig(train=(tmp_path / "train.jsonl",), validation=(tmp_path / "validation.jsonl",)),
        batch_size=4,
        max_steps=2,
    )
    if method == "sft":
        result = train_sft(SFTTrainConfig(**config))
    else:
        more = {"num_rollouts": 2, "max_new_tokens": 3, "zero_advantage": "resample"}
        result = train_grpo(GRPOTrainConfig(**config, **more))
        rows = read_rollouts(tmp_path / method / "rollouts")
        assert {row["question_id"] for row in rows} == {question.id for question in good[:3]}
    assert result.steps == 2
    skipped = [json.loads(line) for line in (tmp_path / method / "skipped.jsonl").read_text().splitlines()]
    assert [row["id"] for row in skipped] == ["bad", "bad too"]
    assert all("nan.wav holds nan" in row["why"] for row in skipped)


def command(config: Path, *launcher: str) -> list[str]:
    return [sys.executable, *launcher, "-m", "r1_aqa", "train", "grpo", "--config", str(config)]


def write_config(data: Path, model: Path, out: Path, **changes: Any) -> Path:
    values = {
        "out": str(out),
        "init_from": str(model),
        "data": {"train": [str(data / "train.jsonl")]},
        "model": {"dtype": "float32", "lora": {"rank": 4, "dropout": 0.0}},
        "rewards": ["accuracy", f"{data / 'bonus.py'}:bonus"],
        "num_rollouts": 4,
        "max_new_tokens": 5,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": 6,
        "save_steps": 2,
        "learning_rate": 1e-3,
        "device": "cpu",
    } | changes
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_killed_training_goes_on_to_the_same_end(
    data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    whole = write_config(data, tiny_model_folder, tmp_path / "whole")
    subprocess.run(command(whole), check=True, capture_output=True)
    killed = write_config(data, tiny_model_folder, tmp_path / "killed")
    process = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = tmp_path / "killed" / "checkpoint-2" / "trainer_state.json"
    for _ in range(600):
        if state.is_file() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    subprocess.run(command(killed), check=True, capture_output=True)
    names = ("step", "loss", "grad_norm", "reward", "kl")
    logs = [
        [[row.get(name) for name in names] for row in read_log(tmp_path / run / "log.jsonl") if "loss" in row]
        for run in ("whole", "killed")
    ]
    assert len(logs[0]) == 6
    for before, after in zip(*logs, strict=True):
        # Kept embeddings were computed in batches of other sizes: equal within rounding.
        assert after == pytest.approx(before, rel=1e-4, abs=1e-6)
    rollouts = [read_rollouts(tmp_path / run / "rollouts") for run in ("whole", "killed")]
    names = ("step", "question_id", "completion", "reward")
    found = [[[row[name] for name in names] for row in rows] for rows in rollouts]
    assert found[0] == found[1]


def test_two_processes_train_together_and_go_on_together(
    data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two"
    changes = {
        "gradient_accumulation_steps": 1,
        "max_steps": None,
        "epochs": 1,
        "save_steps": 1,
        "keep_checkpoints": 2,
    }
    schedule = {"lr_scheduler_type": "linear", "warmup_ratio": 0.5, "zero_advantage": "resample"}
    config = write_config(data, tiny_model_folder, out, **changes, **schedule)
    # torch's launcher: on a processor accelerate's starts one process, whatever number it is told.
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]

    def train() -> tuple[list, list]:
        # transformers 4 cannot resume on "cpu:0", which is what accelerate calls the processor otherwise.
        run_launched(command(config, *launcher), ACCELERATE_TORCH_DEVICE="cpu", R1_AQA_TRACEBACK="1")
        log = [row for row in read_log(out / "log.jsonl") if "loss" in row]
        return log, read_rollouts(out / "rollouts")

    log, rollouts = train()
    assert [row["step"] for row in log] == [1, 2]  # eight questions, two of each process at once
    assert [row["learning_rate"] for row in log] == [0, 1e-3]  # warm-up is half of the updates of all
    first = [row["question_id"] for row in rollouts if row["step"] == 1][:16]
    assert len(set(first)) == 4
    shutil.rmtree(out / "checkpoint-2")
    (out / "finished.json").unlink()
    again, more = train()
    numbers = [[(row["loss"], row["grad_norm"], row["reward"]) for row in rows] for rows in (log, again)]
    assert numbers[1] == [pytest.approx(row, rel=1e-4, abs=1e-6) for row in numbers[0]]
    assert more == rollouts
