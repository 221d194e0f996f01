"""Decide which option a model's answer means: exactly one, or none.

The paper's reward compares text with the solution and never looks at the options, so "Street 3" earns the
reward for "Lane 3" (a symbolic comparison sees only the number), "Car" does not earn that for "car", and a
list of all options earns it when the right one comes first. Here an answer is read against the options: the
same option whatever its case, spacing, quotes or letter, and no option for a hedge, a list or a negation.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from r1_aqa.data.options import labels_of, take_letters_off

THINK_BLOCK = re.compile(r"<think>.*?</think>", re.S)
ANSWER_BLOCK = re.compile(r"<answer>(.*?)</answer>", re.S)
_LETTER = re.compile(
    r"[(\[（【]?([A-Za-z]|\d{1,2})(?:(?:[)\]）】][.:]?|[.:．：、])(?!\d)\s*|\s+|$)(\S.*)?",
    re.S,
)
_LEAD = re.compile(
    r"(?:the\s+)?(?:(?:correct|right|final|best)\s+)?(?:answer|option|choice)\s*(?:is|:)\s*", re.I
)
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]")
_MARKUP = re.compile(r"</?[bi]>|</?(?:em|strong)>|[*`]{1,3}")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})
_EDGES = " \t\n.,;:!?\"'"


def read_answer(completion: str, *, needs_block: bool = True) -> str | None:
    """Return the text of the answer block, thinking left out; None when there is none or blocks disagree.

    Args:
        completion: everything that the model wrote.
        needs_block: False: without any tag of ours the whole completion is the answer (paper's prompt 1).
    """
    rest = THINK_BLOCK.sub("", completion)  # an answer block inside thinking is no answer
    # Several blocks that say the same are one answer; that they are several is for the format reward.
    answers = [_fold(text) for text in ANSWER_BLOCK.findall(rest)]
    if answers:
        return answers[0] if len({answer.casefold() for answer in answers}) == 1 and answers[0] else None
    # Half a tag: the format was meant and missed, so the rest is not an answer of prompt 1.
    if needs_block or re.search(r"</?(?:answer|think)>", rest):
        return None
    return _fold(rest) or None


def match_choice(answer: str | None, choices: Sequence[str]) -> int | None:
    """Return the index of the one option that the answer names, None when it names none or several.

    Stages, each of which must name one option or is skipped: the text as it stands; without regard to
    case; with typographical variants and markup folded; a letter (A is the first option), alone or before
    its own option; after "the answer is". Options that differ in text but not in a stage are told apart only
    by an earlier stage; of options with the very same text the first is meant. Letters that the options
    themselves have are taken off, and count as their letters in whatever order they stand.

    >>> match_choice("(B) a CAT.", ["a dog", "a cat"]), match_choice("a dog or a cat", ["a dog", "a cat"])
    (1, None)
    >>> match_choice("Woman", ["(A) Man", "(B) Woman"])
    1
    """
    if not answer or not _fold(answer):
        return None
    letters, texts = take_letters_off(choices)
    if not letters:
        return _match(answer, choices, labels_of(choices))
    # With its letter, as shown, first: it is the only way to mean one of several equal texts.
    found = _equal_choice(answer, choices, _fold)
    return _match(answer, texts, letters) if found is None else found


def choose_window(completions: Sequence[str], choices: Sequence[str]) -> int | None:
    """Return the first window whose option is the one that most windows give; 0 if none gives one.

    Without options there is nothing to count: None.
    """
    if not choices:
        return None
    named = [match_choice(read_answer(text, needs_block=False), choices) for text in completions]
    votes = Counter(option for option in named if option is not None)
    # Of equally many the option that comes first: a Counter keeps that order.
    return named.index(votes.most_common(1)[0][0]) if votes else 0


def is_same_text(answer: str | None, right: str) -> bool:
    """Return whether a free answer is the right text, whatever its case, spacing, quotes and markup."""
    return answer is not None and _fold_typography(answer) == _fold_typography(right) != ""


def _match(answer: str, choices: Sequence[str], letters: Sequence[str]) -> int | None:
    # From strict to lenient, so that options that differ in case alone are still told apart.
    for normalize in (_fold, _fold_case, _fold_typography):
        found = _equal_choice(answer, choices, normalize)
        if found is not None:
            return found
    bare = _fold(_MARKUP.sub("", answer)).strip(_EDGES)
    # A letter counts only if nothing follows, or its own option does: "A dog" is no answer A.
    letter = _LETTER.fullmatch(bare)
    if letter and letter[1].upper() in letters:
        return _lettered_choice(letter, choices, letters)
    lead = _LEAD.match(bare)
    rest = bare[lead.end() :] if lead else ""
    return _match(rest, choices, letters) if rest else None


def _lettered_choice(letter: re.Match[str], choices: Sequence[str], letters: Sequence[str]) -> int | None:
    index = letters.index(letter[1].upper())
    if not letter[2]:
        return index
    return index if _fold_typography(letter[2]) == _fold_typography(choices[index]) else None


def _equal_choice(answer: str, choices: Sequence[str], normalize: Callable[[str], str]) -> int | None:
    wanted = normalize(answer)
    # Several options that are the same text name one option; several texts are no answer.
    found = [index for index, choice in enumerate(choices) if wanted and normalize(choice) == wanted]
    return found[0] if len({_fold(choices[index]) for index in found}) == 1 else None


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _fold_case(text: str) -> str:
    return _fold(text).casefold()


def _fold_typography(text: str) -> str:
    # Compatibility forms, quotes, markup, underscores, commas, outer punctuation; never a number's sign.
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_QUOTES)
    text = re.sub(r",(?!\d)", " ", _MARKUP.sub("", text).replace("_", " "))
    return _fold(text).strip(_EDGES).casefold()
