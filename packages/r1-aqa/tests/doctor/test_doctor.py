"""The whole verb: what it prints, its JSON, its exit code; and the files of this package."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from r1_aqa.cli import main
from r1_aqa.doctor import doctor
from r1_aqa.doctor.finding import Finding
from r1_aqa.doctor.own import EXTRAS, look_at
from safetensors.numpy import save_file

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(["doctor", "--offline", *words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600) + 0.1, 16_000)
    row = {"id": "1", "audio": "a.wav", "question": "What?", "choices": ["x", "y"], "answer": "x"}
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return path


def test_each_line_that_is_not_well_ends_in_a_command(run: Run, questions: Path, tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"<html>")
    named = [str(questions), str(tmp_path / "nowhere"), str(tmp_path / "b.wav")]
    code, out, _ = run(*named, "--json", str(tmp_path / "d.json"))
    *lines, last = out.splitlines()
    assert code == 1
    assert last.startswith("2 faults")
    for line in lines:
        assert (line.split()[0] in ("note", "fault")) == (" -> " in line), line
    found = json.loads((tmp_path / "d.json").read_text())
    assert [Finding(**one).line() for one in found["findings"]] == lines
    subjects = {one["subject"] for one in found["findings"]}
    assert subjects >= {"r1-aqa", "packages", "extra", "processor", "GPU", "disk", "decoder", "hub"}
    assert "there is no file or folder" in out
    assert "b.wav" in out


def test_json_alone_is_on_standard_output(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda config: [Finding("note", "disk", "full", "rm x")])
    code, out, err = run("--json", "-")
    assert json.loads(out)["findings"][0]["command"] == "rm x"
    assert err == "note   disk         full -> rm x\n0 faults, 1 notes\n"
    assert code == 0


def test_every_extra_is_known() -> None:
    from importlib.metadata import metadata

    assert set(metadata("r1-aqa").get_all("Provides-Extra") or ()) == set(EXTRAS)


def test_questions_that_cannot_be_used_are_counted(questions: Path) -> None:
    assert [one.kind for one in look_at(questions)] == ["ok", "ok"]
    row = json.loads(questions.read_text())
    rows = [row, row | {"audio": "gone.wav"}, row | {"question": ""}]
    questions.write_text("".join(json.dumps(one) + "\n" for one in rows))
    lines = [one.line() for one in look_at(questions)]
    assert "1 of 3 rows cannot be used, the first:" in lines[0]
    assert "1 of 2 sounds are missing" in lines[2]
    assert lines[0].endswith("q.checked.jsonl")
    questions.with_name("a.wav").write_bytes(b"<html>no sound")
    assert any("sounds cannot be read" in one.text for one in look_at(questions))


def test_a_model_is_whole_or_not(tmp_path: Path) -> None:
    assert "neither a model nor a run" in look_at(tmp_path)[0].text
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_audio"}')
    assert "no weights as safetensors" in look_at(tmp_path)[0].text
    save_file({"a": np.ones(4, np.float32)}, tmp_path / "model.safetensors")
    assert look_at(tmp_path)[0].text.endswith("whole, a qwen2_audio of transformers")
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/gone/base"}')
    assert "its base model /gone/base is not there" in look_at(tmp_path)[0].text
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert look_at(tmp_path)[0].command.startswith("rm -r")


def test_a_finding_that_is_not_well_needs_a_command() -> None:
    with pytest.raises(ValueError, match="must name a command"):
        Finding("fault", "disk", "full")
