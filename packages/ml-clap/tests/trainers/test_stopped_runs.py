"""A run that is stopped at any point ends, by the same command, as the run that was not stopped.

`test_resume.py` kills processes; here the run is stopped within this process, at a chosen point.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ml_clap import cli
from ml_clap.config.train import TrainConfig
from ml_clap.data.manifest import read_clips, write_manifest
from ml_clap.lock import BusyError, sole_writer
from ml_clap.trainers import train as entry
from ml_clap.trainers import trainer as module
from ml_clap.trainers.best_model import best_score
from ml_clap.trainers.interruption import Interruption
from ml_clap.trainers.learner import Learner
from ml_clap.trainers.processes import TrainingError
from ml_clap.trainers.run_folder import list_checkpoints, read_log, recover_run, save_checkpoint
from ml_clap.trainers.train import train
from ml_clap.trainers.trainer import Trainer

UPDATES = 7
"""Off the boundary of an epoch, and of `save_steps`."""


@pytest.fixture
def config(tiny_recipe: Path, tmp_path: Path) -> TrainConfig:
    """The tiny recipe for a few updates with one validation, the last."""
    words = ["train", "--config", str(tiny_recipe), "--out", str(tmp_path / "run")]
    settings = cli.read([*words, "--max_steps", str(UPDATES), "--eval_steps", "100"])
    assert isinstance(settings, TrainConfig)
    return settings


@pytest.fixture(scope="module")
def whole(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that run, not stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    words = ["train", "--config", str(tiny_recipe), "--out", str(out)]
    train(cli.read([*words, "--max_steps", str(UPDATES), "--eval_steps", "100"]))
    return out


class Stop(BaseException):
    """As a kill: nobody catches it."""


def stop_at(patch: pytest.MonkeyPatch, name: str, *, after: bool, step: int | None = None) -> None:
    """Stop the run before or after a function of the trainer's module is called (at an update)."""
    real: Callable[..., Any] = getattr(module, name)

    def stopped(*arguments: Any, **named: Any) -> Any:
        if step is not None and step not in arguments:
            return real(*arguments, **named)
        if after:
            real(*arguments, **named)
        raise Stop(name)

    patch.setattr(module, name, stopped)


def contents(out: Path) -> dict[str, bytes]:
    """Return the files of a run but for the curves and what names its own folder."""
    skipped = ("curves.png", "config.json", "README.md", "finished.json", "training_state.pt")
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in skipped
    } | {"best model": (out / "best" / "config.json").read_bytes()}


STOPS = (
    ("validate", False, None),
    ("validate", True, None),
    ("save_best", False, None),
    ("save_best", True, None),
    ("save_checkpoint", False, UPDATES),
    ("save_checkpoint", True, UPDATES),
    ("replace_folder", False, None),
    ("plot_curves", False, None),
    ("write_finished", False, None),
)


@pytest.mark.parametrize(("name", "after", "step"), STOPS)
def test_a_run_stopped_near_its_end_comes_to_the_same_end(
    config: TrainConfig,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    after: bool,
    step: int | None,
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, name, after=after, step=step)
        with pytest.raises(Stop):
            train(config)
    assert train(config).model == config.out / "best"
    assert contents(config.out) == contents(whole)


def test_after_the_last_checkpoint_no_update_is_taken(
    config: TrainConfig, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, "write_finished", after=False)
        with pytest.raises(Stop):
            train(config)
    assert list_checkpoints(config.out)[-1].name == f"checkpoint-{UPDATES}"
    monkeypatch.setattr(Learner, "update", None)
    train(config)
    assert contents(config.out) == contents(whole)


def test_ctrl_c_in_the_last_update_and_a_kill_in_its_validation_leave_it_due(
    config: TrainConfig, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_wanted(self: Interruption) -> bool:
        return len(read_log(config.out / "log.jsonl")) == UPDATES

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "is_wanted", property(is_wanted))
        with pytest.raises(KeyboardInterrupt, match=f"saved up to step {UPDATES}"):
            train(config)
    for name in ("save_best", "save_checkpoint"):  # the second time its record is in the log
        with monkeypatch.context() as patch:
            stop_at(patch, name, after=name == "save_best")
            with pytest.raises(Stop):
                train(config)
    monkeypatch.setattr(Learner, "update", None)
    train(config)
    assert contents(config.out) == contents(whole)


