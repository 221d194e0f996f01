"""The picture of scores: accuracies by task, each with interval and its own chance."""

import logging
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from r1_aqa.data.questions import Question
from r1_aqa.evaluators import charts
from r1_aqa.evaluators.charts import MOST_GROUPS, plot_scores
from r1_aqa.evaluators.scores import score_outputs


def ask(number: int, task: str, options: int, **columns: str) -> Question:
    choices = ("dog", "rain", "saw", "cat")[:options]
    audio, text = Path(f"{number}.wav"), "Which?"
    return Question(
        id=str(number), audio=audio, question=text, choices=choices, answer="rain", task=task, extra=columns
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    found: list[Figure] = []
    monkeypatch.setattr(charts, "save_figure", lambda figure, path: found.append(figure))
    return found


def test_every_accuracy_has_its_interval_and_chance(drawn: list[Figure]) -> None:
    questions = [ask(number, ("which", "whether")[number % 2], (4, 2)[number % 2]) for number in range(20)]
    outputs = ["rain" if number % 4 < 2 else "dog" for number in range(20)]
    silent = ["dog"] * 20
    scores = score_outputs(questions, outputs, runs={"silent": (questions, silent)}, draws=50)
    plot_scores(scores, Path("a.png"))
    whole, by_task = drawn[0].axes
    assert whole.get_title("left") == "Strict accuracy, 20 questions"
    assert by_task.get_title("left") == "By task"
    assert [label.get_text() for label in whole.get_yticklabels()] == ["as asked", "with silence"]
    assert [label.get_text() for label in by_task.get_yticklabels()] == ["which (10)", "whether (10)"]
    intervals, chance = by_task.collections
    for segment, group in zip(intervals.get_segments(), scores["by"]["task"].values(), strict=True):
        assert segment[:, 0] == pytest.approx([group["low"], group["high"]])
    assert [segment[0, 0] for segment in chance.get_segments()] == [0.25, 0.5]
    assert [text.get_text() for text in drawn[0].legends[0].texts] == [
        "chance",
        "always the first option, 0%",
    ]
    assert "right answers, %" in by_task.get_xlabel()


def test_of_very_many_groups_the_largest_are_drawn_and_the_picture_says_so(
    drawn: list[Figure], caplog: pytest.LogCaptureFixture
) -> None:
    questions = [ask(number, "all", 4, clip=f"{number // 2 if number > 9 else 0}") for number in range(110)]
    scores = score_outputs(questions, ["rain"] * 110, by=["clip"], draws=20)
    with caplog.at_level(logging.WARNING):
        plot_scores(scores, Path("a.png"))
    assert len(drawn[0].axes) == 2  # the one task is all questions: no panel of its own
    axes = drawn[0].axes[1]
    assert axes.get_title("left") == f"By clip, the {MOST_GROUPS} largest of 51 groups"
    assert len(axes.get_yticklabels()) == MOST_GROUPS
    assert axes.get_yticklabels()[0].get_text() == "0 (10)"
    assert f"{MOST_GROUPS} of 51 groups by clip" in caplog.text


def test_a_picture_of_names_in_brackets_and_dollars_is_written(tmp_path: Path) -> None:
    questions = [ask(number, "$x$ [red] \x1b", 4) for number in range(4)] + [ask(9, "rest", 4)]
    plot_scores(score_outputs(questions, ["rain"] * 5, draws=20), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
