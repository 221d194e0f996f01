"""Reward completions: plain functions that TRL calls with lists, and that a user can add to.

A reward function takes `completions` (texts) and, by keyword, lists of the same length of whatever else it
names: `choices` (the options), `answer` (the right one's text), `prompts`, `completion_ids`, the other fields
of `Question`, and further columns of the file of questions. It returns a number for each completion, or None
where it does not apply: a rollout's reward is the sum of those that do. `load_rewards` finds the built-in
ones by name and a user's as `file.py:name`.

The published rewards, with their faults, are in `r1_aqa.rewards.reference`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from r1_aqa.data.options import is_same_option, take_letters_off
from r1_aqa.own_code import load_own
from r1_aqa.rewards.completion import THINK_BLOCK, read_answer
from r1_aqa.rewards.matching import is_same_text, match_choice
from r1_aqa.rewards.overlong import make_overlong_reward

RewardFunction = Callable[..., list[float]]  # or None in place of a number

# Any text without a tag of ours: a second block must not hide inside the first.
_NO_TAG = r"(?:(?!</?(?:answer|think)>).)*"
_ANSWER_ONLY = re.compile(rf"<answer>(?P<answer>{_NO_TAG})</answer>", re.S)
_THINK_ONLY = re.compile(rf"<think>(?P<thinking>{_NO_TAG})</think>", re.S)
THINKING_WORDS = (10, 50)
"""The length reward is full from the first number of words on and falls to zero at twice the second."""


def accuracy_reward(
    completions: Sequence[str],
    *,
    choices: Sequence[Sequence[str]],
    answer: Sequence[str],
    alternatives: Sequence[Sequence[str]] | None = None,
    **_: Any,
) -> list[float]:
    """Return 1 where the one answer block names the right option alone; see `r1_aqa.rewards.matching`."""
    others = alternatives or [()] * len(completions)
    return [
        is_correct(text, options, gold, alternatives=more)
        for text, options, gold, more in zip(completions, choices, answer, others, strict=True)
    ]


def is_correct(
    completion: str,
    choices: Sequence[str],
    answer: str,
    *,
    needs_block: bool = True,
    alternatives: Sequence[str] = (),
) -> float:
    """Return 1.0 if the completion names the option whose text is `answer`, else 0.0.

    Without options the completion must say the answer itself, or another annotator's (`alternatives`).
    """
    text = read_answer(completion, needs_block=needs_block)
    if not choices:
        return float(any(is_same_text(text, right) for right in (answer, *alternatives)))
    found = match_choice(text, choices)
    return float(found is not None and is_same_option(choices, found, answer))


def format_reward(completions: Sequence[str], **_: Any) -> list[float]:
    """Return 1 for exactly one answer block that is not empty, and nothing else."""
    return [float(_only_answer(text) is not None) for text in completions]


def think_format_reward(completions: Sequence[str], **_: Any) -> list[float]:
    """Return 1 for one thinking block, then one answer block that is not empty, and nothing else."""
    return [float(_split_thinking(text) is not None) for text in completions]


def length_reward(completions: Sequence[str], **_: Any) -> list[float]:
    """Reward thinking of a sensible length: 1 from 10 to 50 words, falling to 0 at none and at 100.

    Thinking that is not there or without end earns nothing, so that neither an empty block nor rambling pays.
    """
    return [_length_score(_split_thinking(text)) for text in completions]


def consistency_reward(
    completions: Sequence[str], *, choices: Sequence[Sequence[str]], **_: Any
) -> list[float]:
    """Return 1 where the option that is answered is the last one that the thinking names, else 0."""
    return [_is_consistent(text, options) for text, options in zip(completions, choices, strict=True)]


def counterfactual_reward(
    completions: Sequence[str],
    *,
    choices: Sequence[Sequence[str]],
    answer: Sequence[str],
    silent_answer: Sequence[str],
    **_: Any,
) -> list[float]:
    """Return 1 where the completion is right and the answer to silence, by the model of the start, is not.

    It stands in place of `accuracy`: a question that is known without its sound gives every rollout 0, so
    that nothing is learned from it. Beside `accuracy` it would change little, for advantages that are
    divided by the group's deviation (`scale_rewards: group`) do not tell rewards of 0 and 2 from 0 and 1.
    """
    right = accuracy_reward(completions, choices=choices, answer=answer)
    # What is known counts in whatever form it was said.
    known = [
        is_correct(text, options, gold, needs_block=False)
        for text, options, gold in zip(silent_answer, choices, answer, strict=True)
    ]
    return [now * (1 - before) for now, before in zip(right, known, strict=True)]


BUILT_IN: dict[str, RewardFunction] = {
    "accuracy": accuracy_reward,
    "counterfactual": counterfactual_reward,
    "format": format_reward,
    "think_format": think_format_reward,
    "length": length_reward,
    "consistency": consistency_reward,
}


def load_rewards(
    names: Sequence[str], *, max_new_tokens: int = 256, overlong_margin: int | None = None
) -> list[RewardFunction]:
    """Return functions by name: built in, `reference_accuracy` and the like, or `path/to/file.py:function`.

    Such a file is a program that is run: give only files, and settings that name files, that you trust.

    Args:
        names: of the rewards.
        max_new_tokens: longest rollout, for `overlong`.
        overlong_margin: tokens before that over which `overlong` falls; None: a fifth of them.

    Raises:
        ValueError: a name is unknown, a file is not there or does not run, or it has no such function.
    """
    margin = overlong_margin or max(1, max_new_tokens // 5)
    overlong = {"overlong": make_overlong_reward(max_new_tokens, margin)}
    return [_load_reward(name, BUILT_IN | overlong) for name in names]


def _load_reward(name: str, built_in: dict[str, RewardFunction]) -> RewardFunction:
    from r1_aqa.rewards.reference import REFERENCE

    known = built_in | REFERENCE
    if name in known:
        return known[name]
    if ".py:" not in name:
        raise ValueError(f"rewards: expected one of {', '.join(known)} or FILE.py:FUNCTION, got {name!r}")
    found = load_own(name, "rewards")
    if not callable(found):
        raise ValueError(f"rewards: {name} is no function")
    return found


def _only_answer(text: str) -> str | None:
    found = _ANSWER_ONLY.fullmatch(text.strip())
    return found["answer"].strip() or None if found else None


def _split_thinking(text: str) -> tuple[str, str] | None:
    head = _THINK_ONLY.match(text.strip())
    answer = _only_answer(text.strip()[head.end() :]) if head else None
    return (head["thinking"], answer) if head and answer else None


def _length_score(parts: tuple[str, str] | None) -> float:
    if parts is None:
        return 0.0
    words, (least, most) = len(parts[0].split()), THINKING_WORDS
    if words <= most:
        return min(1.0, words / least)
    # From 1 at `most` words down to 0 at twice as many.
    return max(0.0, 2.0 - words / most)


def _is_consistent(text: str, choices: Sequence[str]) -> float:
    thinking = " ".join(THINK_BLOCK.findall(text)).casefold()
    answered = match_choice(read_answer(text), choices)
    places = [_last_place(choice.casefold(), thinking) for choice in take_letters_off(choices)[1]]
    # Thinking that names no option is consistent with none, and earns nothing.
    if answered is None or max(places, default=-1) < 0:
        return 0.0
    return float(places[answered] == max(places))


def _last_place(choice: str, thinking: str) -> int:
    # The end, -1 for none: "car" and "car horn" may begin at one place, and the longer one is meant.
    found = [match.end() for match in re.finditer(rf"(?<!\w){re.escape(choice)}(?!\w)", thinking)]
    return found[-1] if found else -1