def test_a_finished_run_says_so_and_loads_no_model(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(config)
    monkeypatch.setattr(entry, "Trainer", None)
    with caplog.at_level("INFO"):
        assert train(replace(config, logging_steps=1)) == first
    assert f"{config.out} is finished" in caplog.text
    assert not list(config.out.glob(".*"))
    with pytest.raises(TrainingError, match="batch_size was 8, is 4"):
        train(replace(config, batch_size=4))
    with pytest.raises(TrainingError, match="resume"):
        train(replace(config, resume="never"))


def test_a_longer_run_goes_on_from_a_finished_one(config: TrainConfig) -> None:
    train(config)
    longer = replace(config, max_steps=UPDATES + 2)
    assert train(longer).step == UPDATES + 2
    steps = [record["step"] for record in read_log(config.out / "log.jsonl") if "loss" in record]
    assert steps == list(range(1, UPDATES + 3))
    assert train(longer).step == UPDATES + 2
    with pytest.raises(TrainingError, match="max_steps was 9, is 7"):
        train(config)


def test_a_finished_run_without_its_checkpoints_is_not_begun_anew(config: TrainConfig) -> None:
    train(config)
    for checkpoint in list_checkpoints(config.out):
        (checkpoint / "training_state.pt").unlink()
    with pytest.raises(TrainingError, match="no checkpoint to go on from"):
        train(replace(config, max_steps=UPDATES + 2))
    assert train(config).step == UPDATES


def test_two_at_once_are_refused(config: TrainConfig) -> None:
    config.out.mkdir()
    with sole_writer(config.out), pytest.raises(BusyError):
        train(config)


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    for step in (3, 6):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    (tmp_path / "checkpoint-6").rename(tmp_path / "checkpoint-6.old")
    for name in ("checkpoint-6.partial", "best.partial", "best.old", "last", "last.old", "checkpoint-1"):
        (tmp_path / name).mkdir()
    (tmp_path / ".log.jsonl.77.tmp").write_text("half")
    recover_run(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best", "checkpoint-3", "checkpoint-6", "last"]


def test_files_that_could_not_be_read_before_a_stop_are_in_the_result(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = read_clips(config.data.train, ())
    missing = [replace(clips[place], audio=tmp_path / f"missing-{place}.wav") for place in (3, 30)]
    clips[3], clips[30] = missing  # one to train on, one to validate on
    manifest = tmp_path / "manifest.jsonl"
    write_manifest(manifest, clips)
    config = replace(config, data=replace(config.data, train=(manifest,), validation=(manifest,)))
    with monkeypatch.context() as patch:
        stop_at(patch, "write_finished", after=False)
        with pytest.raises(Stop):
            train(config)
    assert set(train(config).bad_files) == {clip.audio for clip in missing}
    assert set(train(config).bad_files) == {clip.audio for clip in missing}


def test_the_score_of_the_best_model_is_that_of_its_folder(whole: Path, tmp_path: Path) -> None:
    record = json.loads((whole / "best" / "validation.json").read_text())
    assert record == next(row for row in read_log(whole / "log.jsonl") if "score" in row)
    assert best_score(whole, None) == record["score"]
    assert best_score(tmp_path, 50.0) is None
    (tmp_path / "best").mkdir()
    assert best_score(tmp_path, 50.0) == 50.0


def test_weights_that_are_not_finite_are_not_saved(config: TrainConfig) -> None:
    trainer = Trainer(config)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("inf"))
    with pytest.raises(TrainingError, match="not finite after update 0"):
        trainer._save()
    assert not list_checkpoints(config.out)


def test_a_gradient_that_is_not_finite_names_the_clips_of_all_batches(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, gradient_accumulation_steps=2))
    batches, _ = trainer.data.epoch(0, skip=0)
    pair = [next(batches), next(batches)]
    weight = next(each for each in trainer.model.parameters() if each.requires_grad)
    weight.register_hook(lambda gradient: gradient * float("nan"))
    before = weight.clone()
    with pytest.raises(TrainingError, match="the norm of the gradient is nan at step 1") as error:
        trainer.learner.update(pair, step=1, done=0.5)
    assert torch.equal(weight, before)
    clip = trainer.data.clips[int(torch.cat([batch.clip_ids for batch in pair]).min())]
    assert clip.id in str(error.value)
