"""What a training promises: nothing that is not finite, nothing lost by a kill, one process at a time."""

import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from r1_aqa.cli import main
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig, ValidationConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.lock import BusyError, sole_writer
from r1_aqa.trainers import callbacks, sft
from r1_aqa.trainers.callbacks import LogFile, Validation
from r1_aqa.trainers.finite import TrainingError, WatchedRewards
from r1_aqa.trainers.train import train_grpo, train_sft
from safetensors.torch import load_file


class Killed(BaseException):
    """Stands for a kill: nothing in a training catches it."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterable[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, ask_about_scenes: Callable[..., list[Question]]) -> Path:
    folder = tmp_path_factory.mktemp("data")
    found = ask_about_scenes(folder, range(5), seconds=2.5)
    write_questions(folder / "train.jsonl", found[:8])
    write_questions(folder / "validation.jsonl", found[8:])
    return folder


@pytest.fixture(scope="module")
def settings(data: Path, tiny_model_folder: Path) -> Callable[..., dict[str, Any]]:
    def make(out: Path, **changes: Any) -> dict[str, Any]:
        return {
            "out": out,
            "init_from": str(tiny_model_folder),
            "data": DataConfig(train=(data / "train.jsonl",), validation=(data / "validation.jsonl",)),
            "model": ModelConfig(dtype="float32", lora=LoRAConfig(rank=2, dropout=0.1)),
            "batch_size": 2,
            "max_steps": 3,
            "save_steps": 1,
            "eval_steps": 2,
            "validation": ValidationConfig(max_new_tokens=2),
            "learning_rate": 1e-2,
            "check_heard": False,
            "device": "cpu",
        } | changes

    return make


def contents(out: Path) -> dict[str, Any]:
    """Return what a training left that does not depend on time: names, weights, log, best, result."""
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    finished = json.loads((out / "finished.json").read_text())
    return {
        "names": sorted(path.name for path in out.rglob("*") if "checkpoint" not in str(path)),
        "checkpoints": sorted(path.name for path in out.glob("checkpoint-*")),
        "log": [{k: v for k, v in row.items() if "time" not in k} for row in log],
        "best": (out / "best" / "validation.json").read_text(),
        "result": [finished["accuracy"], finished["steps"], Path(finished["model"]).name],
        "weights": {
            f"{name}/{key}": value.tolist()
            for name in ("best", "last")
            for file in (out / name).glob("*.safetensors")
            for key, value in load_file(file).items()
        },
    }


@pytest.fixture(scope="module")
def undisturbed(settings: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("undisturbed") / "sft"
    train_sft(SFTTrainConfig(**settings(out)))
    return contents(out)


def test_no_pickle_is_in_a_models_folder(undisturbed: dict) -> None:
    assert {"best", "last", "validation.json", "adapter_model.safetensors"} <= set(undisturbed["names"])
    assert not [name for name in undisturbed["names"] if name.endswith((".bin", ".pt", ".tmp", ".lock"))]
    assert [row["step"] for row in undisturbed["log"] if "eval_accuracy" in row] == [0, 2, 3]
    assert [row["step"] for row in undisturbed["log"] if "loss" in row] == [1, 2, 3]


def verdicts(validation: Validation, right: int) -> list[bool]:
    """Return verdicts of which so many are right."""
    return [row < right for row in range(len(validation.questions))]


def kill_in_validation(patch: pytest.MonkeyPatch) -> None:
    count, before = iter(range(9)), Validation._judge

    def counted(self: Validation) -> tuple[list[bool], int]:
        if next(count) == 1:
            raise Killed
        return before(self)

    patch.setattr(Validation, "_judge", counted)


def kill_in_best(patch: pytest.MonkeyPatch) -> None:
    """Every validation is better than the one before, and the second one's model is half written."""
    before = callbacks.replace_folder

    def torn(folder: Path, save: Callable[[Path], object]) -> None:
        def half(partial: Path) -> None:
            save(partial)
            if json.loads((partial / "validation.json").read_text())["step"]:
                (partial / "adapter_model.safetensors").write_bytes(b"half")
                raise Killed

        before(folder, half if folder.name == "best" else save)

    patch.setattr(callbacks, "replace_folder", torn)


