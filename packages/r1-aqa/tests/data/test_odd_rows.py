"""Rows of odd shapes, as other people's files have them: read as meant, or refused by name; never half."""

import json
from pathlib import Path
from typing import Any

import pytest
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.options import find_option
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.readers import read_questions
from r1_aqa.rewards.columns import reward_columns
from r1_aqa.rewards.rewards import accuracy_reward
from r1_aqa.rewards.verdicts import judge

PLAIN = {"audio": "a.wav", "question": "What is heard?"}
USER = {"role": "user", "content": "<audio>What is heard?"}


def read(folder: Path, row: Any) -> Question:
    (folder / "q.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return read_questions(folder / "q.jsonl", keep_faults=True)[0]


@pytest.mark.parametrize(
    "row",
    [
        PLAIN | {"options": ["a dog", "a tone"], "answer": "B"},
        {"messages": [{"role": "user", "content": "<audio>What is heard?\nA.a dog\nB.a tone"}], "answer": "B"}
        | {"audios": ["a.wav"]},
        {"messages": [{"role": "user", "content": "<audio>What is heard?\na) a dog\nb) a tone"}]}
        | {"audios": ["a.wav"], "solution": "b"},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "audio_url", "audio_url": {"url": "a.wav"}},
                        {"type": "text", "text": "What is heard?\nA. a dog\nB. a tone"},
                    ],
                }
            ],
            "solution": "B",
        },
        {
            "query": "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nWhat is heard?\nA. a dog\nB. a tone",
            "response": "B",
            "audios": ["a.wav"],
        },
    ],
    ids=["options", "answer beside a chat", "small letters", "audio_url", "Qwen's place of a sound"],
)
def test_other_shapes_are_read(tmp_path: Path, row: dict[str, Any]) -> None:
    question = read(tmp_path, row)
    assert question.fault is None
    assert (question.question, question.choices) == ("What is heard?", ("a dog", "a tone"))
    assert question.answer == "a tone"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (PLAIN | {"audio": "data:audio/wav;base64," + "UklGR" * 2000}, "the sound itself"),
        (PLAIN | {"audio": "x" * 300}, "300 characters"),
        (PLAIN | {"question": "half \ud83d"}, "half a character"),
        (PLAIN | {"question": "<|AUDIO|>What?"}, "stands for a sound"),
        (PLAIN | {"choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answer": "B"}, "expected texts"),
        (PLAIN | {"choices": ["a", None]}, "expected texts"),
        (PLAIN | {"choices": ["(1) a", "(2) b"], "answer": 1}, "may be the option"),
        (
            {"messages": [USER | {"content": "<audio><audio>Same?"}], "audios": ["a.wav"]},
            "2 places of sounds, and 1 sounds",
        ),
        ({"messages": [USER], "audios": ["a.wav"], "images": ["a.png"]}, "images"),
        ({"query": "What?", "response": "x", "audios": ["a.wav"], "history": [["a", "b"]]}, "history"),
        ({"conversations": [{"from": "human", "value": "What?"}], "sound": "a.wav"}, "it has the keys"),
    ],
)
def test_what_cannot_be_asked_is_named(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    assert why in (read(tmp_path, row).fault or "")


def test_an_id_of_null_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, PLAIN | {"id": None}).id == "q-1"


@pytest.mark.parametrize("mark", ["({}) ", "{}.", "{}) ", "[{}] ", "\uff08{}\uff09 ", "{}\u3001", "**{}.** "])
def test_letters_in_odd_forms_are_taken_off(mark: str) -> None:
    choices = [mark.format(letter) + text for letter, text in (("A", "Man"), ("B", "Woman"))]
    assert find_option("Woman", choices) == choices[1]
    assert all(judge(said, choices, choices[1]).strict for said in ("Woman", "B", "B. Woman", choices[1]))
    assert not judge("Man", choices, choices[1]).strict


def test_numbers_are_no_letters_and_odd_letters_are_their_own() -> None:
    assert not judge("5 s", ["1.5 s", "2.5 s"], "2.5 s").strict
    assert find_option("D", ["B. dog", "D. cat"]) == "D. cat"
    assert judge("D", ["B. dog", "D. cat"], "D. cat").strict
    assert find_option("A", ["A. dog", "A. cat"]) is None


@pytest.mark.parametrize("setting", [{"too_long": "cut"}, {"channel": "left"}, {"max_seconds": "30"}])
def test_settings_of_sounds_are_checked_in_python(setting: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(setting))):
        SoundConfig(**setting)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (["a dog", "a dog", "a tone"], "a dog"),
        (["B", "b", "A"], "a tone"),
        (["a tone "], "a tone"),
        ([1, 1, 0], "a tone"),
        ("Option B", "a tone"),
        ("(b) a tone", "a tone"),
        ("A TONE ", "a tone"),
    ],
)
def test_answers_of_annotators_and_letters_are_read(tmp_path: Path, answer: Any, right: str) -> None:
    question = read(tmp_path, PLAIN | {"choices": ["a dog", "a tone"], "answer": answer})
    assert (question.fault, question.answer, question.alternatives) == (None, right, ())


def test_every_annotators_answer_is_right_without_options(tmp_path: Path) -> None:
    question = read(tmp_path, PLAIN | {"answer": ["yes", "a tone", "a tone"]})
    assert (question.answer, question.alternatives) == ("a tone", ("yes",))
    write_questions(tmp_path / "w.jsonl", [question])
    again = read_questions(tmp_path / "w.jsonl")[0]
    assert (again.answer, again.alternatives) == ("a tone", ("yes",))
    for said, strict in (("A tone.", True), ("Yes", True), ("no", False)):
        assert judge(said, (), "a tone", alternatives=again.alternatives).strict == strict
        reward = accuracy_reward([f"<answer>{said}</answer>"], **reward_columns([again])[0] | {
            "choices": [()], "answer": ["a tone"], "alternatives": [again.alternatives]
        })  # fmt: skip
        assert reward == [float(strict)]


@pytest.mark.parametrize("answer", [["a dog", "a tone"], ["a cat"], [None], [["a dog"]]])
def test_annotators_who_settle_nothing_are_a_named_fault(tmp_path: Path, answer: Any) -> None:
    fault = read(tmp_path, PLAIN | {"choices": ["a dog", "a tone"], "answer": answer}).fault
    assert fault is not None
    assert "answer" in fault
