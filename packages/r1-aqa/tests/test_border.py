"""What comes from outside: odd rows and sounds, names that move a cursor, hostile models, two writers."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from r1_aqa.answering.answer import Answer
from r1_aqa.cli import main
from r1_aqa.data.benchmark import load_benchmark
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.evaluators.charts import plot_scores
from r1_aqa.evaluators.predictions import read_predictions
from r1_aqa.evaluators.report import print_scores
from r1_aqa.lock import sole_writer
from r1_aqa.models.audio_llm import load_audio_llm
from r1_aqa.models.checkpoint import load_adapters, read_adapter_base
from r1_aqa.models.lora import lora_config
from r1_aqa.rewards.rewards import load_rewards
from r1_aqa.trainers.rollout_page import link
from safetensors.torch import load_file, save_file


def run(*words: object) -> int:
    """Return the exit code of a command."""
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, ask_about_scenes: Callable[..., list[Question]]) -> Path:
    """Good rows, one of them about a sound whose channels cancel, and rows that cannot be used."""
    folder = tmp_path_factory.mktemp("odd")
    good = [json.loads(line) for line in _lines(folder, ask_about_scenes(folder, range(2), seconds=2.5))]
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * 16_000)
    soundfile.write(folder / "cancels.wav", np.stack([samples, -samples], 1), 16_000)
    soundfile.write(folder / "tiny.wav", samples[:800], 16_000)
    latin = os.fsdecode(b"latin-\xe9.wav")
    soundfile.write(os.fsencode(folder / latin), samples, 16_000)
    (folder / "x.raw").write_bytes(b"\0" * 999)
    os.mkfifo(folder / "fifo.wav")
    usable = ["cancels.wav", latin, "tiny.wav"]
    unusable = ["x.raw", "fifo.wav", ".", "/", "a\0.wav", "n" * 5000 + ".wav", "half-\ud800.wav", "é" * 200]
    rows = [*good, *(good[0] | {"id": f"odd {n}", "audio": a} for n, a in enumerate([*usable, *unusable]))]
    rows.append(good[0] | {"id": "half", "question": "What is \udc80?"})
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "q.jsonl"


def _lines(folder: Path, questions: list[Question]) -> list[str]:
    write_questions(folder / "good.jsonl", questions)
    return (folder / "good.jsonl").read_text(encoding="utf-8").splitlines()


NUM_GOOD, NUM_BAD = 7, 9


def test_odd_rows_are_listed_by_evaluate(
    odd: Path, tiny_model_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", odd, "--model", tiny_model_folder, "--out", tmp_path / "e", "--max_new_tokens", 2]
    assert run(*words, "--device", "cpu") == 1
    rows = read_predictions(tmp_path / "e" / "predictions.jsonl")
    assert [row.row for row in rows] == list(range(NUM_GOOD + NUM_BAD))
    assert [row.output is None for row in rows] == [False] * NUM_GOOD + [True] * NUM_BAD
    assert all(row.error for row in rows[NUM_GOOD:])
    scores = json.loads((tmp_path / "e" / "scores.json").read_text())
    assert scores["num_missing"] == NUM_BAD
    assert any("cancels.wav: " in text for text in scores["complaints"])
    # Wherever it was killed, the same command ends with the same file.
    file = tmp_path / "e" / "predictions.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 3])
    (tmp_path / "e" / ".scores.json.1.tmp").touch()
    assert run(*words, "--device", "cpu") == 1
    assert file.read_bytes() == whole
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == [
        *("config.json", "disagreements.jsonl", "predictions.jsonl", "scores.json", "scores.png")
    ]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("more", [(), ("--no_check_sound",)])
def test_odd_rows_are_listed_by_prepare(
    odd: Path, tmp_path: Path, more: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".p.report.json.12.tmp").touch()
    assert run("prepare", "questions", odd, "--out", tmp_path / "p.jsonl", *more) == 1
    report = json.loads((tmp_path / "p.report.json").read_text())
    assert (report["kept"], sum(report["skipped"].values())) == (NUM_GOOD, NUM_BAD)
    if not more:
        assert {"cancels"} == {row["kind"] for row in report["problems"] if not row["is_left_out"]}
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith((".tmp", ".lock"))]
    assert "Traceback" not in capfd.readouterr().err


def test_one_process_at_a_time_writes(
    odd: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": "0-0", "run": "given", "output": "x"}\n')
    out, file = tmp_path / "out", tmp_path / "out.json"
    model = ["--model", tiny_model_folder, "--device", "cpu"]
    with sole_writer(out, folder=True), sole_writer(file):
        for words in (
            ["evaluate", odd, *model, "--out", out],
            ["score", tmp_path / "p.jsonl", "--data", odd, "--out", out],
            ["merge", tiny_model_folder, "--out", out],
            ["quickstart", "--out", out],
            ["prepare", "questions", odd, "--out", file],
            ["answer", odd.parent / "cancels.wav", "What?", *model, "--json", file],
        ):
            assert run(*words) == 2
            assert "is writing" in capsys.readouterr().err


def test_limits_of_decoding_are_settings(
    odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prepare", "questions", odd, "--out", tmp_path / "p.jsonl"]
    assert run(*words, "--decode_seconds", 0) == 2
    assert "decode_seconds must be above 0" in capsys.readouterr().err
    assert run(*words, "--decode_megabytes", 1) == 2
    assert "decode_megabytes must be at least 64" in capsys.readouterr().err


# -- what is printed and linked ---------------------------------------------------------------------------


def test_names_and_answers_do_not_move_the_cursor(
    odd: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wild = "\x1b[2J[red]$x^$\u202e"
    monkeypatch.setattr("r1_aqa.answering.answerer.parse_answer", lambda *_: Answer(wild, None, None, wild))
    words = ["answer", odd.parent / "cancels.wav", "What?", "--model", tiny_model_folder, "--device", "cpu"]
    assert run(*words, "--max_new_tokens", 1) == 0
    assert "\\x1b[2J[red]$x^$\\u202e\n" in capsys.readouterr().out
    group = {"strict": 0.5, "official": 0.5, "total": 2, "low": 0.4, "high": 0.6}
    interval = {"value": 0.5, "low": 0.4, "high": 0.6}
    scores: dict[str, Any] = {"num_questions": 2, "num_missing": 0, "chance": 0.5, "first_option": 0.5}
    scores |= {
        "strict": interval,
        "official": interval,
        "by": {wild: {wild: group}},
        "benchmark": wild,
        "num_disagreements": 0,
        "harnesses": {},
    }
    print_scores(scores)
    plot_scores(scores, tmp_path / "s.png")
    printed = capsys.readouterr().out
    assert printed.count("[red]") == 3
    assert "\x1b" not in printed


def test_a_link_leads_to_the_file_whatever_its_name(tmp_path: Path) -> None:
    names = {
        "a #1?.wav": "a%20%231%3F.wav",
        "50%.wav": "50%25.wav",
        'x"y:z.wav': "x%22y%3Az.wav",
        os.fsdecode(b"\xe9.wav"): "%E9.wav",
    }
    for name, quoted in names.items():
        assert link(tmp_path / "s" / name, tmp_path / "pages" / "r.html") == f"../s/{quoted}"
        assert link(tmp_path / name, tmp_path / "r.html") == quoted


# -- models and data of the hub ---------------------------------------------------------------------------


def test_a_benchmark_is_pinned_and_only_what_is_needed_is_fetched(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def download(name: str, **given: Any) -> str:
        asked.update(given, name=name)
        (odd.parent / "MMAR-meta.jsonl").write_bytes(odd.read_bytes())
        return str(odd.parent)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert len(load_benchmark("mmar@v1").questions) == NUM_GOOD + NUM_BAD
    assert (asked["name"], asked["revision"], asked["repo_type"]) == ("BoJack/MMAR", "v1", "dataset")
    assert set(asked["allow_patterns"]) == {"MMAR-meta.json", "MMAR-meta.jsonl", "*.tar.gz", "README.md"}
    load_benchmark("mmar")
    assert asked["revision"] is None


def test_a_model_is_pinned_and_its_adapters_name_it_so(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(name: str, **given: Any) -> str:
        asked.append((name, given["revision"], given["allow_patterns"]))
        return str(tiny_model_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("r1_aqa.models.audio_llm.read_adapter_base", lambda source: None)
    llm = load_audio_llm("some/model@abc")
    assert {(name, revision) for name, revision, _ in asked} == {("some/model", "abc")}
    assert not any("*.bin" in pattern for _, _, patterns in asked for pattern in patterns)
    from peft import get_peft_model
    from r1_aqa.config.model import ModelConfig

    adapted = get_peft_model(llm.model, lora_config(llm, ModelConfig()))  # type: ignore[arg-type]
    adapted.save_pretrained(tmp_path)
    assert read_adapter_base(str(tmp_path)) == "some/model@abc"
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | {"r": 1_000_000}))
    with pytest.raises(ValueError, match=r"adapter_config\.json: r is 1000000, the adapters' rank is 8"):
        load_adapters(load_audio_llm(tiny_model_folder).model, str(tmp_path))


def copied(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def deep(path: tuple[str, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(settings: dict[str, Any]) -> None:
        for name in path[:-1]:
            settings = settings[name]
        settings[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "config.json",
            deep(("audio_config", "encoder_layers"), 10**6),
            "audio_config.encoder_layers is 1000000",
        ),
        ("config.json", deep(("audio_config", "num_mel_bins"), 10**99), "num_mel_bins"),
        ("config.json", deep(("audio_config", "encoder_layers"), "12"), "cannot be loaded"),
        ("config.json", deep(("audio_config", "encoder_attention_heads"), 0), "cannot be loaded"),
        (
            "config.json",
            deep(("text_config", "hidden_size"), -1),
            "text_config.hidden_size is -1, which is no size",
        ),
        ("config.json", b"[]", "config.json: expected a JSON object"),
        ("config.json", b'{"a":' * 999, "config.json: not JSON that can be read: nested deeper"),
        ("tokenizer.json", b"null", "tokenizer.json: expected a JSON object"),
        ("tokenizer.json", b"{}", "cannot be loaded"),
        ("generation_config.json", b'{"x": NaN}', "generation_config.json: not JSON that can be read: NaN"),
        ("processor_config.json", b"\xff", "processor_config.json: not UTF-8 text"),
        ("preprocessor_config.json", b'{"n_fft": 10000000}', "n_fft is 10000000"),
        ("processor_config.json", b'{"feature_extractor": {"n_fft": 10000000}}', "n_fft is 10000000"),
        ("model.safetensors", b"\x10", "model.safetensors"),
        ("model.safetensors", 3, "the weights lack 3 tensors"),
        ("model.safetensors", "whole", "its numbers are I32, expected fractions"),
    ],
)
def test_a_hostile_model_is_refused_in_one_line(
    tiny_model_folder: Path,
    odd: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    change: Any,
    message: str,
) -> None:
    folder = copied(tiny_model_folder, tmp_path / "m")
    if isinstance(change, int | str):
        tensors = load_file(folder / file)
        if change == "whole":
            tensors = {name: value.view(torch.int32) for name, value in tensors.items()}
        kept = list(tensors.items())[change if isinstance(change, int) else 0 :]
        save_file(dict(kept), folder / file, {"format": "pt"})
    elif isinstance(change, bytes):
        (folder / file).write_bytes(change)
    else:
        settings = json.loads((folder / file).read_text())
        change(settings)
        (folder / file).write_text(json.dumps(settings))
    assert run("answer", odd.parent / "cancels.wav", "What?", "--model", folder, "--device", "cpu") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert message in line
    assert str(folder) in line


def test_a_file_of_rewards_that_does_not_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def own(:\n")
    with pytest.raises(ValueError, match=r"rewards: .*own\.py cannot be run: SyntaxError"):
        load_rewards([f"{tmp_path / 'own.py'}:own"])