def kill_before_the_end(patch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    patch.setattr("r1_aqa.trainers.train.save_model", killed)


def cut_the_log(patch: pytest.MonkeyPatch) -> None:
    before = LogFile.on_log

    def torn(self: LogFile, args: Any, state: Any, control: Any, **given: Any) -> None:
        before(self, args, state, control, **given)
        if state.global_step == 2 and "loss" in given["logs"]:
            self.path.write_bytes(self.path.read_bytes()[:-9])
            raise Killed

    patch.setattr(LogFile, "on_log", torn)


KILLS = [kill_in_validation, kill_in_best, kill_before_the_end, cut_the_log]


@pytest.mark.parametrize("kill", KILLS)
def test_a_killed_training_ends_as_one_that_was_not(
    settings: Callable[..., dict[str, Any]],
    undisturbed: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill: Callable[[pytest.MonkeyPatch], None],
) -> None:
    config = SFTTrainConfig(**settings(tmp_path / "sft"))
    with monkeypatch.context() as patch:
        rising = iter(range(1, 99))
        if kill is kill_in_best:
            patch.setattr(Validation, "_judge", lambda self: (verdicts(self, next(rising)), 0))
        kill(patch)
        with pytest.raises(Killed):
            train_sft(config)
    (tmp_path / "sft" / ".last.1.tmp").write_bytes(b"")
    if kill is kill_in_best:  # what was made up is of step 0
        shutil.rmtree(tmp_path / "sft" / "checkpoint-1")
    train_sft(config)
    assert contents(tmp_path / "sft") == undisturbed


def test_a_better_model_of_a_later_update_stays_the_best(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {0: 0, 2: 2, 3: 1}

    def counted(self: Validation) -> tuple[list[bool], int]:
        return verdicts(self, right[self.trainer.state.global_step]), 0

    monkeypatch.setattr(Validation, "_judge", counted)
    train_sft(SFTTrainConfig(**settings(tmp_path / "whole")))
    with monkeypatch.context() as patch:
        # Killed between the best model of update 2 and its checkpoint.
        patch.setattr(Validation, "on_step_end", killed_after(Validation.on_step_end, 2))
        with pytest.raises(Killed):
            train_sft(SFTTrainConfig(**settings(tmp_path / "killed")))
    assert json.loads((tmp_path / "killed" / "best" / "validation.json").read_text())["step"] == 2
    assert not (tmp_path / "killed" / "checkpoint-2").exists()
    train_sft(SFTTrainConfig(**settings(tmp_path / "killed")))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def killed_after(method: Callable[..., None], step: int) -> Callable[..., None]:
    def then_killed(self: Validation, args: Any, state: Any, control: Any, **given: Any) -> None:
        method(self, args, state, control, **given)
        if state.global_step == step:
            raise Killed

    return then_killed


def test_an_interrupt_saves_and_changes_nothing(
    settings: Callable[..., dict[str, Any]],
    undisturbed: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, before = SFTTrainConfig(**settings(tmp_path / "sft")), LogFile.on_log

    def interrupting(self: LogFile, args: Any, state: Any, control: Any, **given: Any) -> None:
        before(self, args, state, control, **given)
        if state.global_step == 0:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(Validation, "on_train_begin", lambda self, args, state, control, **_: None)
        patch.setattr(callbacks.SaveOnInterrupt, "on_step_begin", lambda self, *_, **__: self._note())
        with pytest.raises(KeyboardInterrupt, match="goes on from there"):
            train_sft(config)
    assert signal.getsignal(signal.SIGINT) is handler
    assert [path.name for path in (tmp_path / "sft").glob("checkpoint-*")] == ["checkpoint-1"]
    log = [json.loads(line) for line in (tmp_path / "sft" / "log.jsonl").read_text().splitlines()]
    assert not [row for row in log if "eval_accuracy" in row]
    train_sft(config)
    again = contents(tmp_path / "sft")
    for name in ("checkpoints", "result"):
        assert again[name] == undisturbed[name]


def test_a_finished_training_is_not_begun_again(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = SFTTrainConfig(**settings(tmp_path / "sft", max_steps=1))
    first = train_sft(config)
    stamp = (tmp_path / "sft" / "finished.json").stat().st_mtime_ns
    assert train_sft(config) == first
    assert (tmp_path / "sft" / "finished.json").stat().st_mtime_ns == stamp
    moved = (tmp_path / "sft").rename(tmp_path / "moved")
    assert train_sft(replace(config, out=moved)).model == moved / first.model.name
    shutil.rmtree(moved / "checkpoint-1")
    with pytest.raises(ValueError, match="finished training without the checkpoint"):
        train_sft(replace(config, out=moved, max_steps=2))
    assert (moved / "best").is_dir()


# -- what is not finite -----------------------------------------------------------------------------------


def spoil_loss(logits: torch.Tensor) -> torch.Tensor:
    return logits * math.nan


def spoil_gradient(logits: torch.Tensor) -> torch.Tensor:
    return logits + (0 * logits).sqrt()  # the root of 0 has no finite slope


@pytest.mark.parametrize(("spoil", "what"), [(spoil_loss, "loss"), (spoil_gradient, "gradient")])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_update(
    settings: Callable[..., dict[str, Any]],
    undisturbed: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[torch.Tensor], torch.Tensor],
    what: str,
) -> None:
    config, before = SFTTrainConfig(**settings(tmp_path / "sft")), sft.completion_logits
    count = iter(range(99))
    with monkeypatch.context() as patch:
        patch.setattr(
            sft,
            "completion_logits",
            lambda *given: spoil(before(*given)) if next(count) == 1 else before(*given),
        )
        with pytest.raises(TrainingError, match=rf"the {what} is not finite at update 2, with questions \d-"):
            train_sft(config)
    assert [path.name for path in (tmp_path / "sft").glob("checkpoint-*")] == ["checkpoint-1"]
    train_sft(config)
    assert contents(tmp_path / "sft") == undisturbed


def test_weights_that_are_not_finite_are_not_saved(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = SFTTrainConfig(**settings(tmp_path / "sft", learning_rate=1e39, eval_steps=None))
    with pytest.raises(TrainingError, match="not finite"):
        train_sft(config)
    assert not list((tmp_path / "sft").glob("checkpoint-*"))
    assert not (tmp_path / "sft" / "best").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("[None, 1.0, float('nan'), 1.0]", "the reward own is nan for 1 of 4 completions, of questions a"),
        ("[float('nan')] * n", "is nan for 4 of 4 completions, of questions b, a"),
        ("[10**400] * n", "is 1000"),
        ("['0.5'] * n", "is '0.5' for 4"),
        ("[[1.0]] * n", r"is \[1.0\] for 4"),
        ("[1e300] * n", r"is 1e\+300 for 4 of 4 completions, of questions b, a"),
        ("[1.0]", "returned a list of 1 for 4 completions"),
        ("1.0", "returned 1.0 in place of 4 numbers"),
        ("'abcd'", "returned a str of 4 for 4 completions"),
        ("{}['x']", r"raised KeyError: 'x' \(<string>:1\), with questions b, a"),
        ("exit(0)", r"raised SystemExit: 0 .*with questions b, a"),
    ],
)
def test_a_reward_that_is_no_number_is_named(source: str, message: str) -> None:
    def own(completions: list[str], **_: Any) -> Any:
        return eval(source, {"n": len(completions)})

    watched = WatchedRewards([own])
    ids = ["b", "b", "a", "a"]
    rewards = watched.functions[0](completions=["x"] * 4, question_id=ids)
    assert watched.functions[0].__name__ == "own"
    with pytest.raises(TrainingError, match=message):
        watched.raise_faults(as_trl_has_them([rewards]), 7, ids)


def as_trl_has_them(rewards: list[list[float | None]]) -> torch.Tensor:
    """`(rollouts, functions)`, not a number where a reward does not apply."""
    return torch.tensor([[math.nan if r is None else r for r in column] for column in rewards]).T


def test_a_reward_need_not_apply_but_some_must() -> None:
    watched = WatchedRewards(
        [lambda completions, **_: [None, 1, None], lambda completions, **_: [0.5, 2, None]]
    )
    ids = ["a", "a", "b"]
    rewards = [function(completions=["x"] * 3, question_id=ids) for function in watched.functions]
    assert rewards == [[None, 1.0, None], [0.5, 2.0, None]]
    watched.raise_faults(as_trl_has_them(rewards)[:2], 4, ids[:2])
    with pytest.raises(
        TrainingError, match=r"no reward applies to 1 of 3 rollouts, of questions b \(at update 4\)"
    ):
        watched.raise_faults(as_trl_has_them(rewards), 4, ids)


def test_good_rewards_pass(recwarn: pytest.WarningsRecorder) -> None:
    def own(completions: list[str], **_: Any) -> Any:
        return torch.tensor([0.5, 1.0])

    watched = WatchedRewards([own, lambda completions, **_: (True, 2)])
    rewards = [function(completions=["x"] * 2, question_id=["a", "a"]) for function in watched.functions]
    assert rewards == [[0.5, 1.0], [1.0, 2.0]]
    watched.raise_faults(torch.tensor(rewards).T, 1, ["a", "a"])


def test_a_reward_of_none_ends_the_command_in_one_line(
    data: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text("def own(completions, **_):\n    return [None] * len(completions)\n")
    words = ["train", "grpo", "--out", str(tmp_path / "grpo"), "--init_from", str(tiny_model_folder)]
    words += ["--data.train", str(data / "train.jsonl"), "--rewards", f"{tmp_path / 'own.py'}:own"]
    words += ["--num_rollouts", "2", "--max_new_tokens", "2", "--device", "cpu", "--no_check_heard"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--model.dtype", "float32"])
    assert end.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("r1-aqa: error: no reward applies to 2 of 2 rollouts, of questions ")
    assert not list((tmp_path / "grpo").glob("checkpoint-*"))


# -- one process at a time --------------------------------------------------------------------------------


def test_a_second_training_in_the_folder_is_refused(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with sole_writer(tmp_path / "x", folder=True):
        for train, config in ((train_sft, SFTTrainConfig), (train_grpo, GRPOTrainConfig)):
            with pytest.raises(BusyError, match="is writing"):
                train(config(**settings(tmp_path / "x")))  # type: ignore[operator]
    assert not list((tmp_path / "x").iterdir())
