"""A run that is killed at any moment and started again is the run that was never killed, to the last bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ml_clap import cli
from ml_clap.trainers.run_folder import list_checkpoints, read_log, step_of
from ml_clap.trainers.train import train
from safetensors.torch import load_file


def start(recipe: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ml_clap", "train", "--config", str(recipe), "--out", str(out), *words]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def finish(recipe: Path, out: Path, *words: str) -> None:
    """Run to the end, in this process, which is quicker and has the same arithmetic."""
    command = ["train", "--config", str(recipe), "--out", str(out), *words]
    train(cli.read(command))


def send_when_logged(process: subprocess.Popen[bytes], out: Path, lines: int, number: int) -> None:
    """Send a signal to a run and its workers once its log has so many lines."""
    log = out / "log.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, f"the run ended before it had logged {lines} lines"
        time.sleep(0.002)
    os.killpg(process.pid, number)
    process.wait(timeout=60)


def assert_same_run(one: Path, other: Path) -> None:
    assert read_log(one / "log.jsonl") == read_log(other / "log.jsonl")
    for name in ("last", "best"):
        expected, got = (load_file(out / name / "model.safetensors") for out in (one, other))
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected), name


@pytest.fixture(scope="module")
def uninterrupted(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    finish(tiny_recipe, out)
    return out


@pytest.mark.slow
def test_killed_runs_continue_exactly(tiny_recipe: Path, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    total = len(read_log(uninterrupted / "log.jsonl"))
    for lines in (total // 3, total - 4):
        send_when_logged(start(tiny_recipe, out), out, lines, signal.SIGKILL)
    finish(tiny_recipe, out, "--data.num_workers", "1", "--save_steps", "5")
    assert_same_run(uninterrupted, out)


@pytest.mark.slow
def test_sigterm_saves_where_the_run_is(tiny_recipe: Path, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(tiny_recipe, out, "--save_steps", "1000")
    send_when_logged(process, out, 4, signal.SIGTERM)
    assert process.returncode == 130
    logged = [record["step"] for record in read_log(out / "log.jsonl")]
    assert step_of(list_checkpoints(out)[-1]) == logged[-1]
    finish(tiny_recipe, out)
    assert_same_run(uninterrupted, out)
