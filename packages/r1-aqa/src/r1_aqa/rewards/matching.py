"""Decide which option a model's answer means: exactly one, or none.

The paper's reward compares text with the solution and never looks at the options, so "Street 3" earns the
reward for "Lane 3" (a symbolic comparison sees only the number), "Car" does not earn that for "car", and a
list of all options earns it when the right one comes first. Here an answer is read against the options: the
same option whatever its case, spacing, quotes or letter, in a sentence, a list of one or a box; and no option
for a hedge, two options, a negation or a refusal. `tests/rewards/answer_forms.jsonl` has the forms.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from r1_aqa.data.options import labels_of, take_letters_off
from r1_aqa.rewards.completion import boxed, read_answer
from r1_aqa.rewards.mentions import named_option
from r1_aqa.rewards.option_words import NUMBERS

_LETTER = re.compile(
    r"(?:(?:option|choice|answer|letter|选项|答案)\s*[:：#]?\s*)?"
    r"[(\[（【{]?([A-Za-z]|\d{1,2})(?:[)\]）】}]\s*[.:、,]?\s*(?:[-–—]\s+)?|[.:．：、,](?!\d)\s*|\s+[-–—]\s+|\s+|$)(\S.*)?",
    re.S | re.I,
)
_LETTER_BEHIND = re.compile(r"(.*\S)\s*[(\[（【]([A-Za-z])[)\]）】]\.?", re.S)
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]")
_MARKUP = re.compile(r"</?[bi]>|</?(?:em|strong)>|[*`]{1,3}|^#+\s+|^>\s+", re.M)
_STRUCK = re.compile(r"~~[^~]*~~|<del>[^<]*</del>", re.I)  # what is struck out is taken back
_NOT_SAID = re.compile(r"[?？][\s\"'*_`)\]>.!]*$|^[\s*-]*\[\s\]")  # "rain?", "[ ] rain"
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "「": '"', "」": '"'})
_EDGES = " \t\n.,;:!?\"'。，；：！？"
_WRAPPED = (
    re.compile(r"\[\s*(?:\"([^\"]*)\"|'(.*)')\s*,?\s*\]", re.S),  # a Python or JSON list of one text
    re.compile(r"\{\s*[\"']?[\w ]+[\"']?\s*:\s*[\"']?([^\"',{}]*)[\"']?\s*\}", re.S),  # an object of one
    re.compile(r"\{.*[\"'](?:final_?)?(?:answer|choice)[\"']\s*:\s*[\"']([^\"']*)[\"'].*\}", re.S | re.I),
    re.compile(r"```\w*\n(.*?)\n?```", re.S),
    re.compile(r"\\?\$+(.*?)\\?\$+|\\\((.*)\\\)|\\\[(.*)\\\]", re.S),
    re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", re.S),
    re.compile(r"\"\"\"(.*)\"\"\"|\"([^\"]*)\"|'([^']*)'", re.S),
    re.compile(r"\[([^\[\],]+)\]|\(([^(),]+)\)|<([^<>,/|]+)>", re.S),
)


@dataclass(frozen=True)
class Options:
    """What an answer is read against: the options' texts without their letters, and their letters."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def first_equal(self, index: int) -> int:
        """Return the first option of the same text: options that are the same text are one."""
        return next(i for i, text in enumerate(self.texts) if _fold(text) == _fold(self.texts[index]))


def match_choice(answer: str | None, choices: Sequence[str]) -> int | None:
    """Return the index of the one option that the answer names, None when it names none or several.

    Stages, each of which must name one option or is skipped: the text as it stands; without regard to
    case; with typographical variants, markup and wrapping folded; a letter (A is the first option), alone or
    beside its own option; what a sentence states or names (`r1_aqa.rewards.mentions`). Options that differ in
    text but not in a stage are told apart only by an earlier stage; of options with the very same text the
    first is meant. Letters that the options themselves have are taken off, and count as their letters in
    whatever order they stand.

    >>> match_choice("(B) a CAT.", ["a dog", "a cat"]), match_choice("a dog or a cat", ["a dog", "a cat"])
    (1, None)
    >>> match_choice("Woman", ["(A) Man", "(B) Woman"])
    1
    """
    answer = _STRUCK.sub(" ", answer or "")
    if not _fold(answer) or not choices:
        return None
    letters, texts = take_letters_off(choices)
    if letters:
        # With its letter, as shown, first: it is the only way to mean one of several equal texts.
        found = _equal_choice(answer, choices, _fold)
        if found is not None:
            return found
    # Notes and blood types: among C, D, E an answer B is no second option.
    has_letters = any(len(_fold(text)) == 1 and text.strip().isalpha() for text in texts)
    options = Options(tuple(texts), letters or (() if has_letters else labels_of(choices)))
    for text in _unwrapped(answer):
        found = _match_whole(text, options)
        if found is not None:
            return found
    return _named(answer, options)


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
    return answer is not None and any(
        _fold_typography(text) == _fold_typography(right) != "" for text in _unwrapped(answer)
    )


