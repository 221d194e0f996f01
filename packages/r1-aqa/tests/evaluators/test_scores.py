"""Scores: those that the official scripts print, and those of every question."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from r1_aqa.config.score import ScoreConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.evaluators.scores import (
    Accuracy,
    break_down,
    chance,
    compare,
    first_option,
    overall,
    score,
    score_outputs,
    score_verb,
)
from r1_aqa.rewards.verdicts import official_match

OFFICIAL = {
    "mmau": {"task_metrics": "task", "diff_metrics": "difficulty", "subcat_metrics": "sub_category"},
    "mmar": {
        "modality_metrics": "modality",
        "category_metrics": "category",
        "subcat_metrics": "sub_category",
    },
}


def official_verdicts(questions: list[Question], outputs: list[str | None]) -> list[bool | None]:
    return [
        None if output is None else official_match(q.answer or "", output, q.choices)
        for q, output in zip(questions, outputs, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "file", "key"),
    [
        ("mmau", "mmau_items.json", "model_output"),
        ("mmar", "mmar_items.jsonl", "answer_prediction"),
    ],
)
def test_aggregates_are_the_official_ones(shared: Path, name: str, file: str, key: str) -> None:
    folder = shared / "golden" / "mmau"
    text = (folder / file).read_text(encoding="utf-8")
    rows = (
        json.loads(text) if file.endswith("json") else [json.loads(line) for line in text.split("\n") if line]
    )
    questions = read_questions(folder / file)
    verdicts = official_verdicts(questions, [row.get(key) for row in rows])
    golden = json.loads((folder / f"{name}_aggregates.json").read_text(encoding="utf-8"))
    whole = overall(verdicts, count_missing=False)
    assert (whole.correct, whole.total) == (golden["correct"], golden["total"])
    for metric, field in OFFICIAL[name].items():
        found = break_down(questions, verdicts, field, count_missing=False)
        assert set(found) == set(golden[metric])
        for group, expected in golden[metric].items():
            assert 100 * found[group].share == pytest.approx(expected["accuracy"], abs=1e-9)
            assert found[group].total == expected["total"]


def test_a_missing_prediction_is_wrong_unless_counted_officially() -> None:
    assert overall([True, None, False]) == Accuracy(1, 3)
    assert overall([True, None, False], count_missing=False) == Accuracy(1, 2)


def test_baselines_need_no_model() -> None:
    questions = [
        Question(id="1", audio=Path("a"), question="?", choices=("x", "y"), answer="x"),
        Question(id="2", audio=Path("a"), question="?", choices=("x", "y", "z", "w"), answer="w"),
        Question(id="3", audio=Path("a"), question="?", choices=("x", "y")),
    ]
    assert first_option(questions) == Accuracy(1, 2)
    assert chance(questions) == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_official_files_are_scored(tmp_path: Path) -> None:
    items = [
        {
            "id": str(i),
            "audio_id": f"./{i}.wav",
            "question": "?",
            "choices": ["a dog", "a cat"],
            "answer": "a dog",
            "task": "sound",
            "difficulty": "easy",
            "category": "c",
            "sub-category": "s",
        }
        for i in range(4)
    ]
    (tmp_path / "mini.json").write_text(json.dumps(items))
    answers = ["a dog", "<answer>a cat</answer>", "not a dog", None]
    filled = [i | ({} if a is None else {"model_prediction": a}) for i, a in zip(items, answers, strict=True)]
    (tmp_path / "out.json").write_text(json.dumps(filled))
    found = score(
        ScoreConfig(
            predictions=tmp_path / "out.json",
            data=tmp_path / "mini.json",
            out=tmp_path / "scores",
            versus=tmp_path / "out.json",
        )
    )
    assert found["strict"]["value"] == 1 / 4
    assert found["official"]["value"] == 2 / 4
    assert found["official_denominator"] == {"correct": 2, "total": 3}
    assert found["first_option"] == 1.0
    assert found["versus"]["p_value"] == 1.0
    submitted = json.loads((tmp_path / "scores" / "submission.json").read_text())
    assert [row["model_output"] for row in submitted] == ["a dog", "a cat", "not a dog", ""]
    assert submitted[0]["question"] == "?"


def test_a_benchmark_without_answers_gives_a_submission_alone(tmp_path: Path) -> None:
    question = Question(id="1", audio=Path("a.wav"), question="?", choices=("a", "b"))
    assert score_outputs([question], ["a"]) == {"num_questions": 1, "num_missing": 0, "hidden": True}


def test_two_models_are_compared_question_by_question() -> None:
    question = Question(id="1", audio=Path("a.wav"), question="?", choices=("a", "b"), answer="a")
    found = compare([question] * 6, ["a"] * 6, ["b"] * 6)
    assert (found["first"], found["second"], found["first_only"]) == (1.0, 0.0, 6)
    assert found["p_value"] == pytest.approx(2 / 2**6)


def test_scores_are_printed_or_written_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "1", "audio": "a.wav", "question": "?", "choices": ["a", "b"], "answer": "a"}
    (tmp_path / "q.jsonl").write_text(json.dumps(row))
    (tmp_path / "p.jsonl").write_text('{"id": "1", "output": "a"}')
    config = ScoreConfig(predictions=tmp_path / "p.jsonl", data=tmp_path / "q.jsonl", json=Path("-"))
    found = score(config)
    assert json.loads(capsys.readouterr().out) == found
    score(replace(config, json=tmp_path / "scores.json"))
    assert json.loads((tmp_path / "scores.json").read_text()) == found
    assert "official script" in capsys.readouterr().out


def test_an_interval_is_honest_when_every_answer_is_wrong() -> None:
    question = Question(id="1", audio=Path("a.wav"), question="?", choices=("a", "b"), answer="a")
    asked = [replace(question, audio=Path(f"{number}.wav")) for number in range(6)]
    found = score_outputs(asked, ["b"] * 6)["strict"]
    assert found["low"] == 0
    assert found["high"] == pytest.approx(0.39, abs=0.005)  # Wilson's for 0 of 6


def test_the_verb_exits_with_1_for_bad_rows_and_counts_what_is_not_scored(tmp_path: Path) -> None:
    row = {"audio": "a.wav", "question": "What?", "choices": ["a dog", "rain"]}
    rows = [row | {"id": "1", "answer": "rain"}, row | {"id": "2"}, row | {"id": "3", "answer": "a seal"}]
    data, said = tmp_path / "q.jsonl", tmp_path / "p.jsonl"
    data.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    said.write_text('{"id": "1", "output": "rain"}\n', encoding="utf-8")
    config = ScoreConfig(predictions=said, data=data, json=tmp_path / "s.json", bootstrap=5)
    assert score_verb(config) == 1
    found = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert (found["num_questions"], found["num_not_scored"], len(found["bad_rows"])) == (2, 1, 1)
    data.write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    assert score_verb(config) == 0
    said.write_text('{"id": "1", "output": "rain"}\n7\n', encoding="utf-8")
    assert score_verb(config) == 1


def test_the_share_that_needs_its_sound_takes_guesses_off_and_stands_for_every_data_set() -> None:
    options = ("a", "b", "c", "d")
    asked = [
        Question(id=str(i), audio=Path(f"{i}.wav"), question="?", choices=options, answer="a", dataset=name)
        for name in ("heard", "known")
        for i in range(8)
    ]
    # Of one data set what chance gives is right in silence, of the other all.
    silent: list[str | None] = ["a", "a", *"bcdbcd", *("a" * 8)]
    scores = score_outputs(asked, ["a"] * 16, runs={"silent": (asked, silent)})
    shares = scores["audio_dependence"]
    assert {name: (share["value"], share["count"]) for name, share in shares.items()} == {
        "all": (pytest.approx(0.5), 16),
        "heard": (pytest.approx(1), 8),
        "known": (0, 8),
    }
    assert 0 < shares["all"]["low"] < 0.5 < shares["all"]["high"] < 1
    # A sound that could not be read says nothing about its question.
    silent[0] = None
    again = score_outputs(asked, ["a"] * 16, runs={"silent": (asked, silent)})["audio_dependence"]
    assert again["heard"]["count"] == 7
    # Nor does an answer that names no option: such a model may know it, and cannot say so.
    silent[1] = "???"
    again = score_outputs(asked, ["a"] * 16, runs={"silent": (asked, silent)})["audio_dependence"]
    assert again["heard"]["count"] == 6
