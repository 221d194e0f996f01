"""Questions in the chats of other trainers."""

import json
from pathlib import Path
from typing import Any

import pytest
from r1_aqa.data.chats import split_options
from r1_aqa.data.questions import Question, QuestionError
from r1_aqa.data.readers import read_questions

USER = {"role": "user", "content": "<audio>What is heard?"}
REPLY = {"role": "assistant", "content": "a tone"}


def read(folder: Path, row: dict[str, Any]) -> Question:
    (folder / "q.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return read_questions(folder / "q.jsonl")[0]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, REPLY], "audios": ["a.wav"], "solution": "a tone"},
        {"messages": [USER], "audios": "a.wav", "solution": "<answer>a tone</answer>"},
        {"messages": [USER, REPLY], "audios": ["a.wav"]},
        {"messages": [{"role": "user", "content": "<audio>a.wav</audio>What is heard?"}, REPLY]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "audio", "audio": "a.wav"},
                        {"type": "text", "text": "What is heard?"},
                    ],
                },
                REPLY,
            ]
        },
        {
            "conversations": [
                {"from": "human", "value": "<audio>\nWhat is heard?"},
                {"from": "gpt", "value": "<think>Hm.</think><answer>a tone</answer>"},
            ],
            "audios": ["a.wav"],
        },
        {"query": "<audio>What is heard?", "response": "a tone", "audios": ["a.wav"]},
        {"instruction": "<audio>What is heard?", "input": "", "output": "a tone", "audios": ["a.wav"]},
    ],
    ids=["ms-swift", "solution in tags", "assistant", "inline", "parts", "sharegpt", "query", "alpaca"],
)
def test_a_chat_is_a_question_about_its_sound(tmp_path: Path, row: dict[str, Any]) -> None:
    question = read(tmp_path, row)
    assert (question.question, question.answer, question.choices) == ("What is heard?", "a tone", ())
    assert question.audio == tmp_path / "a.wav"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<audio><audio>Same?", "Same?"),
        ("Same?\n<audio> <audio>", "Same?"),
        ("Is <audio> louder than <audio>?", "Is Audio 1 louder than Audio 2?"),
        ("First <audio>, then <audio>. Same?", "First Audio 1, then Audio 2. Same?"),
    ],
)
def test_a_chat_about_several_sounds_names_those_in_its_midst(
    tmp_path: Path, text: str, expected: str
) -> None:
    row = {"messages": [USER | {"content": text}, REPLY], "audios": ["a.wav", "b.wav"]}
    question = read(tmp_path, row)
    assert question.question == expected
    assert question.audios == (tmp_path / "a.wav", tmp_path / "b.wav")


def test_options_in_the_text_become_choices(tmp_path: Path) -> None:
    text = "<audio>What is heard?\nOptions:\n(A) a dog\n(B) rain"
    row = {"messages": [USER | {"content": text}], "audios": ["a.wav"], "solution": "<answer>B</answer>"}
    question = read(tmp_path, row)
    assert (question.question, question.choices, question.answer) == (
        "What is heard?",
        ("a dog", "rain"),
        "rain",
    )
    asked = (
        "Which? Please choose the answer from the following options: ['a dog', \"it's rain\"]. "
        "Output the final answer in <answer> </answer>."
    )
    assert split_options(asked) == ("Which?", ["a dog", "it's rain"])
    assert split_options("Is it A. a dog?") == ("Is it A. a dog?", [])


def test_a_note_is_an_answer_and_no_letter(tmp_path: Path) -> None:
    row = {"query": "<audio>In which key is it?", "response": "A", "audios": ["a.wav"]}
    assert read(tmp_path, row).answer == "A"


def test_what_is_no_answer_of_a_chat_is_kept(tmp_path: Path) -> None:
    row = {
        "messages": [{"role": "system", "content": "Be brief."}, USER, REPLY],
        "audios": ["a.wav"],
        "solution": "tone",
        "source": "mine",
    }
    question = read(tmp_path, row)
    assert question.answer == "tone"
    assert question.extra == {"response": "a tone", "system": "Be brief.", "source": "mine"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"messages": [USER, REPLY, USER, REPLY], "audios": ["a.wav"]},
            "a chat of 2 questions and 2 answers",
        ),
        ({"messages": [USER, REPLY]}, "a chat without sound"),
        (
            {"query": "<audio>Which? A. dog B. tone", "response": "B", "audios": ["a.wav"]},
            "the answer is the letter B, and no options stand at the end of the text",
        ),
        ({"messages": "What?", "audios": ["a.wav"]}, "messages: expected a list of turns, got str"),
    ],
)
def test_a_chat_that_is_no_question_is_refused_by_name(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(QuestionError, match=message):
        read(tmp_path, row)