def _match_whole(answer: str, options: Options) -> int | None:
    """Return the option that all of a text says, with its letter or without."""
    if _NOT_SAID.search(answer) and not any(_NOT_SAID.search(text) for text in options.texts):
        return None
    # From strict to lenient, so that options that differ in case alone are still told apart.
    for normalize in (_fold, _fold_case, _fold_typography, _fold_article, _fold_number):
        found = _equal_choice(answer, options.texts, normalize)
        if found is not None:
            return found
    bare = _fold(_MARKUP.sub("", answer)).strip(_EDGES)
    # A letter counts only if nothing follows, or its own option does: "A dog" is no answer A.
    if letter := _LETTER.fullmatch(bare):
        return _lettered_choice(letter[1], letter[2], options)
    if behind := _LETTER_BEHIND.fullmatch(bare):
        return _lettered_choice(behind[2], behind[1], options)
    return None


def _lettered_choice(letter: str, text: str | None, options: Options) -> int | None:
    said = _fold_typography(text or "")
    if letter.isdigit() and letter not in options.labels:
        # A number is no letter, but may be the place at which a prompt showed the option.
        index = int(letter) - 1
        return index if said and 0 <= index < len(options.texts) and _says(said, index, options) else None
    if letter.upper() not in options.labels:
        return None
    index = options.labels.index(letter.upper())
    return index if not said or _says(said, index, options) else None


def _says(said: str, index: int, options: Options) -> bool:
    return said in (_fold_typography(options.texts[index]), _fold_article(options.texts[index]))


def _named(answer: str, options: Options) -> int | None:
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", answer)).translate(_QUOTES)
    for box in boxed(text):
        text = text.replace(f"\\boxed{{{box}}}", box)
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text)
    text = _MARKUP.sub("", re.sub(r"\\?\$(?!\d)", "", text))  # "$B$"; a sum in dollars stays
    texts = [_fold(unicodedata.normalize("NFKC", choice)).translate(_QUOTES) for choice in options.texts]
    # Lines that say an option by themselves are read as whole answers are.
    found = named_option(
        text, texts, options.labels, lambda line: _match_whole(line, options) if line.strip() else None
    )
    return None if found is None else options.first_equal(found)


def _unwrapped(answer: str) -> Iterator[str]:
    """Yield the text, then without its wrapping, layer by layer: boxes, lists of one, quotes, brackets."""
    text = answer
    for _ in range(6):
        yield text
        bare = _fold(text).strip(" \t\n.*_") if "```" not in text else text.strip()
        boxes = list(boxed(bare))
        if len(boxes) == 1 and re.fullmatch(r"\\boxed\s*\{.*\}", bare, re.S):
            text = boxes[0]
            continue
        inner = next((m for pattern in _WRAPPED if (m := pattern.fullmatch(bare))), None)
        if inner is None:
            return
        text = next((group for group in inner.groups() if group is not None), "")


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


def _fold_article(text: str) -> str:
    # "a-car-horn"; a capital A may be a key or a blood type: "A minor".
    text = re.sub(r"(?<=[^\W\d])-(?=[^\W\d])", " ", text)
    return _fold_typography(re.sub(r"^\W*(?:a|an|An|the|The)\s+(?=\w)", "", text))


def _fold_number(text: str) -> str:
    folded = _fold_article(text)
    return str(NUMBERS.index(folded)) if folded in NUMBERS else folded
