"""The command line: quick help, settings from flags and YAML, one clear line for a mistake."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
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
