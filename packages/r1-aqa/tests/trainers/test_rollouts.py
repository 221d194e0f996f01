"""Rollouts are kept whole, forgotten after a checkpoint that training resumes from, and shown."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.trainers.rollout_page import group_rollouts, show_rollouts
from r1_aqa.trainers.rollouts import RolloutLog, read_rollouts


def rollout(question: str, completion: str, reward: float, advantage: float) -> dict[str, object]:
    return {
        "question_id": question,
        "prompt": f"<|AUDIO|> {question}?",
        "choices": ["a dog", "<b>rain</b>"],
        "answer": "a dog",
        "completion": completion,
        "completion_length": 3,
        "rewards": {"accuracy_reward": reward, "format_reward": 0.0},
        "reward": reward,
        "advantage": advantage,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = RolloutLog(tmp_path / "rollouts")
    log.append(1, [rollout("q1", "cat", 0.0, -1.0), rollout("q1", "dog", 1.0, 1.0)])
    log.append(1, [rollout("q2", "x", 0.0, 0.0), rollout("q2", "x", 0.0, 0.0)])
    log.append(2, [rollout("q1", "dog", 1.0, 0.5), rollout("q1", "</script>", 0.0, -0.5)])
    return tmp_path / "rollouts"


def test_all_rollouts_come_back_in_their_order(folder: Path) -> None:
    rows = read_rollouts(folder)
    assert [(row["step"], row["question_id"], row["completion"]) for row in rows] == [
        (1, "q1", "cat"),
        (1, "q1", "dog"),
        (1, "q2", "x"),
        (1, "q2", "x"),
        (2, "q1", "dog"),
        (2, "q1", "</script>"),
    ]
    assert rows[1]["reward.accuracy_reward"] == 1.0
    assert rows[1]["choices"] == ["a dog", "<b>rain</b>"]


def test_parts_are_plain_parquet(folder: Path) -> None:
    table = pq.read_table(folder / "step-000001-00.parquet")
    assert {"step", "completion", "advantage", "reward.format_reward"} <= set(table.column_names)


def test_resuming_forgets_what_came_after_the_checkpoint(folder: Path) -> None:
    RolloutLog(folder).drop_after(1)
    assert {row["step"] for row in read_rollouts(folder)} == {1}


def test_groups_are_sorted_and_flat_ones_known(folder: Path) -> None:
    groups = group_rollouts(read_rollouts(folder))
    assert [row["completion"] for row in groups[0]["rollouts"]] == ["dog", "cat"]
    assert [group["flat"] for group in groups] == [False, True, False]


def test_the_page_shows_all_and_escapes_what_models_write(folder: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    write_questions(questions, [Question(id="q1", audio=tmp_path / "a.wav", question="?")])
    page = show_rollouts(
        RolloutsConfig(run=folder, out=tmp_path / "pages" / "r.html", data=(questions,))
    ).read_text(encoding="utf-8")
    assert page.count("<article") == 3
    assert 'src="../a.wav"' in page
    assert "&lt;/script&gt;" in page
    assert "&lt;b&gt;rain" in page


def test_a_page_of_fewer_groups_says_so(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    show_rollouts(RolloutsConfig(run=folder, out=tmp_path / "r.html", limit=2))
    assert "the page shows the latest 2 of 3 groups (--limit)" in caplog.messages


def test_a_folder_without_rollouts_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no rollouts \(step-"):
        read_rollouts(tmp_path)
