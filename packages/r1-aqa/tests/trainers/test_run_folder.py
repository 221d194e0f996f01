"""The folder of a training: devices, checkpoints, skipped questions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from r1_aqa.config.train import DataConfig, SFTTrainConfig
from r1_aqa.data.questions import Question
from r1_aqa.trainers.questions import record_skipped
from r1_aqa.trainers.run_folder import find_checkpoint, join_processes


def config(**changes: Any) -> SFTTrainConfig:
    return SFTTrainConfig(out=Path("o"), init_from="m", data=DataConfig(train=(Path("q"),)), **changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(ValueError, match=f"device {device}: there is no CUDA GPU"):
        join_processes(config(device=device))


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match="precision fp16 needs a GPU"):
        join_processes(config(device="cpu", precision="fp16"))


def test_the_latest_whole_checkpoint_is_found_and_half_of_one_removed(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / "none") is None
    for step, state in ((2, "{}"), (10, '{"global_st')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "best").mkdir()
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-10").exists()


def test_a_skipped_question_is_recorded_once(tmp_path: Path) -> None:
    question = Question(id="1", audio=Path("a.wav"), question="?")
    for _ in range(2):
        record_skipped(tmp_path, [(question, "missing")])
    rows = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert rows == [{"id": "1", "audio": "a.wav", "why": "missing"}]
