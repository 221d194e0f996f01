"""Accuracies are those that the official scripts print, and those of every question."""

import json
from pathlib import Path

import pytest
from r1_aqa.data.questions import Question, read_questions
from r1_aqa.evaluators.aggregates import Accuracy, break_down, chance, first_option, overall
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
