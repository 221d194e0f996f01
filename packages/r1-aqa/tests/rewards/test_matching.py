"""Answers as people's models write them, each with the verdict that a careful reader gives it.

`answer_forms.jsonl`, written by hand: letters, texts, sentences, lists, boxes, blocks, tokens, explanations;
more than a third are no right answer (another option, a hedge, two options, a denial, a refusal).
"""

import json
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from r1_aqa.rewards.completion import boxed, read_answer, take_turn
from r1_aqa.rewards.matching import match_choice
from r1_aqa.rewards.rewards import accuracy_reward
from r1_aqa.rewards.verdicts import judge

FORMS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "answer_forms.jsonl").read_text(encoding="utf-8").split("\n")
    if line
]
KINDS = list(dict.fromkeys(form["kind"] for form in FORMS))


def test_the_corpus_is_large_and_has_wrong_forms() -> None:
    right = Counter(form["right"] for form in FORMS)
    assert right[True] >= 600
    assert right[False] >= 600
    assert len({(form["completion"], *form["choices"]) for form in FORMS}) >= 200


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_is_judged_as_a_reader_would(kind: str) -> None:
    forms = [form for form in FORMS if form["kind"] == kind]
    wrong = [
        (form["completion"], form["right"])
        for form in forms
        if judge(form["completion"], form["choices"], form["answer"]).strict != form["right"]
    ]
    assert not wrong


def test_the_reward_reads_an_answer_block_as_the_verdict_does() -> None:
    for form in FORMS:
        inner = form["completion"]
        if re.search(r"</?\w+>|<\|", inner) or not form["choices"]:
            continue  # blocks and tokens of its own
        block = f"<answer>{inner}</answer>"
        reward = accuracy_reward([block], choices=[form["choices"]], answer=[form["answer"]])[0]
        assert reward == float(judge(block, form["choices"], form["answer"]).strict) == form["right"], form


def test_no_form_is_right_for_another_option() -> None:
    for form in FORMS:
        others = [choice for choice in dict.fromkeys(form["choices"]) if choice != form["answer"]]
        if form["right"]:
            assert not any(judge(form["completion"], form["choices"], other).strict for other in others), form


WORDS = [
    "rain",
    "wind",
    "the",
    "answer",
    "is",
    "not",
    "or",
    "A",
    "(B)",
    "B.",
    "maybe",
    "\n",
    "option",
    ",",
    "C",
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=12), st.permutations(["rain", "wind", "a car"]))
def test_an_answer_means_the_same_text_in_whatever_order_options_stand(
    words: list[str], choices: list[str]
) -> None:
    text = " ".join(word for word in words if word not in ("A", "(B)", "B.", "C"))
    first, second = match_choice(text, ["rain", "wind", "a car"]), match_choice(text, choices)
    assert (first is None) == (second is None)
    assert first is None or second is None or ["rain", "wind", "a car"][first] == choices[second]


@pytest.mark.parametrize(
    "piece",
    [
        *("\\boxed{", "<think>", "(A) ", "the answer is ", "rain or ", "[", "**", "\n", "{'a':"),
        *("rain? ", "rain: ", "if ", "let me ", "~~", "<del>", "one of the options "),
    ],
)
def test_long_nonsense_is_read_quickly(piece: str) -> None:
    start = time.process_time()
    judge(piece * 2000, ["rain", "wind", "rain and wind"], "rain")
    assert time.process_time() - start < 2


def test_two_options_in_one_answer_are_never_one() -> None:
    rng = random.Random(0)
    choices = ["a dog barking", "rain", "a car", "a car horn", "silence"]
    joins = [
        "{} or {}",
        "{} and {}",
        "{}, {}",
        "{}/{}",
        "{}\n{}",
        "either {} or {}",
        "{}; {}",
        "{} then {}",
        "['{}', '{}']",
    ]
    for join in joins:
        for first, second in (rng.sample(choices, 2) for _ in range(10)):
            assert match_choice(join.format(first, second), choices) is None
            assert match_choice(f"The answer is {join.format(first, second)}.", choices) is None


def test_a_turn_ends_at_its_token() -> None:
    assert take_turn("rain<|im_end|>\n<|im_start|>user\nWhat?") == "rain"
    assert take_turn("<|im_start|>assistant\nrain") == "rain"
    assert read_answer("<answer>rain</answer><|im_end|>") == "rain"
    assert read_answer("<answer></answer> <answer>rain</answer>") == "rain"
    assert list(boxed(r"\boxed{a} \boxed{\text{b}} \boxed{c")) == ["a", r"\text{b}"]
