"""Rollouts are kept whole, forgotten after a checkpoint that training resumes from, and shown."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.trainers.rollout_groups import group_rollouts, summarize, summarize_updates
from r1_aqa.trainers.rollout_page import show_rollouts
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
    assert [row["completion"] for row in groups[0].rollouts] == ["dog", "cat"]
    assert [group.is_flat for group in groups] == [False, True, False]


def test_an_update_has_mean_spread_and_its_hardest_questions(folder: Path) -> None:
    groups = group_rollouts(read_rollouts(folder), {"q1": "Which animal?"})
    first, second = summarize_updates(groups)
    assert (first.step, first.num_groups, first.mean, first.spread, first.flat) == (1, 2, 0.25, 0.25, 0.5)
    assert [group.question_id for group in first.hardest] == ["q2", "q1"]
    assert (second.step, second.mean, second.flat) == (2, 0.5, 0.0)
    # A question of several updates is one, and its latest group is named.
    assert [(g.question, g.step) for g in summarize(groups).hardest] == [("q2?", 1), ("Which animal?", 2)]


def test_without_its_file_a_question_is_the_end_of_its_prompt(tmp_path: Path) -> None:
    prompt = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nAudio 1: <|audio_bos|>"
        "<|AUDIO|><|audio_eos|>\nWhich is louder? Please choose the answer from the following options: "
        "['a dog', 'rain']. Output the final answer in <answer> </answer>.<|im_end|>\n<|im_start|>assistant\n"
    )
    RolloutLog(tmp_path).append(1, [rollout("q1", "x", 0.0, 0.0) | {"prompt": prompt}])
    assert [group.question for group in group_rollouts(read_rollouts(tmp_path))] == ["Which is louder?"]


def test_question_and_title_are_there_without_opening_anything(folder: Path, tmp_path: Path) -> None:
    sounds = (tmp_path / "a #1?.wav", tmp_path / "b.wav")
    asked = Question(id="q1", audio=sounds[0], further_audio=sounds[1:], question="Which <animal>?")
    write_questions(tmp_path / "questions.jsonl", [asked])
    config = RolloutsConfig(run=folder, out=tmp_path / "r.html", data=(tmp_path / "questions.jsonl",))
    page = show_rollouts(config).read_text(encoding="utf-8")
    assert f"<h1>Rollouts of {tmp_path.parent.name}/{tmp_path.name}</h1>" in page
    assert page.count("<h2>Which &lt;animal&gt;?</h2>") == 2
    assert page.count('src="a%20%231%3F.wav"') == page.count('src="b.wav"') == 2


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
    page = show_rollouts(RolloutsConfig(run=folder, out=tmp_path / "r.html", limit=1)).read_text("utf-8")
    assert "the page shows the latest 1 of 3 groups (--limit)" in caplog.messages
    assert "1 groups of rollouts of 1 updates below, the picture is of all 2" in page


def test_a_folder_without_rollouts_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no rollouts \(step-"):
        read_rollouts(tmp_path)
