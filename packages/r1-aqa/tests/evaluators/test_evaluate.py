"""Evaluation: greedy, resumable, honest about what is missing; the scores of its own files."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.readers import read_questions
from r1_aqa.evaluators.asking import shuffle_choices
from r1_aqa.evaluators.engines import TransformersEngine
from r1_aqa.evaluators.evaluate import evaluate, evaluate_verb
from r1_aqa.evaluators.predictions import read_predictions
from r1_aqa.models.heard import DeafModelError
from r1_aqa.models.prompt_cache import EncodedPrompts


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


def test_nothing_is_kept_of_questions_that_were_answered(
    benchmark: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = TransformersEngine.asked, list[EncodedPrompts]()

    def asked(self: TransformersEngine, questions: Sequence[Question], *, silent: bool) -> EncodedPrompts:
        made.append(make(self, questions, silent=silent))
        return made[-1]

    monkeypatch.setattr(TransformersEngine, "asked", asked)
    evaluate(config(benchmark, tiny_model_folder, tmp_path, shuffles=0))
    assert [prompts.held_bytes() for prompts in made] == [0, 0]  # as given, and silent


def test_a_question_beyond_the_models_context_ends_nothing(
    benchmark: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    _, asked, *others = read_questions(benchmark)
    data = tmp_path / "questions.jsonl"
    write_questions(data, [replace(asked, question="What? " * 20_000), *others])
    assert evaluate_verb(config(data, tiny_model_folder, tmp_path / "out", shuffles=0)) == 1
    errors = [
        row.error for row in read_predictions(tmp_path / "out" / "predictions.jsonl") if row.run == "given"
    ]
    assert errors[0] is not None
    assert errors[0].endswith("tokens without its sound, the model was made for 2048")
    assert not any(errors[1:])


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


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rows: good, with an outer space, of no option, of no sound, no JSON, and about a long sound."""
    folder, rng = tmp_path_factory.mktemp("mixed"), np.random.default_rng(0)
    soundfile.write(folder / "a.wav", rng.normal(0, 0.1, 16_000), 16_000)
    soundfile.write(folder / "long.wav", rng.normal(0, 0.1, 11 * 16_000), 16_000)
    row = {
        "id": "1",
        "audio_id": "./a.wav",
        "question": "Which?",
        "choices": ["dog", "tone"],
        "answer": "tone",
    }
    rows = [
        row | {"task": "sound", "source": "mine"},
        row | {"id": "2", "choices": ["dog", "tone "], "task": "music"},
        row | {"id": "3", "answer": "cat", "task": "music"},
        row | {"id": "4", "audio_id": []},
    ]
    last = row | {"id": "6", "audio_id": "long.wav", "choices": ["(A) dog", "(B) tone"], "source": "yours"}
    lines = [*map(json.dumps, rows), "{", json.dumps(last)]
    (folder / "mmau.jsonl").write_text("\n".join(lines))
    return folder / "mmau.jsonl"


def test_bad_rows_and_cuts_end_nothing_and_are_said(
    mixed: Path, tiny_model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = config(mixed, tiny_model_folder, tmp_path, shuffles=1, silent=False, by=("source",))
    with caplog.at_level("INFO", "r1_aqa"):
        assert evaluate_verb(asked) == 1
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["num_questions"], scores["num_missing"]) == (6, 3)
    assert [row.partition(": ")[0].rpartition(":")[2] for row in scores["bad_rows"]] == ["3", "4", "5"]
    assert "names no sound" in scores["bad_rows"][1]
    assert (scores["num_cut"], scores["num_truncated"], scores["letters_taken_off"]) == (1, 3, 1)
    assert scores["num_unreadable"] == 0
    assert {name: group["total"] for name, group in scores["by"]["source"].items()} == {"mine": 1, "yours": 1}
    assert scores["by"]["task"]["music"]["total"] == 2
    rows = {row.id: row for row in read_predictions(tmp_path / "predictions.jsonl") if row.run == "given"}
    assert [rows[name].cut for name in ("1", "2", "6")] == [False, False, True]
    assert "is not one of the choices" in (rows["3"].error or "")
    said = "\n".join(caplog.messages)
    assert "3 rows of" in said
    assert "count as wrong (--bad_rows skip leaves them out)" in said
    # The tiny model's encoder takes 4 s.
    assert "only their first 4 s are heard, of up to 11.0 s (--sound.too_long windows" in said
    assert "3 of 6 answers were ended after 6 tokens (--max_new_tokens)" in said
    submitted = json.loads((tmp_path / "submission.json").read_text())
    assert [row["id"] for row in submitted] == ["1", "2", "3", "4", "6"]


def test_bad_rows_are_left_out_on_request(mixed: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    asked = config(mixed, tiny_model_folder, tmp_path, shuffles=0, silent=False, bad_rows="skip", limit=2)
    scores = evaluate(asked)
    assert (scores["num_questions"], scores["num_missing"], scores["num_in_file"]) == (2, 0, 3)
    assert len(scores["bad_rows"]) == 3


def test_a_long_sound_is_asked_about_window_by_window(
    mixed: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    asked = config(mixed, tiny_model_folder, tmp_path, shuffles=0, silent=False, bad_rows="skip")
    scores = evaluate(replace(asked, sound=SoundConfig(too_long="windows")))
    assert (scores["num_cut"], scores["num_windowed"]) == (0, 1)
    rows = {row.id: row for row in read_predictions(tmp_path / "predictions.jsonl")}
    assert len(rows["6"].windows) == 3
    assert rows["6"].output in rows["6"].windows
    assert rows["1"].windows == ()


def test_a_column_that_is_not_there_is_refused(mixed: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no question has the column 'sauce'; further columns: source"):
        evaluate(config(mixed, tiny_model_folder, tmp_path, by=("sauce",)))
