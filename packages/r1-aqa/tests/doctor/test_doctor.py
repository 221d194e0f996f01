"""The whole verb: what it prints, its JSON, its exit code; and the files of this package."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from r1_aqa.cli import main
from r1_aqa.doctor import doctor
from r1_aqa.doctor.doctor import _look_for
from r1_aqa.doctor.finding import Finding, set_aside
from r1_aqa.doctor.own import EXTRAS, look_at
from r1_aqa.doctor.sounds import sound_finding
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
    assert look_at(tmp_path)[0].command == f"mv {tmp_path} {tmp_path}.broken"
    (tmp_path / "config.json").unlink()
    (tmp_path / "adapter_config.json").unlink()
    assert look_at(tmp_path)[0].text == f"config.json is missing in {tmp_path}"


def test_a_folder_of_runs_and_one_of_sounds_are_looked_into(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("installation_findings", "decoder_findings"):
        monkeypatch.setattr(doctor, name, lambda *_: [])
    (tmp_path / "quickstart" / "sft").mkdir(parents=True)
    (tmp_path / "quickstart" / "sft" / "config.json").write_text("{")
    (tmp_path / "quickstart" / "sft" / "log.jsonl").write_text("")
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "a.wav", np.zeros(1600) + 0.1, 16_000)
    code, out, _ = run(str(tmp_path / "quickstart"), str(tmp_path / "sounds"))
    assert code == 1
    assert "sft: its settings cannot be read" in out
    assert "sounds: 1 sounds are there; the heads of 1 were read" in out


def test_a_finding_that_is_not_well_needs_a_command() -> None:
    with pytest.raises(ValueError, match="must name a command"):
        Finding("fault", "disk", "full")


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_settings_of_every_training_are_known(tmp_path: Path, kind: str) -> None:
    settings = {"out": "x", "data": {}} | ({"rewards": []} if kind == "grpo" else {"packing": False})
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert [one.kind for one in look_at(tmp_path)] == ["note"]
    (tmp_path / "config.json").write_text(json.dumps(settings | {"bridge_learning_rate": 1}))
    assert f"`r1-aqa train {kind}` has no setting bridge_learning_rate" in look_at(tmp_path)[0].text


def test_what_is_not_there_is_looked_for_where_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _look_for(Path("gone")) == "ls ."
    assert _look_for(tmp_path / "gone" / "x y") == f"ls {tmp_path}"
    assert _look_for(Path("/gone-from-here/x y")) == "find ~ -name 'x y'"


@pytest.mark.parametrize("content", [b"", b"plain text, no sound\n", b"\0" * 999])
def test_what_is_no_sound_cannot_be_converted(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(content)
    assert sound_finding(file).command == f"ls -l {file}"
    assert sound_finding(file).text.endswith("; fetch or record it again")
    assert sound_finding(Path("/dev/null")).command == "ls -l /dev/null"
    file.write_bytes(b"RIFF" + content)
    assert sound_finding(file).command.startswith("ffmpeg -i ")


def test_a_folder_is_put_aside_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert set_aside(Path("a b/")) == "mv 'a b' 'a b.broken'"
    assert set_aside(Path(".")) == f"mv {tmp_path} {tmp_path}.broken"
