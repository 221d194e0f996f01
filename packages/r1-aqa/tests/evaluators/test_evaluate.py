"""Evaluation: greedy, resumable, honest about what is missing; the scores of its own files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.data.readers import read_questions
from r1_aqa.evaluators.evaluate import evaluate, shuffle_choices
from r1_aqa.evaluators.predictions import read_predictions
from r1_aqa.models.heard import DeafModelError


def config(benchmark: Path, model: Path, out: Path, **changes: object) -> EvaluateConfig:
    settings = {"batch_size": 3, "max_new_tokens": 6, "device": "cpu", "shuffles": 2, "silent": True}
    return EvaluateConfig(data=str(benchmark), model=str(model), out=out, **settings | changes)  # type: ignore[arg-type]


def test_evaluation_answers_all_and_counts_a_bad_sound_as_wrong(
    benchmark: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    scores = evaluate(config(benchmark, tiny_model_folder, tmp_path))
    assert (scores["num_questions"], scores["num_missing"]) == (9, 1)
    assert set(scores["runs"]) == {"shuffle-1", "shuffle-2", "silent"}
    assert scores["shuffled"]["orders"] == 3
    assert scores["official_denominator"]["total"] == 8
    assert {"task"} <= set(scores["by"])
    rows = read_predictions(tmp_path / "predictions.jsonl")
    assert len(rows) == 4 * 9
    assert {row.id for row in rows if row.output is None} == {"bad"}
    assert all(row.error for row in rows if row.output is None)
    assert json.loads((tmp_path / "scores.json").read_text())["strict"] == scores["strict"]
    assert (tmp_path / "scores.png").stat().st_size > 5000


def test_a_killed_evaluation_goes_on_where_it_was(
    benchmark: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    whole = evaluate(config(benchmark, tiny_model_folder, tmp_path / "whole"))
    lines = (tmp_path / "whole" / "predictions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    part = tmp_path / "part" / "predictions.jsonl"
    part.parent.mkdir()
    marked = json.loads(lines[0]) | {"output": "kept as it was"}
    part.write_text(json.dumps(marked) + "\n" + "".join(lines[1:10]) + lines[10][:20], encoding="utf-8")
    resumed = evaluate(config(benchmark, tiny_model_folder, tmp_path / "part"))
    found = {(row.run, row.row): row.output for row in read_predictions(part)}
    assert found[marked["run"], marked["row"]] == "kept as it was"
    assert len(found) == 4 * 9
    assert resumed["num_questions"] == whole["num_questions"]


def test_another_run_does_not_mix_its_answers_in(
    benchmark: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    first = config(benchmark, tiny_model_folder, tmp_path, shuffles=0, silent=False)
    scores = evaluate(first)
    with pytest.raises(ValueError, match=r"prompt: answer -> choices.*give another --out"):
        evaluate(replace(first, prompt="choices"))
    assert evaluate(replace(first, batch_size=1))["strict"] == scores["strict"]


def test_shuffled_options_are_the_same_in_another_order(benchmark: Path) -> None:
    for row, question in enumerate(read_questions(benchmark)):
        shuffled = shuffle_choices(question, [0, 1, row])
        assert sorted(shuffled.choices) == sorted(question.choices)
        assert shuffled.choices != question.choices
        assert shuffled.answer == question.answer
        assert shuffle_choices(question, [0, 1, row]) == shuffled


def test_a_deaf_model_is_not_scored(benchmark: Path, deaf_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DeafModelError, match=r"the model does not hear: .* by 0 nats with other audio"):
        evaluate(config(benchmark, deaf_model_folder, tmp_path / "out"))
