"""Reproduce the published rewards, faults included: use `r1_aqa.rewards.rewards` for training.

Their faults, which a reward that reads the options does not have: a number alone decides where math-verify
finds one ("Street 3" for "Lane 3"), case and line breaks matter, the first of several answer blocks wins even
inside thinking, text and further blocks pass the format, and so does an empty block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_BLOCK = re.compile(r"<answer>(.*?)</answer>")  # no line breaks: the published pattern has no DOTALL


def reference_accuracy_reward(
    completions: Sequence[str], *, solution: Sequence[str], **_: Any
) -> list[float]:
    """Return 1 where math-verify finds completion and solution equal, or their first blocks are equal.

    Needs `pip install "r1-aqa[reference]"`; math-verify's time-out works in the main thread only.

    Args:
        completions: everything that the model wrote.
        solution: `<answer>right option</answer>` for each.
    """
    return [float(_is_equal(text, target)) for text, target in zip(completions, solution, strict=True)]


def reference_format_reward(completions: Sequence[str], **_: Any) -> list[float]:
    """Return 1 where the completion begins with an opening and ends with a closing answer tag."""
    return [float(re.fullmatch(r"<answer>.*?</answer>", text, re.S) is not None) for text in completions]


def reference_think_format_reward(completions: Sequence[str], **_: Any) -> list[float]:
    """Return 1 where thinking comes first, white space alone follows, and a closing answer tag is the end."""
    pattern = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.S)
    return [float(pattern.fullmatch(text) is not None) for text in completions]


def _is_equal(text: str, target: str) -> bool:
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise ValueError(
            'the reference accuracy reward needs math-verify: pip install "r1-aqa[reference]"'
        ) from error
    try:
        if float(verify(parse(text), parse(target))) > 0:
            return True
    except Exception:  # the published reward goes on with the text, whatever math-verify raises
        pass
    return _first_block(text) == _first_block(target)


def _first_block(text: str) -> str:
    # Without a block the whole text is compared, so a bare option earns the reward, too.
    found = _BLOCK.search(text)
    return found[1].strip() if found else text.strip()


REFERENCE = {
    "reference_accuracy": reference_accuracy_reward,
    "reference_format": reference_format_reward,
    "reference_think_format": reference_think_format_reward,
}
