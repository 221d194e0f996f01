"""The folder of a training: devices, checkpoints, skipped questions."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from r1_aqa.config.train import DataConfig, SFTTrainConfig
from r1_aqa.data.questions import Question
from r1_aqa.files import write_json
from r1_aqa.trainers.questions import record_skipped
from r1_aqa.trainers.run_folder import (
    drop_checkpoints,
    find_checkpoint,
    join_processes,
    prepare_folder,
)


def config(**changes: Any) -> SFTTrainConfig:
    settings = {"out": Path("o"), "init_from": "m", "data": DataConfig(train=(Path("q"),))}
    return SFTTrainConfig(**settings | changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(ValueError, match=f"device {device}: there is no CUDA GPU"):
        join_processes(config(device=device))


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match="precision fp16 needs a GPU"):
        join_processes(config(device="cpu", precision="fp16"))


def checkpoints(out: Path, states: dict[int, str]) -> None:
    for step, state in states.items():
        (out / f"checkpoint-{step}").mkdir()
        (out / f"checkpoint-{step}" / "trainer_state.json").write_text(state)


def test_the_latest_whole_checkpoint_is_found_and_half_of_one_removed(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / "none") is None
    checkpoints(tmp_path, {1: "{}", 2: "{}", 10: '{"global_st'})
    (tmp_path / "best").mkdir()
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    drop_checkpoints(tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {"best", "checkpoint-2"}


def test_what_is_refused_stays_as_it_is(tmp_path: Path) -> None:
    checkpoints(tmp_path, {1: "{}", 2: "{}"})
    write_json(tmp_path / "config.json", asdict(config(out=tmp_path, keep_checkpoints=2)))
    with pytest.raises(ValueError, match="training with other settings"):
        prepare_folder(config(out=tmp_path, seed=1))
    assert (tmp_path / "checkpoint-1").is_dir()
    assert prepare_folder(config(out=tmp_path)) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-1").is_dir()


@pytest.mark.parametrize("name", ["config.json", "log.jsonl", "checkpoint-500/pytorch_model.bin"])
def test_what_is_of_no_training_of_ours_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="is of no training of r1-aqa"):
        prepare_folder(config(out=tmp_path))
    assert (tmp_path / name).read_text() == '{"model_type": "llama"}'


def test_a_skipped_question_is_recorded_once(tmp_path: Path) -> None:
    question = Question(id="1", audio=Path("a.wav"), question="?")
    for _ in range(2):
        record_skipped(tmp_path, [(question, "missing")])
    rows = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert rows == [{"id": "1", "audio": "a.wav", "why": "missing"}]
