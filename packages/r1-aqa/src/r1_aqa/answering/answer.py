"""An answer: what a completion says, and which option that is; and what can be asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from r1_aqa.rewards.completion import read_answer
from r1_aqa.rewards.matching import match_choice

_THINKING = re.compile(r"<think>(.*?)(?:</think>|$)", re.S)


@dataclass(frozen=True)
class Answer:
    """A model's answer to a question."""

    text: str
    """The answer itself: the content of the answer block, or everything when there is none."""
    choice: str | None
    """The option that is meant; None without options, or when the answer names none or several."""
    thinking: str | None
    """The thinking before it, with a thinking prompt; None without."""
    completion: str
    """Everything that the model wrote."""
    cut: bool = False
    """Whether only a part of the sound was heard (`SoundConfig`)."""
    truncated: bool = False
    """Whether `max_new_tokens` ended the answer."""
    windows: tuple[str, ...] = ()
    """What was written about each window of a long sound (`too_long: windows`)."""
    complaints: tuple[str, ...] = ()
    """What is odd about the sound, which was heard nevertheless: damage, channels that cancel each other."""
    error: str | None = None
    """Of several sounds: why this one has no answer, and so no text; None if it has one."""


def parse_answer(completion: str, choices: Sequence[str]) -> Answer:
    """Return the answer of a completion, the option that is meant, and its thinking."""
    text = read_answer(completion, needs_block=False)
    index = match_choice(text, choices)
    thinking = _THINKING.search(completion)
    return Answer(
        text if text is not None else completion.strip(),
        None if index is None else choices[index],
        thinking[1].strip() if thinking else None,
        completion,
    )


def check_texts(question: str, choices: Iterable[str] | None) -> tuple[str, ...]:
    """Return the options, an iterator's, too; raise for a question or options that are not texts.

    Raises:
        TypeError, ValueError: what it is instead.
    """
    if not isinstance(question, str):
        raise TypeError(
            f"question: expected a text, got {type(question).__name__}; several questions: answer_all"
        )
    if not question.strip():
        raise ValueError("question is empty")
    if isinstance(choices, str):
        raise TypeError(f"choices: expected several texts, got the one text {choices!r}")
    if isinstance(choices, Mapping | Set):
        raise TypeError(f"choices: expected a list of texts, got {type(choices).__name__}")
    found = () if choices is None else tuple(choices)
    for number, choice in enumerate(found):
        if not isinstance(choice, str):
            raise TypeError(f"choices[{number}]: expected a text, got {type(choice).__name__}")
        if not choice.strip():
            raise ValueError(f"choices[{number}] is empty")
    return found


def check_numbers(*, max_new_tokens: int, temperature: float, batch_size: int) -> None:
    """Raise for numbers with which nothing can be generated.

    Raises:
        ValueError: which one it is.
    """
    for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if not isinstance(temperature, int | float) or not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 or more, got {temperature!r}")
