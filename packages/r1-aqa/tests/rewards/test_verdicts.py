import json
from pathlib import Path
from typing import Any

import pytest
from r1_aqa.rewards.verdicts import judge, official_match

ITEMS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "golden" / "verdicts.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


@pytest.mark.parametrize("benchmark", ["mmau", "mmar"])
def test_official_verdicts_are_those_of_the_scripts(benchmark: str) -> None:
    items = [item for item in ITEMS if item["benchmark"] == benchmark]
    assert len(items) == 400
    for item in items:
        first = official_match(item["answer"], item["choices"][0], item["choices"])
        assert first == bool(item["first_choice_verdict"]), item
        if item["counted"]:
            verdict = official_match(item["answer"], item["prediction"], item["choices"])
            assert verdict == bool(item["verdict"]), item


def test_missing_prediction_is_wrong_under_both_rules() -> None:
    verdict = judge(None, ["rain", "wind"], "rain")
    assert (verdict.official, verdict.strict) == (False, False)


@pytest.mark.parametrize(
    ("completion", "official", "strict"),
    [
        ("<answer>rain</answer>", True, True),
        ("rain", True, True),
        ("<answer>not rain</answer>", True, False),
        ("<answer>(A) rain</answer>", True, True),
        ("<answer>rain, then wind</answer>", False, False),
        ("wind</answer>", False, False),
    ],
)
def test_the_strict_rule_stands_beside_the_official_one(
    completion: str, official: bool, strict: bool
) -> None:
    verdict = judge(completion, ["rain", "wind"], "rain")
    assert (verdict.official, verdict.strict) == (official, strict)


def test_same_words_in_another_order_are_right_officially_only() -> None:
    verdict = judge("<answer>wind then rain</answer>", ["rain then wind", "wind then rain"], "rain then wind")
    assert (verdict.official, verdict.strict) == (True, False)


@pytest.mark.parametrize(
    ("completion", "strict"),
    [
        ("Woman", True), ("B. Woman", True), ("(B)", True), ("(B) Woman", True), ("b) woman.", True),
        ("Man", False), ("(A)", False), ("A. Woman", False), ("Man or Woman", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("lettered", ["({}) {}", "{}. {}", "{}) {}", "[{}] {}", "{}: {}"])
def test_letters_of_options_are_taken_off_before_comparing(
    completion: str, strict: bool, lettered: str
) -> None:
    choices = [lettered.format(letter, text) for letter, text in zip("AB", ("Man", "Woman"), strict=True)]
    assert judge(completion, choices, choices[1]).strict == strict
    # In another order an option keeps its letter.
    assert judge(completion, choices[::-1], choices[1]).strict == strict


def test_the_official_verdict_stays_that_of_the_script() -> None:
    assert not judge("Woman", ["(A) Man", "(B) Woman"], "(B) Woman").official
    # Its file says `Woman`, and the script compares that.
    assert judge("Woman", ["(A) Man", "(B) Woman"], "(B) Woman", written="Woman").official


def test_doubled_options_are_one_option() -> None:
    doubled = ["Bass", "Drum", "Bass"]
    assert judge("Bass", doubled, "Bass").strict
    assert judge("C", doubled, "Bass").strict
    assert not judge("B", doubled, "Bass").strict
    lettered = ["(A) Bass", "(B) Drum", "(C) Bass"]
    assert all(judge(text, lettered, "(C) Bass").strict for text in ("Bass", "C", "A", "(A) Bass"))


def test_a_free_answer_must_say_the_right_one() -> None:
    found = [judge(text, [], "a tone").strict for text in ("<answer>A tone.</answer>", "a tone", "tone")]
    assert found == [True, True, False]
