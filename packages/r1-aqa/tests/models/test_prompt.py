import json
from pathlib import Path
from typing import Any

import pytest
from r1_aqa.models.prompt import Prompt, format_prompt, format_target, make_messages

ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "golden" / "prompts.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


@pytest.mark.parametrize("example", ROWS, ids=lambda example: str(example["row"]["id"]))
def test_prompts_are_the_papers_word_for_word(example: dict[str, Any]) -> None:
    question, choices = example["row"]["question_text"], example["row"]["multi_choice"]
    for style, field in (("choices", "prompt1"), ("answer", "prompt2"), ("think", "prompt3")):
        assert format_prompt(question, choices, style, about_video=True) == example[field]
    assert format_prompt(question, choices, "answer") == example["mmau_prompt2"]
    assert format_prompt(question, choices, "think") == example["mmau_prompt3"]


def test_target_is_what_the_prompt_asks_for() -> None:
    assert format_target("rain", "choices") == "rain"
    assert format_target("rain", "answer") == "<answer>rain</answer>"


def test_free_question_shows_no_options() -> None:
    assert format_prompt("What is it?", (), "choices") == "What is it?"


def test_no_text_part_has_an_audio_key() -> None:
    (turn,) = make_messages(Prompt("What is it?"), [{"type": "audio"}] * 2, numbered=False)
    assert [part["type"] for part in turn["content"]] == ["audio", "audio", "text"]
    assert all("audio" not in part for part in turn["content"])


def test_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt must be one of choices, answer"):
        format_prompt("What?", style="poem")  # type: ignore[arg-type]
