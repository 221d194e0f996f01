"""The command line: quick help, settings from flags and YAML, one clear line for a mistake."""

import io
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
from r1_aqa import cli
from r1_aqa.command_line import leave_processes
from r1_aqa.config.answer import AnswerConfig
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.train import GRPOTrainConfig

COMMANDS = [["train"], ["prepare"], *(verb.name.split() for verb in cli.VERBS)]


def read(*words: str) -> object:
    return cli.read(words)


def run(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "r1_aqa", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_help_comes_without_torch() -> None:
    script = f"""
import contextlib, io, sys
from r1_aqa.cli import main
for words in {[[], *COMMANDS]!r}:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    assert "usage: r1-aqa" in text.getvalue(), words
heavy = {{"torch", "transformers", "trl", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("verb", cli.VERBS, ids=lambda verb: verb.name)
def test_every_setting_has_a_help_text(verb: cli.Verb) -> None:
    assert [name for name, text in verb.options.helps.items() if not text] == []


@pytest.mark.parametrize("verb", cli.VERBS, ids=lambda verb: verb.name)
def test_every_verb_names_a_function_and_its_words(verb: cli.Verb) -> None:
    module, _, name = verb.function.partition(":")
    assert callable(getattr(import_module(module), name))
    assert set(verb.positional) <= set(verb.settings.__dataclass_fields__)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("train grpo --num_generations 4", "did you mean --num_rollouts?"),
        ("train grpo --model x", "did you mean --init_from?"),
        ("train sft --output_dir x", "did you mean --out?"),
        ("evaluate mmar --out x --init_from y", "did you mean --model?"),
        (
            "evaluate mmau-mini --out x --model a/b",
            "did you mean mmau-test-mini?; known benchmarks: mmau-test-mini",
        ),
        ("evaluate mmar --out x --model small-grpo", "did you mean runs/small-grpo?"),
        ("evaluate mmar --out x --model runs/small-gpro", "did you mean runs/small-grpo?"),
    ],
)
def test_names_of_elsewhere_and_slips_are_helped(words: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "runs" / "small-grpo").mkdir(parents=True)
    done = run(*words.split(), folder=tmp_path)
    assert done.returncode == 2
    assert hint in done.stderr


def test_flags_reach_nested_settings(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "data: {train: [a.jsonl]}\nout: runs/x\ninit_from: m\nlearning_rate: 2e-5\nmodel: {dtype: float32}\n"
    )
    found = read(
        "train",
        "grpo",
        "--config",
        str(tmp_path / "c.yaml"),
        "--model.lora.rank",
        "4",
        "--rewards",
        "accuracy",
        "my.py:bonus",
        "--no_check_heard",
    )
    assert isinstance(found, GRPOTrainConfig)
    assert (found.learning_rate, found.model.dtype, found.model.lora.rank) == (2e-5, "float32", 4)
    assert (found.rewards, found.check_heard) == (("accuracy", "my.py:bonus"), False)


def test_words_without_flags() -> None:
    asked = read("answer", "a.wav", "What is heard?", "--choices", "a dog", "rain", "--model", "m")
    assert isinstance(asked, AnswerConfig)
    assert (asked.audio, asked.question, asked.choices) == (
        Path("a.wav"),
        "What is heard?",
        ("a dog", "rain"),
    )
    scored = read("evaluate", "mmar", "--model", "m", "--out", "o", "--silent", "--shuffles", "2")
    assert isinstance(scored, EvaluateConfig)
    assert (scored.data, scored.silent, scored.shuffles) == ("mmar", True, 2)


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["evaluate", "--data", "mmar"], ["evaluate", "mmar"]),
        (["answer", "--question", "What?", "--audio", "a.wav"], ["answer", "a.wav", "What?"]),
        (["answer", "--question", "What?", "a.wav"], ["answer", "a.wav", "What?"]),
        (["prepare", "avqa", "--source", "q.json"], ["prepare", "avqa", "q.json"]),
    ],
)
def test_what_needs_no_flag_may_have_one(words: list[str], same: list[str]) -> None:
    needed = {"evaluate": ["--model", "m", "--out", "o"], "prepare": ["--audio", "a", "--out", "o"]}
    rest = needed.get(words[0], [])
    assert read(*words, *rest) == read(*same, *rest)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [
                "train",
                "grpo",
                "--data.train",
                "q.jsonl",
                "--init_from",
                "m",
                "--out",
                "o",
                "--num_rollouts",
                "1",
            ],
            "at least 2 to compare",
        ),
        (
            ["train", "sft", "--data.train", "none.jsonl", "--init_from", "m", "--out", "o"],
            "there is no file none.jsonl",
        ),
        (["answer", "none.wav", "What?"], "there is no file none.wav"),
        (["evaluate", "none.json", "--model", "m", "--out", "o"], "known benchmarks: mmau-test-mini"),
        (
            ["evaluate", "--model", "m", "--out", "o", "--data", "none.json"],
            "there is no file none.json",
        ),
        (["evaluate", "--model", "m", "--out", "o", "--data"], "--data"),
        (["rollouts", "nowhere"], "there is no folder nowhere"),
        (
            ["prepare", "avqa", "/dev/null", "--audio", "nowhere", "--out", "o.jsonl"],
            "there is no folder nowhere",
        ),
        (["dance"], "dance"),
    ],
)
def test_a_mistake_is_told_in_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    result = run(*words, folder=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run in this process a command that must fail, and return its line."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    line = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert line.startswith("r1-aqa: error: ")
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"null", ":1: cannot be read: expected a JSON object, got NoneType"),
        (b'{"audio": "a.wav", "question": null}', ":1: cannot be read: question: expected text"),
        (
            b'{"audio": ["a.wav", "b.wav"], "question": "?"}',
            ":1: missing",
        ),
        (b"", "has no questions"),
        (b"\x89PNG\r\n", ":1: cannot be read: not UTF-8 text (invalid start byte at byte 0)"),
        (b"RIFF\0\0\0\0WAVE", "not text: byte 4 is 0"),
        (b"[1, 2]", "item 0: cannot be read: expected a JSON object, got int"),
    ],
)
def test_malformed_questions_are_named(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "q.jsonl").write_bytes(content)
    line = refused(capsys, "prepare", "questions", tmp_path / "q.jsonl", "--out", tmp_path / "o.jsonl")
    assert message in line
    assert "q.jsonl" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "1", "output": 5}', "p.jsonl:1: output: expected text, got 5"),
        (b'{"id": "1", "output": ["a"]}', "p.jsonl:1: output: expected text"),
        (b'{"id": "2", "output": "a"}', "answers none of the 1 questions"),
        (b"", "no row has an answer"),
        (b"\xff\xfea", "not text in UTF-16"),
        (b"\x80", "p.jsonl:1: not UTF-8 text"),
    ],
)
def test_malformed_predictions_are_named(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "q.jsonl").write_text('{"id": "1", "audio": "a.wav", "question": "What?"}')
    (tmp_path / "p.jsonl").write_bytes(content)
    assert message in refused(capsys, "score", tmp_path / "p.jsonl", "--data", tmp_path / "q.jsonl")


def test_a_place_that_is_of_the_wrong_kind_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"id": "1", "audio": "a.wav", "question": "What?"}')
    assert "output needs a file" in refused(capsys, "prepare", "questions", questions, "--out", tmp_path)
    assert "a file is needed" in refused(capsys, "score", tmp_path, "--data", questions)
    assert "is a file" in refused(
        capsys, "evaluate", questions, "--model", questions, "--out", tmp_path / "o"
    )
    (tmp_path / "model").mkdir()
    model = f"{tmp_path}/model"
    assert "is no model" in refused(capsys, "evaluate", questions, "--model", model, "--out", tmp_path / "o")
    assert "both -" in refused(capsys, "score", "-", "--data", "-")


def test_lines_come_from_and_go_to_the_standard_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav"):
        soundfile.write(name, np.random.default_rng(0).normal(0, 0.1, 8_000), 16_000)
    rows = [{"id": name, "audio": f"{name}.wav", "question": "What?", "answer": "rain"} for name in "abc"]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    with pytest.raises(SystemExit) as stop:
        cli.main(["prepare", "questions", "-", "--out", "-"])
    printed = capsys.readouterr()
    assert stop.value.code == 1  # the third recording is missing
    assert [json.loads(line)["id"] for line in printed.out.splitlines()] == ["a", "b"]
    assert "1 skipped, the sound is not there: -:3; check the path" in printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.wav"]

    answers = "".join(json.dumps({"id": name, "output": "rain"}) + "\n" for name in "ab").encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(answers)))
    Path("q.jsonl").write_text(printed.out)
    cli.main(["score", "-", "--data", "q.jsonl", "--json", "-"])
    assert json.loads(capsys.readouterr().out)["num_missing"] == 0


def test_where_the_hub_can_be_asked_libraries_warn_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    result = run("answer", "none.wav", "What?", folder=tmp_path)
    assert result.stderr == "r1-aqa: error: there is no file none.wav\n"


def test_names_of_the_package_are_there() -> None:
    import r1_aqa

    assert all(getattr(r1_aqa, name) for name in r1_aqa.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Answers'"):
        _ = r1_aqa.Answers


def test_the_process_group_is_left_before_the_process_ends(tmp_path: Path) -> None:
    from torch import distributed

    leave_processes()  # of none, nothing happens
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    leave_processes()
    assert not distributed.is_initialized()
