"""Find the text of the answer in everything that a model wrote.

Models put it in blocks (`<answer>`, `<response>`, `\\boxed{}`), behind thinking, before tokens that end a
turn. What the text means is for `r1_aqa.rewards.matching`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

THINK_BLOCK = re.compile(r"<(?:think|thinking)>.*?</(?:think|thinking)>", re.S | re.I)
# The innermost of nested blocks, so that a prompt's "in <answer> </answer>" hides nothing.
_ANSWER_BLOCK = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.S | re.I)
_OTHER_BLOCK = re.compile(r"<(response|final_answer)>(.*?)</\1>", re.S | re.I)
_END_OF_THINKING = re.compile(r".*</(?:think|thinking)>", re.S | re.I)
_HALF_TAG = re.compile(r"</?(?:answer|think|thinking|response)>", re.I)
_TOKEN = re.compile(r"<\|[\w-]+\|>|</?s>|<(?:eos|bos|pad)>|<(?:start|end)_of_turn>")
_ROLE = re.compile(r"\s*(?:assistant|model)\s*\n")


def read_answer(completion: str, *, needs_block: bool = True) -> str | None:
    """Return the text of the answer, thinking left out; None when there is none, or several that differ.

    Args:
        completion: everything that the model wrote.
        needs_block: only an answer block counts; False: without one it is a `\\boxed{}`, or all that is left
            without thinking (paper's prompt 1, and models that know nothing of our tags).
    """
    # An answer block inside thinking is no answer.
    rest = THINK_BLOCK.sub("", take_turn(completion))
    if answers := _ANSWER_BLOCK.findall(rest):
        return _one(answers)
    if needs_block:
        return None
    # Some chat templates open the thinking, and models then only close it.
    rest = _END_OF_THINKING.sub("", rest)
    for answers in ([found[2] for found in _OTHER_BLOCK.finditer(rest)], list(boxed(rest))):
        if answers:
            return _one(answers)
    # Half a tag: the format was meant and missed, or the answer cut; what is left is no answer.
    return None if _HALF_TAG.search(rest) else _one([rest])


def take_turn(completion: str) -> str:
    """Return one turn: the tokens before it taken off, and all from the first token that ends it.

    >>> take_turn("<|im_start|>assistant\\nB<|im_end|>\\n<|im_start|>user")
    'B'
    """
    text = completion
    while first := _TOKEN.match(text.lstrip()):
        text = text.lstrip()[first.end() :]
        text = text[role.end() :] if (role := _ROLE.match(text)) else text
    end = _TOKEN.search(text)
    return text[: end.start()] if end else text


def boxed(text: str) -> Iterator[str]:
    r"""Yield what stands in each `\boxed{}`, whose braces may be nested; one without end is none.

    >>> list(boxed(r"So \boxed{\text{B}}."))
    ['\\text{B}']
    """
    ends, opened = dict[int, int](), list[int]()
    for place, character in enumerate(text):
        if character == "{":
            opened.append(place)
        elif character == "}" and opened:
            ends[opened.pop()] = place
    for start in re.finditer(r"\\boxed\s*\{", text):
        if start.end() - 1 in ends:
            yield text[start.end() : ends[start.end() - 1]]


def _one(answers: list[str]) -> str | None:
    # Several blocks that say the same are one answer; that they are several is for the format reward.
    said = [lines for text in answers if (lines := _fold_lines(text))]
    return said[0] if len({text.casefold() for text in said}) == 1 else None


def _fold_lines(text: str) -> str:
    # Lines stay: an explanation may follow on the next one.
    return "\n".join(line for part in text.splitlines() if (line := " ".join(part.split())))
