"""Judge whether a prediction is right: as the official MMAU and MMAR scripts do, and strictly.

The official rule (`string_match` of both): as sets of lower-case words, the right option is contained in the
prediction, and no word of a wrong option that the right one lacks. So "not rain" is right where rain is,
"event B, then A" is right where "A, then B" is, and "(A) rain" is wrong where another option has an `a`.
The official scripts skip an item without prediction, which shrinks the denominator: here it is wrong, and
counted.

The strict rule reads the answer against the options: `r1_aqa.rewards.matching`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from r1_aqa.rewards.rewards import is_correct

_WORD = re.compile(r"\b\w+\b")
_BLOCK = re.compile(r"<answer>(.*?)</answer>", re.S)


@dataclass(frozen=True)
class Verdict:
    """Whether a prediction is right by the two rules."""

    official: bool
    strict: bool


def judge(
    completion: str | None,
    choices: Sequence[str],
    answer: str,
    *,
    written: str | None = None,
    alternatives: Sequence[str] = (),
) -> Verdict:
    """Return both verdicts on a raw completion; None, for no prediction, is wrong.

    The official rule is given the text of the first answer block, or the whole when there is none, as the
    paper's evaluation does, and the right answer as it is `written` in its file, which may lack the letter
    that its option has; the strict one reads all of the completion, and takes letters of options off. Without
    options the answer of any annotator is right (`alternatives`), by both.
    """
    if completion is None:
        return Verdict(official=False, strict=False)
    said, rights = official_text(completion), (written or answer, *alternatives)
    return Verdict(
        official=any(official_match(right, said, choices) for right in rights),
        strict=bool(is_correct(completion, choices, answer, needs_block=False, alternatives=alternatives)),
    )


def official_text(completion: str) -> str:
    """Return the text for the official scripts: the first answer block, or everything when there is none."""
    found = _BLOCK.search(completion)
    return (found[1] if found else completion).strip()


def official_match(answer: str, prediction: str, choices: Sequence[str]) -> bool:
    """Return the official verdict, word for word.

    >>> official_match("a dog", "It is a dog.", ["a dog", "a cat"])
    True
    """
    # Sets of words: order and repetition do not count, and an empty prediction is never right.
    predicted, right = _words(prediction), _words(answer)
    wrong: set[str] = set().union(*(_words(choice) - right for choice in choices if _words(choice) != right))
    return bool(predicted) and right <= predicted and not predicted & wrong


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
