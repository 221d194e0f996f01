"""The folder of a training, broken in every way that is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from r1_aqa.doctor.runs import is_run, run_findings
from r1_aqa.doctor.weights import weights_faults
from r1_aqa.lock import sole_writer
from safetensors.numpy import save_file

TRAIN = "r1-aqa train grpo"
KNOWN = ("out", "data", "model")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run with a best and a last model."""
    monkeypatch.chdir(tmp_path)
    folder = Path("run")
    for name in ("best", "last", "checkpoint-8"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
        save_file({"weight": np.ones(4, np.float32)}, folder / name / "model.safetensors")
    (folder / "checkpoint-8" / "trainer_state.json").write_text("{}")
    Path("m.jsonl").write_text("")
    (folder / "config.json").write_text(json.dumps({"out": "run", "data": {"train": ["m.jsonl"]}}))
    (folder / "log.jsonl").write_text('{"step": 7, "loss": 1.0}\n{"step": 8, "loss": 0.5}\n')
    (folder / "finished.json").write_text("{}")
    return folder


def faults(run: Path) -> list[tuple[str, str, str]]:
    return [(one.kind, one.text, one.command) for one in run_findings(run, TRAIN, KNOWN) if one.kind != "ok"]


def test_a_finished_run_is_well(run: Path) -> None:
    assert is_run(run)
    assert [one.line() for one in run_findings(run, TRAIN, KNOWN)] == [
        "ok     run          run is finished, after 8 updates"
    ]


def test_a_run_that_was_stopped_names_the_command_that_goes_on(run: Path) -> None:
    (run / "finished.json").unlink()
    [(kind, text, command)] = faults(run)
    assert kind == "note"
    assert "8 updates are logged; the same command goes on from checkpoint-8" in text
    assert command == "r1-aqa train grpo --config run/config.json"


@pytest.mark.parametrize("name", ["last.partial", "best.old", ".saving-3", "checkpoint-9"])
def test_what_a_kill_left_is_named(run: Path, name: str) -> None:
    (run / name).mkdir()
    [(kind, text, _)] = faults(run)
    assert kind == "note"
    assert f"a kill left {name} half-written" in text


def test_weights_that_are_cut_off_are_a_fault(run: Path) -> None:
    file = run / "best" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    [(kind, text, command)] = faults(run)
    assert (kind, command) == ("fault", "mv run/best run/best.broken")
    assert f"{file} is damaged or cut off" in text


def test_a_loss_that_was_not_finite_is_named_with_its_update(run: Path) -> None:
    (run / "log.jsonl").write_text('{"step": 7, "loss": 1.0}\n{"step": 8, "loss": null}\n')
    [(kind, text, command)] = faults(run)
    assert kind == "note"
    assert "loss was not finite at update 8" in text
    assert "--learning_rate" in command


def test_data_that_has_moved_is_named(run: Path) -> None:
    Path("m.jsonl").unlink()
    [(_, text, command)] = faults(run)
    assert "was trained on m.jsonl, which is not there" in text
    assert command.endswith("--data.train PATH")


def test_settings_that_cannot_be_read_are_a_fault(run: Path) -> None:
    (run / "config.json").write_text("{")
    assert is_run(run)
    [(kind, text, command)] = faults(run)
    assert (kind, command) == ("fault", "r1-aqa train grpo --help")
    assert "its settings cannot be read" in text


def test_a_run_in_progress_is_left_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sole_writer(run, folder=True):
        [finding] = run_findings(run, TRAIN, KNOWN)
    assert "is writing" in finding.text
    assert finding.command == "tail -f run/log.jsonl"


def test_a_part_that_the_index_of_weights_names_is_missed(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "model-1.safetensors")
    assert weights_faults(tmp_path) == [f"{tmp_path}/model-2.safetensors is missing"]


@pytest.mark.parametrize("weights", ["model", "adapter_model"])
def test_a_model_without_its_settings_is_a_fault(run: Path, weights: str) -> None:
    (run / "best" / "config.json").unlink()
    (run / "best" / "model.safetensors").rename(run / "best" / f"{weights}.safetensors")
    [(kind, text, command)] = faults(run)
    name = "config.json" if weights == "model" else "adapter_config.json"
    assert (kind, command) == ("fault", "mv run/best run/best.broken")
    assert text.startswith(f"{name} is missing in run/best")


def test_a_run_of_another_package_is_a_fault(run: Path) -> None:
    settings = {"out": "run", "data": {}, "bridge_learning_rate": 1.0}
    (run / "config.json").write_text(json.dumps(settings))
    [(kind, text, command)] = faults(run)
    assert (kind, command) == ("fault", "ls -l run")
    assert text == "run is no run of r1-aqa: `r1-aqa train grpo` has no setting bridge_learning_rate"
