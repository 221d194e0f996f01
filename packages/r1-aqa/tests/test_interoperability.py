"""What docs/interoperability.md says of r1-aqa, run; and its blocks for `datasets` that aac-llm lacks."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from interoperability_kit import blocks, run_blocks
from r1_aqa import cli
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.trainers.rollouts import RolloutLog


def test_every_block_of_the_page_runs(
    tiny_model_folder: Path,
    ask_about_scenes: Callable[[Path, Iterable[int]], list[Question]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    quickstart = Path("runs/quickstart-r1-aqa")
    (quickstart / "data").mkdir(parents=True)
    write_questions(quickstart / "data" / "sft.jsonl", ask_about_scenes(quickstart / "data", range(2)))
    shutil.copytree(tiny_model_folder, quickstart / "sft" / "last")
    words = [
        "--model",
        str(quickstart / "sft"),
        "--out",
        str(quickstart / "scores" / "grpo"),
        "--shuffles",
        "1",
    ]
    words += ["--max_new_tokens", "4", "--check_heard", "false"]
    assert not cli.main(["evaluate", str(quickstart / "data" / "sft.jsonl"), *words])
    log = RolloutLog(quickstart / "grpo" / "rollouts")
    for step in (1, 2):
        row = {"prompt": "What?", "completion": "a dog", "rewards": {"accuracy": 1.0, "format": None}}
        log.append(step, [row, row | {"rewards": {"accuracy": 0.0, "format": 1.0}}])
    assert run_blocks("r1-aqa", cli.main) == []
    assert (Path("runs/merged") / "README.md").is_file()


def test_captions_open_in_datasets_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # aac-llm's own environment has no `datasets`: its block is run here, on rows as it writes them.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [
        {
            "id": "a.wav",
            "audio": "a.wav",
            "caption": "rain",
            "candidates": [{"caption": "rain", "score": -0.4}],
        },
        {"id": "b.wav", "audio": None, "caption": "wind", "start": 0.0, "end": 2.5, "unfinished": True},
    ]
    Path("runs/quickstart-aac-llm").mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    Path("runs/quickstart-aac-llm/captions.jsonl").write_text(lines)
    (text,) = [text for _, text in blocks("aac-llm", ("python",)) if "load_dataset" in text]
    exec(compile(text, "docs/interoperability.md", "exec"), {})
