"""Find an option's words in a text, also with a number or unit spelt otherwise, or "is" before -ing.

"A dog is barking" names "dog barking", "one second" and "1.0 s" name "1 second", "Audio 2" and "the second
clip" name "the second". What follows decides whether it is that option: a car is heard, a car alarm is none.
"""

from __future__ import annotations

import re
from functools import lru_cache

FIRST = 0xE000  # private use: the marks of options 0, 1, ...
OTHER = chr(FIRST + 500)
"""The mark of a letter that no option has."""
MARK = f"[{chr(FIRST)}-{OTHER}]"
"""Pattern of the one character that stands for an option in a text."""
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
"""Words for the numbers from 0."""
ORDINALS = (
    "first|1st",
    "second|2nd",
    "third|3rd",
    "fourth|4th",
    "fifth|5th",
    "sixth|6th",
    "seventh|7th",
    "eighth|8th",
)
"""Words for the places from 1, as patterns."""
_FOLLOWS = (
    "is|are|was|were|be|being|can|has|have|in|on|at|from|with|by|because|since|as|while|for|based|that|which"
    "|who|whose|when|where|here|there|sounds?|voice|speaker|noise|comes|came|appears|seems|fits|matches|best|only|not"
    "|rather|instead|due|given|option|choice|answer|indeed|clearly|quite|audible|time|key|plays|occurs|starts"
    "|loudly|softly|quietly|and|or|nor|then|than"
)
"""Words that may follow an option's text: with any other it may be something else (a car, a car alarm)."""
_NO_SPACES = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_UNITS = (
    "s|secs?|seconds?",
    "ms|msecs?|milliseconds?",
    "mins?|minutes?",
    "h|hrs?|hours?",
    "hz|hertz",
    "khz|kilohertz",
    "db|decibels?",
    "bpm|beats per minute",
    "times?",
)
_SOUND = "audio|clip|sound|recording|sample|track|file|segment|excerpt"
_PLACE = re.compile(
    rf"(?:the\s+)?(?P<ordinal>{'|'.join(ORDINALS)})(?:\s+(?:one|{_SOUND}))?"
    rf"|(?:{_SOUND})\s*(?P<number>[1-8]|{'|'.join(NUMBERS[1:9])})",
    re.I,
)
_QUANTITY = re.compile(r"(?P<value>\d{1,6}(?:\.\d{1,4})?|[a-z]+)[\s_-]*(?P<unit>[a-z][a-z ]*)\.?", re.I)
# "1 to 2 seconds", "over 2 seconds" and "twenty one seconds" are other times.
_NO_QUANTITY_BEFORE = "".join(
    rf"(?<!\b{word}\s)"
    for word in (
        *("to", "and", "over", "under", "above", "below", "most", "until", "point"),
        *("twenty", "thirty", "forty", "fifty", "hundred"),
    )
)


@lru_cache(4096)
def mention_pattern(option: str, options: tuple[str, ...], flags: int) -> re.Pattern[str]:
    """Return where a text names an option: all its words, and none after them that makes it another thing.

    Args:
        option: its text without letter.
        options: the texts of all options.
        flags: of the pattern.
    """
    # Options that differ in case alone are told apart by it: no other spelling of a unit.
    body, number = _body(option, any_spelling=bool(flags & re.I))
    if _NO_SPACES.search(option):
        return re.compile(body, flags)
    before = r"(?<![\w$])(?<![\w.,/:]-)(?<!\d[.,:/])(?<!^-)(?<!\s-)"
    # "3 speakers" counts, "car alarm" is no car.
    others = rf"(?:(?:a|an|the)\s+)?(?:(?:{'|'.join(_body(other)[0] for other in options)})\b|{MARK})"
    follows = rf"(?:{_FOLLOWS}|\w+ing)\b|{others}" if number is None else rf"\w+\b|{MARK}"
    apart = "[-]" if number is None else "[-/]"
    after = rf"(?![\w%$]|{apart}\w|[.,:]\d|\s*%)(?=\s*$|\s*[^\w\s]|\s*\n|\s+(?:{follows}))"
    return re.compile(before + body + after, flags)


def has_number(option: str) -> bool:
    """Return whether an option has a digit, a number's word or an ordinal, for which a place may be taken."""
    return re.search(rf"\d|\b(?:{'|'.join((*NUMBERS, *ORDINALS))}|last)\b", option, re.I) is not None


def _body(option: str, *, any_spelling: bool = True) -> tuple[str, int | None]:
    """Return the pattern of an option's words, and the number that it is, if it is one."""
    words = re.sub(r"^(?:a|an|An|the|The)\s+(?=\w)", "", option).rstrip(".").split() or [option]
    if any_spelling and (place := _PLACE.fullmatch(option.strip(" ."))):
        return _place(place), None
    if any_spelling and (quantity := _QUANTITY.fullmatch(" ".join(words))):
        pattern = _quantity(quantity["value"], quantity["unit"])
        if pattern:
            return pattern, None
    body = re.escape(words[0])
    for word in words[1:]:
        # "A dog is barking."
        verb = r"(?:(?:is|are|was|were|is heard|can be heard|keeps)\s+)?" if word.endswith("ing") else ""
        body += rf"[\s_-]+{verb}{re.escape(word)}"
    number = _number(words[0]) if len(words) == 1 else None
    is_word = number is not None and number < len(NUMBERS)
    return (f"(?:{body}|{number}|{NUMBERS[number]})" if number is not None and is_word else body), number


def _place(match: re.Match[str]) -> str:
    """Return the pattern of one of several sounds: "the second", "the 2nd clip", "Audio 2"."""
    said = match["ordinal"] or match["number"]
    number = _number(said) or next(
        place for place, words in enumerate(ORDINALS, 1) if said.lower() in words.split("|")
    )
    # "First, let me listen" names nothing, nor does "the first option" of two sounds.
    ordinal = (
        rf"(?:the\s+|(?<=\bis\s)|(?<=:\s))(?:{ORDINALS[number - 1]})"
        rf"(?:\s+(?:one|{_SOUND}))?(?!\s+(?:option|choice))"
    )
    return rf"(?:{ordinal}|(?:{_SOUND})\s*(?:{number}|{NUMBERS[number]}))"


def _quantity(value: str, unit: str) -> str | None:
    """Return the pattern of a number with a unit in all its spellings, None if it is no such thing."""
    units = next((words for words in _UNITS if re.fullmatch(words, unit, re.I)), None)
    number = _number(value)
    if units is None or (number is None and not re.fullmatch(r"\d+\.\d+", value)):
        return None
    if number is None and float(value).is_integer():
        number = int(float(value))
    if number is None:
        said = re.escape(value.rstrip("0")) + "0*"
    else:
        word = f"|{NUMBERS[number]}" if number < len(NUMBERS) else ""
        said = rf"{number}(?:\.0+)?{word}"
    return rf"{_NO_QUANTITY_BEFORE}(?:{said})[\s_-]*(?:{units})"


def _number(word: str) -> int | None:
    if word.lower() in NUMBERS:
        return NUMBERS.index(word.lower())
    return int(word) if re.fullmatch(r"[0-9]{1,9}", word) else None
