import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from r1_aqa.data.questions import Question
from r1_aqa.rewards.columns import require_columns, reserved_columns, reward_columns
from r1_aqa.rewards.matching import choose_window, match_choice, read_answer
from r1_aqa.rewards.reference import (
    reference_accuracy_reward,
    reference_format_reward,
    reference_think_format_reward,
)
from r1_aqa.rewards.rewards import (
    accuracy_reward,
    consistency_reward,
    counterfactual_reward,
    format_reward,
    length_reward,
    load_rewards,
    think_format_reward,
)

CASES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "golden" / "rewards.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
CHOICES = ["a dog barking", "rain", "a car", "a car horn"]


def reward(function: Any, text: str, **columns: Any) -> float:
    return function([text], **{name: [value] for name, value in columns.items()})[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_reference_rewards_equal_the_published_ones(case: dict[str, Any]) -> None:
    expected, text = case["reference"], case["completion"]
    assert reward(reference_accuracy_reward, text, solution=case["solution"]) == expected["accuracy"]
    assert reward(reference_format_reward, text) == expected["format_prompt2"]
    assert reward(reference_think_format_reward, text) == expected["format_prompt3"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_rewards_resist_the_attack_list(case: dict[str, Any]) -> None:
    expected, text = case["correct"], case["completion"]
    if expected["accuracy_policy"] == "agreed":
        found = reward(accuracy_reward, text, choices=case["choices"], answer=case["gold"])
        assert found == expected["accuracy"]
    if expected["format_policy"] == "agreed":
        assert reward(format_reward, text) == expected["format_prompt2"]
        assert reward(think_format_reward, text) == expected["format_prompt3"]


def test_the_attack_list_finds_faults_of_the_published_rewards() -> None:
    assert sum("accuracy" in case["known_defects"] for case in CASES) == 60


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("rain", 1), ("RAIN.", 1), ("(B) rain", 1), ("B. Rain", 1), ("b", 1), ("(b)", 1),
        ("(A) rain", None), ("not rain", None), ("rain or a car", None), ("a car", 2), ("a car horn", 3),
        ("The answer is: a car horn.", 3), ("**rain**", 1), ("“rain”", 1), ("a_car", 2), ("E", None),
        ("", None),
    ],
)  # fmt: skip
def test_answer_is_read_as(answer: str, index: int | None) -> None:
    assert match_choice(answer, CHOICES) == index


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.lists(st.text(max_size=12), max_size=6))
def test_any_output_means_one_option_or_none(text: str, choices: list[str]) -> None:
    found = match_choice(read_answer(text, needs_block=False), choices)
    assert found is None or 0 <= found < len(choices)
    assert reward(accuracy_reward, text, choices=choices, answer="x") in (0.0, 1.0)
    assert all(0.0 <= reward(function, text) <= 1.0 for function in (format_reward, length_reward))


@settings(max_examples=50, deadline=None)
@given(st.permutations(CHOICES), st.integers(0, 3))
def test_formatted_option_is_rewarded_wherever_it_stands(choices: list[str], index: int) -> None:
    text = f"<answer>{choices[index]}</answer>"
    assert reward(accuracy_reward, text, choices=choices, answer=choices[index]) == 1.0
    assert reward(format_reward, text) == 1.0


def test_length_reward_rises_stays_and_falls() -> None:
    texts = [f"<think>{'w ' * n}</think><answer>rain</answer>" for n in (0, 5, 10, 50, 75, 100, 300)]
    assert length_reward(texts) == [0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0]


def test_consistency_asks_for_the_option_that_thinking_ends_with() -> None:
    text = "<think>Is it rain? No: a car horn.</think><answer>{}</answer>"
    found = [reward(consistency_reward, text.format(choice), choices=CHOICES) for choice in CHOICES]
    assert found == [0.0, 0.0, 0.0, 1.0]


def test_a_reward_of_the_users_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def brevity(completions, **_):\n    return [1 / (1 + len(text)) for text in completions]\n"
    )
    accuracy, brevity = load_rewards(["accuracy", f"{file}:brevity"])
    assert accuracy is accuracy_reward
    assert brevity(["a"]) == [0.5]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acuracy", "expected one of accuracy"),
        ("missing.py:f", "no file missing.py"),
        (f"{__file__}:f", "nothing named 'f'"),
    ],
)
def test_an_unknown_reward_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_rewards([name])


def test_most_windows_decide_and_the_first_of_them_speaks() -> None:
    assert choose_window(["a car", "rain", "the answer is rain", "hm"], CHOICES) == 1
    assert choose_window(["a car", "rain"], CHOICES) == 0
    assert choose_window(["hm", "rain or a car"], CHOICES) == 0
    assert choose_window(["a dog", "a car"], []) is None


def test_columns_of_ones_own_are_handed_to_rewards() -> None:
    asked = [
        Question(id="1", audio=Path("a.wav"), question="?", task="music", extra={"source": "mine", "n": 1}),
        Question(id="2", audio=Path("b.wav"), question="?", extra={"n": ["two"], "prompts": "taken"}),
    ]
    first, second = reward_columns(asked)
    assert (first["source"], first["n"], first["task"], first["audio"]) == ("mine", 1, "music", Path("a.wav"))
    assert (second["source"], second["n"]) == (None, ["two"])
    assert first.keys() == second.keys()
    assert reserved_columns(asked) == ["prompts"]
    assert "prompts" not in first


def test_a_reward_that_needs_a_column_which_is_not_there_is_refused() -> None:
    def mine(completions: list[str], *, answer: list[str], source: list[str], **_: Any) -> list[float]:
        return [0.0] * len(completions)

    asked = [Question(id="1", audio=Path("a.wav"), question="?", extra={"origin": "mine"})]
    with pytest.raises(ValueError, match=r"the reward mine needs the column 'source'.* own: origin"):
        require_columns([accuracy_reward, mine], asked)
    require_columns([mine], [Question(id="1", audio=Path("a.wav"), question="?", extra={"source": 1})])


def test_the_counterfactual_reward_pays_for_what_is_right_with_the_sound_alone() -> None:
    choices, answer = [["rain", "wind"]] * 4, ["rain"] * 4
    said = ["<answer>rain</answer>", "<answer>rain</answer>", "<answer>wind</answer>", "rain"]
    # Known in silence, in whatever form; not known; not known, but wrong; right, but in no block.
    silent = ["rain", "<answer>wind</answer>", "<answer>wind</answer>", ""]
    columns = {"choices": choices, "answer": answer, "silent_answer": silent}
    assert counterfactual_reward(said, **columns) == [0.0, 1.0, 0.0, 0.0]
    assert load_rewards(["counterfactual"]) == [counterfactual_reward]
