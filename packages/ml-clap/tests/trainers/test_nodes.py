"""Two machines, each with one process, played by two launchers on one that meet by c10d; a process dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ml_clap import cli
from ml_clap.trainers.run_folder import read_log
from ml_clap.trainers.train import train

UPDATES = 30
# Processes that start again would read addresses of dead ones in the launchers' store: docs/launching.md.
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def launch(node: int, port: int, command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start what `torchrun` starts on a machine; see docs/launching.md."""
    words = ["--nnodes", "2", "--nproc_per_node", "1", "--node_rank", str(node), "--max_restarts", "2"]
    words += ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port}", "--rdzv_id", "clotho"]
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *words, "-m", "ml_clap", *command],
            env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"} | OWN_STORE,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def kill_worker(launcher: subprocess.Popen[bytes], log: Path, lines: int) -> None:
    """Kill the training process of a launcher once the run has logged so many updates."""
    until = time.monotonic() + 240
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        assert launcher.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    (worker,) = (child for child in psutil.Process(launcher.pid).children() if "ml_clap" in child.cmdline())
    worker.send_signal(signal.SIGKILL)


@pytest.mark.slow
def test_a_node_that_dies_is_started_again_and_the_run_ends_as_if_it_had_not(
    no_dropout: Path, tmp_path: Path
) -> None:
    words = ("--max_steps", str(UPDATES), "--save_steps", "4", "--eval_steps", str(UPDATES))
    command = ["train", "--config", str(no_dropout), "--ema_decay", "null", *words]
    train(cli.read([*command, "--batch_size", "8", "--out", str(tmp_path / "one")]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out, logs = tmp_path / "two", [tmp_path / f"node-{node}.log" for node in range(2)]
    launchers = [
        launch(node, port, [*command, "--batch_size", "4", "--out", str(out)], log)
        for node, log in enumerate(logs)
    ]
    try:
        kill_worker(launchers[1], out / "log.jsonl", 6)
        codes = [launcher.wait(timeout=300) for launcher in launchers]
    finally:
        for launcher in launchers:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)
                launcher.wait()
    assert codes == [0, 0], "\n".join(log.read_text()[-4000:] for log in logs)
    assert "continuing after update" in logs[0].read_text() + logs[1].read_text()
    one, two = (
        [record for record in read_log(tmp_path / name / "log.jsonl") if "loss" in record]
        for name in ("one", "two")
    )
    assert [record["step"] for record in two] == list(range(1, UPDATES + 1))
    for expected, got in zip(one, two, strict=True):
        assert got["loss"] == pytest.approx(expected["loss"], rel=1e-4)
