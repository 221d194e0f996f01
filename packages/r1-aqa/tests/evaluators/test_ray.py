"""Under a local Ray of two workers, one of which is killed, answers and scores are the local ones."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra ray is not installed")

from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.prepare import PrepareQuestionsConfig
from r1_aqa.config.ray import RayConfig
from r1_aqa.data.prepare import prepare_questions
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.evaluators.evaluate import evaluate
from r1_aqa.evaluators.predictions import read_predictions

pytestmark = pytest.mark.slow
SECONDS = 600


@pytest.fixture(scope="module")
def cluster():
    from r1_aqa.bulk.run import joined

    with joined(RayConfig(num_workers=2)):
        yield


@pytest.fixture(scope="module")
def questions(
    tmp_path_factory: pytest.TempPathFactory, ask_about_scenes: Callable[..., list[Question]]
) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    write_questions(folder / "questions.jsonl", ask_about_scenes(folder, range(10), seconds=2.5))
    return folder / "questions.jsonl"


def kill_one_worker(parts: Path, killed: list[int]) -> None:
    """Wait for the first part, and kill a worker of this process's Ray."""
    import psutil

    began = time.monotonic()
    while time.monotonic() - began < SECONDS:
        if list(parts.glob("part-*")):
            for child in psutil.Process().children(recursive=True):
                try:
                    name = " ".join(child.cmdline())
                except psutil.Error:
                    continue
                if name.startswith("ray::") and "RayWorker" in name:
                    os.kill(child.pid, signal.SIGKILL)
                    killed.append(child.pid)
                    return
        time.sleep(0.02)


def test_a_lost_worker_changes_no_answer_and_no_score(
    cluster: None, questions: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    local = EvaluateConfig(
        data=str(questions),
        model=str(tiny_model_folder),
        out=tmp_path / "local",
        batch_size=3,
        max_new_tokens=6,
        device="cpu",
        silent=True,
    )
    parts, killed = tmp_path / "parts", list[int]()
    ray = RayConfig(num_workers=2, block_seconds=5.0, parts=str(parts))
    killer = threading.Thread(target=kill_one_worker, args=(parts, killed), daemon=True)
    killer.start()
    scores = evaluate(replace(local, out=tmp_path / "ray", engine="ray", ray=ray))
    killer.join(1)
    assert len(killed) == 1
    assert scores == evaluate(local)
    found, expected = (read_predictions(tmp_path / name / "predictions.jsonl") for name in ("ray", "local"))
    assert found == expected
    # Two questions a block, and the look; each part once.
    assert len({path.name.split("-")[1] for path in parts.glob("part-*")}) == 11
    assert len(list(parts.glob("part-*"))) == 11


def test_preparation_is_the_local_one(cluster: None, questions: Path, tmp_path: Path) -> None:
    ray = RayConfig(num_workers=2, block_seconds=5.0)
    config = PrepareQuestionsConfig(source=questions, out=tmp_path / "ray.jsonl", engine="ray", ray=ray)
    prepare_questions(config)
    prepare_questions(replace(config, engine="local", out=tmp_path / "local.jsonl"))
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
