"""MMAR's rubrics: the judge is a function, and counts as the official script counts it."""

import json
from pathlib import Path

import pytest
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.evaluators.rubrics import GradeError, criteria_of, grade, grade_all, read_grades, trimmed_mean

RUBRIC = [
    {"name": "hears the bark", "scoring_point": "2 if named, 1 if hinted", "choices": [0, 1, 2]},
    {"name": "logic", "scoring_point": "3 if every step follows", "choices": [0, 3]},
]
RIGHT = "<think>It barks.</think><answer>dog</answer>"


def reply(*scores: float) -> str:
    rows = [{"name": one["name"], "score": score} for one, score in zip(RUBRIC, scores, strict=True)]
    return f"Here it is:\n{json.dumps(rows)}\nDone."


@pytest.fixture
def questions(tmp_path: Path) -> list[Question]:
    """As MMAR-meta.jsonl has them."""
    rows = [
        {
            "id": str(number),
            "audio_path": f"./audio/{number}.wav",
            "question": "What is heard?",
            "choices": ["dog", "cat"],
            "answer": "dog",
            "modality": "sound" if number % 2 else "speech",
            "category": "Signal Layer",
            "sub-category": "x",
            "thinking": "A bark is a dog's.",
            "cue": ["bark"],
            "rubric": RUBRIC,
        }
        for number in range(4)
    ]
    file = tmp_path / "MMAR-meta.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_questions(file)


def test_the_mean_of_the_middle_three_raters_counts(questions: list[Question]) -> None:
    replies = iter([reply(0, 0), reply(2, 3), reply(2, 0), reply(1, 3), reply(2, 3)])
    found = grade(0, questions[0], RIGHT, lambda system, user: next(replies))
    assert found.raters == (0.0, 1.0, 0.4, 0.8, 1.0)
    assert found.score == pytest.approx((0.4 + 0.8 + 1.0) / 3)
    assert (trimmed_mean([0.2, 0.4]), trimmed_mean([1.0])) == (pytest.approx(0.3), 1.0)


def test_the_judge_sees_the_rubric_the_reference_and_the_reasoning_apart_from_the_answer(
    questions: list[Question],
) -> None:
    asked: list[str] = []
    grade(0, questions[0], RIGHT, lambda system, user: asked.append(user) or reply(2, 3), raters=1)
    for part in ("A bark is a dog's.", "2 if named, 1 if hinted", "It barks.\nIts answer: dog"):
        assert part in asked[0]


def test_a_wrong_answer_scores_nothing_and_is_not_judged(questions: list[Question]) -> None:
    def never(system: str, user: str) -> str:
        raise AssertionError

    for output in ("<answer>cat</answer>", "dog or cat", None):
        found = grade(0, questions[0], output, never)
        assert (found.is_right, found.score) == (False, 0.0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("I would say 3.", "the judge's reply"),
        (json.dumps([{"name": "logic", "score": 3}]), "expected a list of 2 grades"),
        (reply(1.5, 3), "hears the bark: expected one of"),
        (reply(1, "3"), "logic: expected one of"),  # type: ignore[arg-type]
        (json.dumps(["2", "3"]), "expected one of"),
    ],
)
def test_a_reply_that_is_no_grades_is_refused_and_asked_again(
    text: str, why: str, questions: list[Question]
) -> None:
    with pytest.raises(GradeError, match=why):
        read_grades(text, criteria_of(questions[0]))
    replies = iter([text, text, reply(2, 3)])
    assert grade(0, questions[0], RIGHT, lambda system, user: next(replies), raters=1).score == 1.0
    failed = grade(0, questions[0], RIGHT, lambda system, user: text)
    assert (failed.is_right, failed.score) == (True, None)
    assert why in (failed.error or "")


def test_grading_resumes_and_a_failure_is_in_no_mean(questions: list[Question], tmp_path: Path) -> None:
    file, calls = tmp_path / "grades.jsonl", [0]
    outputs = [RIGHT, "<answer>cat</answer>", RIGHT, RIGHT]

    def fails_at_the_third(system: str, user: str) -> str:
        calls[0] += 1
        if calls[0] == 3:
            raise ConnectionError("gone")
        return reply(2, 0)

    found = grade_all(questions, outputs, fails_at_the_third, file, raters=1)
    assert (found["total"], found["num_not_graded"]) == (3, 1)
    assert found["score"] == pytest.approx((0.4 + 0 + 0.4) / 3)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["by"]["modality"]["speech"] == {"score": 0.4, "accuracy": 1.0, "total": 2}
    # Only what failed is asked again, and an answer that is another one since.
    again = grade_all(questions, outputs, lambda system, user: reply(2, 3), file, raters=1)
    assert (again["total"], again["num_not_graded"], again["score"]) == (4, 0, pytest.approx(1.8 / 4))
    outputs[0] = "<answer>dog</answer>"
    last = grade_all(questions, outputs, lambda system, user: reply(2, 3), file, raters=1)
    assert last["score"] == pytest.approx(2.4 / 4)


def test_a_question_without_rubric_says_where_there_are_some(questions: list[Question]) -> None:
    plain = Question(id="7", audio=Path("a.wav"), question="?", choices=("dog", "cat"), answer="dog")
    with pytest.raises(ValueError, match=r"question 7 has no rubric; MMAR-meta.jsonl"):
        criteria_of(plain)
    assert "has no rubric" in (grade(0, plain, RIGHT, lambda system, user: "").error or "")
