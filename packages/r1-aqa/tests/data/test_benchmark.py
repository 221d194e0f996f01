"""Benchmarks: their audio in another folder, their splits, their names."""

import json
from pathlib import Path

import pytest
from r1_aqa.data.benchmark import load_benchmark


def test_sounds_are_found_in_another_folder(benchmark: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in benchmark.read_text(encoding="utf-8").splitlines()]
    moved = tmp_path / "questions.jsonl"
    moved.write_text("".join(json.dumps(row | {"audio": f"gone/{row['audio']}"}) + "\n" for row in rows))
    with pytest.raises(FileNotFoundError, match=r"no audio of .* give --audio"):
        load_benchmark(str(moved))
    found = load_benchmark(str(moved), benchmark.parent, limit=2)
    assert len(found.questions) == 2
    assert all(question.audio.is_file() for question in found.questions)


def test_an_unknown_benchmark_names_the_known_ones() -> None:
    with pytest.raises(FileNotFoundError, match="known benchmarks: mmau-test-mini, mmau-test, mmar"):
        load_benchmark("mmau")


def test_one_split_of_a_benchmark_is_asked(tmp_path: Path) -> None:
    rows = [{"id": str(i), "audio": "a.wav", "question": "?", "split": s} for i, s in enumerate("aab")]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.wav").touch()
    found = load_benchmark(str(tmp_path / "q.jsonl"), split="a")
    assert [question.id for question in found.questions] == ["0", "1"]
    with pytest.raises(ValueError, match="has no questions of split c"):
        load_benchmark(str(tmp_path / "q.jsonl"), split="c")
