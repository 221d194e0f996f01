"""A training that was stopped anywhere ends as one that never was."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from aac_llm.config.model import ModelConfig
from aac_llm.config.train import DataConfig, TrainConfig, ValidationConfig
from aac_llm.lock import BusyError, sole_writer
from aac_llm.trainers import run_folder
from aac_llm.trainers import train as train_module
from aac_llm.trainers.callbacks import LogFile
from aac_llm.trainers.train import train
from aac_llm.trainers.trainer import CaptionTrainer


class Killed(BaseException):
    """Stands for SIGKILL: nothing below `train` handles it."""


@pytest.fixture
def config(tiny_config: ModelConfig, scene_manifest: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        out=tmp_path / "run",
        model=tiny_config,
        data=DataConfig(
            train=(scene_manifest,), validation=(scene_manifest,), validation_splits=("train",), num_workers=0
        ),
        max_steps=5,
        epochs=10,
        batch_size=2,
        learning_rate=3e-3,
        logging_steps=2,
        save_steps=2,
        eval_steps=2,
        validation=ValidationConfig(metric="loss", max_clips=0),
        device="cpu",
    )


@pytest.fixture
def whole(config: TrainConfig, tmp_path: Path) -> Path:
    """The folder of an undisturbed run."""
    train(config)
    folder = tmp_path / "whole"
    config.out.rename(folder)
    return folder


def assert_same(run: Path, whole: Path) -> None:
    """Weights, scores, log and report are equal; nothing else is left in the folder."""
    names = [sorted(str(path.relative_to(out)) for path in out.rglob("*")) for out in (run, whole)]
    assert names[0] == names[1]
    for name in names[1]:
        path = whole / name
        if path.suffix in (".safetensors", ".jsonl") or name.endswith(("validation.json", "report.json")):
            assert (run / name).read_bytes() == path.read_bytes(), name
    finished = [json.loads((out / "finished.json").read_text()) for out in (run, whole)]
    assert {**finished[0], "settings": None} == {**finished[1], "settings": None}


def kill_at(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int = 1, *, after: bool = False
) -> None:
    """Kill at the n-th call of a function, before or after it."""
    real, calls = getattr(owner, name), [0]

    def killed(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not after:
            raise Killed
        result = real(*args, **kwargs)
        if calls[0] == call:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, killed)


KILLS = {
    "in the validation amid the run": (CaptionTrainer, "evaluate", 2, False),
    "after best, before its checkpoint": (CaptionTrainer, "_save_checkpoint", 2, False),
    "in the last validation": (CaptionTrainer, "evaluate", 3, False),
    "after the last checkpoint": (CaptionTrainer, "_save_checkpoint", 3, True),
    "before last": (train_module, "finish", 1, False),
    "before the curves": (train_module, "plot_curves", 1, False),
    "before the mark": (train_module, "write_result", 1, False),
    "before any update": (LogFile, "on_train_begin", 1, True),
}


@pytest.mark.parametrize("kill", KILLS)
def test_a_killed_run_ends_as_an_undisturbed_one(
    config: TrainConfig, whole: Path, monkeypatch: pytest.MonkeyPatch, kill: str
) -> None:
    owner, name, call, after = KILLS[kill]
    with monkeypatch.context() as patch:
        kill_at(patch, owner, name, call, after=after)
        with pytest.raises(Killed):
            train(config)
    assert train(config).steps == 5
    assert_same(config.out, whole)


@pytest.mark.parametrize("call", [1, 2])
def test_a_validation_by_epochs_is_made_up_for_after_its_checkpoint(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    # Three updates an epoch, saved before the epoch's validation.
    by_epoch = replace(config, eval_steps=None, save_steps=1, max_steps=4)
    whole = replace(by_epoch, out=tmp_path / "undisturbed")
    train(whole)
    with monkeypatch.context() as patch:
        kill_at(patch, CaptionTrainer, "evaluate", call)
        with pytest.raises(Killed):
            train(by_epoch)
    train(by_epoch)
    rows = [json.loads(line) for line in (by_epoch.out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "eval_loss" in row] == [3, 4]
    assert_same(by_epoch.out, whole.out)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_ctrl_c_saves_stops_and_goes_on_as_if_nothing_was(
    config: TrainConfig, whole: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real = CaptionTrainer.training_step

    def interrupted(self: CaptionTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.state.global_step + 1 == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CaptionTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt, match="goes on from there"):
            train(config)
    assert run_folder.find_checkpoint(config.out) == config.out / f"checkpoint-{step}"
    rows = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert not [row for row in rows if "eval_loss" in row and row["step"] == step]
    train(config)
    assert_same(config.out, whole)


def test_ctrl_c_amid_an_epoch_waits_for_no_validation_by_epochs(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_epoch = replace(config, eval_steps=None, save_steps=None, max_steps=None, epochs=1)
    real = CaptionTrainer.training_step

    def interrupted(self: CaptionTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CaptionTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(by_epoch)
    assert not (by_epoch.out / "best").exists()
    train(by_epoch)
    rows = [json.loads(line) for line in (by_epoch.out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "eval_loss" in row] == [3]


@pytest.fixture
def finished(config: TrainConfig) -> TrainConfig:
    train(config)
    return config


def test_a_finished_run_says_so_and_loads_nothing(
    finished: TrainConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = run_folder.read_result(finished)
    monkeypatch.setattr(train_module, "build_model", None)
    monkeypatch.setattr(train_module, "make_dataset", None)
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*")}
    with caplog.at_level("INFO"):
        assert train(finished) == first
    assert f"{finished.out} is finished" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in finished.out.rglob("*")} == before
    moved = finished.out.rename(finished.out.with_name("moved"))
    assert train(replace(finished, out=moved)).model == moved / "best"


def test_more_updates_go_on_from_the_end(finished: TrainConfig) -> None:
    longer = replace(finished, max_steps=7)
    result = train(longer)
    assert result.steps == 7
    assert run_folder.find_checkpoint(longer.out) == longer.out / "checkpoint-7"
    rows = [json.loads(line) for line in (longer.out / "log.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if "eval_loss" in row]
    assert steps == sorted(set(steps))
    # A run that is longer than asked for takes no update back.
    assert train(replace(finished, max_steps=6)).steps == 7


def test_a_best_of_a_later_update_is_judged_anew(
    config: TrainConfig, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, CaptionTrainer, "_save_checkpoint", 2)
        with pytest.raises(Killed):
            train(config)
    record = config.out / "best" / "validation.json"
    assert json.loads(record.read_text())["step"] == 4
    # As on a GPU, where the same update need not give the same bits.
    record.write_text(json.dumps(json.loads(record.read_text()) | {"loss": 0.0}))
    train(config)
    assert record.read_bytes() == (whole / "best" / "validation.json").read_bytes()


def test_a_best_of_a_lost_run_does_not_stand_in_the_way(config: TrainConfig, whole: Path) -> None:
    shutil.copytree(whole / "best", config.out / "best")
    record = config.out / "best" / "validation.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"loss": 0.0, "step": 99}))
    train(config)
    assert_same(config.out, whole)


def test_leftovers_of_kills_are_cleaned(config: TrainConfig, whole: Path) -> None:
    out = config.out
    for name in (".saving-x", "best.partial", "last.partial", "checkpoint-9"):
        (out / name).mkdir(parents=True)
        (out / name / "model.safetensors").write_bytes(b"half")
    (out / ".log.jsonl.123.tmp").write_bytes(b"half")
    (out / "log.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"ste')
    train(config)
    assert_same(out, whole)


def test_no_pickle_is_in_models(finished: TrainConfig) -> None:
    for name in ("best", "last"):
        kinds = {path.suffix for path in (finished.out / name).rglob("*") if path.is_file()}
        assert kinds <= {".json", ".md", ".safetensors", ".jinja", ".model"}


def test_two_trainings_in_one_folder_are_refused(config: TrainConfig) -> None:
    config.out.mkdir(parents=True)
    with sole_writer(config.out, folder=True), pytest.raises(BusyError, match="is writing"):
        train(config)
    assert not (config.out / "config.json").exists()


def test_a_full_disk_costs_no_more_than_time(
    config: TrainConfig, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, [0]

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] >= 12:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            train(config)
    train(config)
    assert_same(config.out, whole)


def test_bad_clips_of_before_the_kill_are_in_the_report(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "m.jsonl"
    text = config.data.train[0].read_text()
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    bad = {
        "id": "bad",
        "audio": str(tmp_path / "bad.wav"),
        "captions": ["x"],
        "split": "train",
        "duration": 1.0,
    }
    folder = config.data.train[0].parent
    rows = [json.loads(line) for line in text.splitlines()]
    rows = [row | {"audio": str(folder / row["audio"])} for row in rows]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in [*rows, bad]))
    data = replace(config.data, train=(manifest,), validation=())
    with_bad = replace(config, data=data, max_steps=4, save_steps=4, validation=ValidationConfig())
    with monkeypatch.context() as patch:
        kill_at(patch, train_module, "finish")
        with pytest.raises(Killed):
            train(with_bad)
    assert list(train(with_bad).bad_clips) == [str(tmp_path / "bad.wav")]
    report = json.loads((with_bad.out / "report.json").read_text())
    assert list(report["training"]["bad_clips"]) == [str(tmp_path / "bad.wav")]
    # Also when asked again.
    assert list(train(with_bad).bad_clips) == [str(tmp_path / "bad.wav")]
    shutil.rmtree(with_bad.out)
