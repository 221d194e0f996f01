"""A run's files survive a kill: what is there under its name is whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ml_clap.trainers.run_folder import (
    RunLog,
    list_checkpoints,
    load_checkpoint,
    read_log,
    recover_folder,
    replace_folder,
    save_checkpoint,
    step_of,
)

KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
import torch
from ml_clap.trainers import run_folder

write = torch.save
def write_half_and_die(state, target):
    write(state, target)
    with open(target, "r+b") as file:
        file.truncate(os.path.getsize(target) // 2)
    os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
run_folder.save_checkpoint(folder, 1, {"weights": torch.arange(1000.0)}, keep=1)
torch.save = write_half_and_die
run_folder.save_checkpoint(folder, 2, {"weights": torch.arange(1000.0) + 1}, keep=1)
"""


def test_a_kill_while_saving_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)])
    assert result.returncode == -9
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-1"]
    assert torch.equal(load_checkpoint(tmp_path / "checkpoint-1")["weights"], torch.arange(1000.0))
    save_checkpoint(tmp_path, 2, {"weights": torch.zeros(2)}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_only_the_newest_are_kept_in_order_of_their_step(tmp_path: Path) -> None:
    for step in (9, 10, 999_999, 1_000_000):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert [step_of(path) for path in list_checkpoints(tmp_path)] == [999_999, 1_000_000]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, {"weights": torch.zeros(100)}, keep=1)
    file = path / "training_state.pt"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"checkpoint-3"):
        load_checkpoint(path)


def test_a_kill_between_the_renamings_of_a_model_folder_is_undone(tmp_path: Path) -> None:
    best = tmp_path / "best"
    replace_folder(best, lambda folder: (folder / "weights").write_text("first"))
    best.rename(tmp_path / "best.old")
    (tmp_path / "best.partial").mkdir()
    recover_folder(best)
    assert (best / "weights").read_text() == "first"
    replace_folder(best, lambda folder: (folder / "weights").write_text("second"))
    assert (best / "weights").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_failed_save_leaves_the_model_folder_before(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise OSError("disk full")

    best = tmp_path / "best"
    replace_folder(best, lambda folder: (folder / "weights").write_text("whole"))
    with pytest.raises(OSError, match="disk full"):
        replace_folder(best, fail)
    assert (best / "weights").read_text() == "whole"


def test_a_continued_log_drops_what_will_be_done_again_and_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = RunLog(path, step=0, validated=0)
    for step in range(1, 6):
        log.write({"step": step, "loss": 1.0 / step})
        log.write({"step": step, "score": 1.0 * step})
    with path.open("a") as file:
        file.write('{"step": 6, "lo')
    log = RunLog(path, step=3, validated=2)
    log.write({"step": 4, "loss": 0.5})
    assert [record["step"] for record in read_log(path)] == [1, 1, 2, 2, 3, 4]
    assert json.loads(path.read_text().splitlines()[-1]) == {"step": 4, "loss": 0.5}
