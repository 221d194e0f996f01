"""Options of a question: letters before them, and which of them an answer in a file means.

Some files write options with letters, `(A) Man`, and answers with or without, `Woman` or `B`. What an option
says is compared without its letter; what a prompt shows is the file's text, letter and all.

    >>> take_letters_off(["(A) Man", "(B) Woman"])
    (('A', 'B'), ('Man', 'Woman'))
    >>> find_option("Woman", ["(A) Man", "(B) Woman"]), find_option("tone", ["dog", "tone "])
    ('(B) Woman', 'tone ')
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from string import ascii_uppercase
from typing import Any

from r1_aqa.data.questions import Question

# A space need not follow, `A.Man`, but a digit may not: `1.5 s` is no option 1.
_MARKED = re.compile(
    r"\s*[*_]{0,2}[(\[（【]?([A-Za-z]|\d{1,2})(?:[)\]）】][.:]?|[.:．：、])[*_]{0,2}(?!\d)\s*(\S.*)",
    re.S,
)
_LABEL = re.compile(r"(?:(?:option|choice|answer)\s*:?\s*)?[(\[]?([A-Za-z]|\d{1,2})[)\].:]{0,2}", re.I)


def take_letters_off(choices: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the options' letters and their texts without them; no letters unless every option has its own.

    Letters count if they are A, B, C, ... (or 1, 2, 3, ...) in any order and each once: `A. J. Smith` among
    other names keeps its initial.
    """
    marked = [_MARKED.fullmatch(choice) for choice in choices]
    letters = tuple(match[1].upper() for match in marked if match)
    expected = [ascii_uppercase[: len(choices)], [str(number + 1) for number in range(len(choices))]]
    if len(choices) < 2 or sorted(letters) not in [sorted(labels) for labels in expected]:
        return (), tuple(choices)
    return letters, tuple(match[2] for match in marked if match)


def labels_of(choices: Sequence[str]) -> tuple[str, ...]:
    """Return by which letter alone each option is meant: the one that it has, or that of its place.

    Options whose letters are not A, B, C, ... keep them in their texts, yet `D` is that of `D. cat`; none is
    meant by a letter that two have.

    >>> labels_of(["dog", "cat"]), labels_of(["B. dog", "D. cat"]), labels_of(["A. dog", "A. cat"])
    (('A', 'B'), ('B', 'D'), ())
    """
    own = [match[1].upper() for choice in choices if (match := _MARKED.fullmatch(choice))]
    if len(own) < max(2, len(choices)):
        return tuple(ascii_uppercase[: len(choices)])
    return tuple(own) if len(set(own)) == len(own) else ()


def is_lettered(text: str) -> bool:
    """Return whether a text begins as an option with a letter or a number does."""
    return _MARKED.fullmatch(text) is not None


def count_lettered(questions: Iterable[Question]) -> int:
    """Return how many questions have options with letters."""
    return sum(bool(take_letters_off(question.choices)[0]) for question in questions)


def is_same_option(choices: Sequence[str], index: int, answer: str) -> bool:
    """Return whether an option says what the right one, given by its text, does; doubled ones do."""
    _, texts = take_letters_off(choices)
    return texts[index] == texts[choices.index(answer)] if answer in choices else choices[index] == answer


def parse_choices(value: Any, answer: Any = None) -> tuple[tuple[str, ...], Any]:
    """Return options of a file as texts, and the answer, which may be the key of one (`{"A": "Man"}`).

    Raises:
        ValueError: they are neither a list nor an object of texts.
    """
    if value is not None and not isinstance(value, dict | list | tuple):
        raise ValueError(f"choices: expected a list of texts, got {value!r}")
    options = list(value.values()) if isinstance(value, dict) else list(value or ())
    for option in options:
        if option is None or isinstance(option, dict | list):
            raise ValueError(f"choices: expected texts, got {option!r}")
    if isinstance(value, dict) and _is_key(answer):
        answer = value.get(answer, answer)
    return tuple(map(str, options)), answer


def parse_answer(value: Any, choices: tuple[str, ...]) -> str | None:
    """Return the text of the option that an answer means, or without options its own text; None for none.

    Args:
        value: text, the index of an option, or None.
        choices: the options.

    Raises:
        ValueError: it means none of the options.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"answer: expected text or the index of an option, got {value!r}")
    if not choices:
        return str(value).strip()
    if isinstance(value, int):
        if str(value) in take_letters_off(choices)[0]:
            raise ValueError(
                f"answer {value} may be the option numbered so or an index, from 0; as text it is the former"
            )
        return option_at(value, choices)
    found = find_option(str(value), choices)
    if found is None:
        raise ValueError(f"answer {value!r} is not one of the choices {list(choices)}")
    return found


def settle_annotators(values: Sequence[Any], choices: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the answer of several annotators, and without options their other answers, which are right, too.

    Among options the one that most of them mean is right; of texts the most frequent is the first.

    Raises:
        ValueError: there is none, one means no option, or no option has more of them than the others.
    """
    answers = [answer for value in values if (answer := parse_answer(value, choices)) is not None]
    if not answers:
        raise ValueError(f"answer: expected an annotator's answer, got {list(values)!r}")
    counts = Counter(answers).most_common()
    if choices and len(counts) > 1 and counts[0][1] == counts[1][1]:
        first, second = counts[0][0], counts[1][0]
        raise ValueError(f"answer: as many annotators mean {first!r} as {second!r}; one option is right")
    return counts[0][0], () if choices else tuple(text for text, _ in counts[1:])


def option_at(index: Any, choices: tuple[str, ...]) -> str | None:
    """Return the option that an index names; AVQA's indices are numbers, None stays None."""
    if index is None:
        return None
    number = int(index)
    if not 0 <= number < len(choices):
        raise ValueError(f"answer {index} is no index of {len(choices)} choices")
    return choices[number]


def find_option(answer: str, choices: Sequence[str]) -> str | None:
    """Return the option that a file's answer means, or None: as it is, or without spaces, letters, case."""
    if answer in choices:
        return answer
    _, texts = take_letters_off(choices)
    stages: tuple[tuple[Sequence[str], Callable[[str], str]], ...] = (
        (choices, _fold),
        (texts, _fold),
        (texts, lambda text: _fold(text).casefold()),
    )
    for options, normalize in stages:
        found = [i for i, option in enumerate(options) if normalize(option) == normalize(answer)]
        # Options of the same text are one option; of several texts none is meant.
        if len({_fold(options[i]) for i in found}) == 1:
            return choices[found[0]]
    return _by_letter(answer, choices, labels_of(choices), texts)


def _by_letter(
    answer: str, choices: Sequence[str], letters: tuple[str, ...], texts: Sequence[str]
) -> str | None:
    marked = _MARKED.fullmatch(answer) or _LABEL.fullmatch(answer.strip())
    if not marked or marked[1].upper() not in letters:
        return None
    index = letters.index(marked[1].upper())
    says = marked[2] if marked.re is _MARKED else texts[index]
    return choices[index] if _fold(says).casefold() == _fold(texts[index]).casefold() else None


def _is_key(answer: Any) -> bool:
    return isinstance(answer, str | int)


def _fold(text: str) -> str:
    return " ".join(text.split())
