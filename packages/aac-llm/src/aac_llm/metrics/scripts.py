"""Scripts of captions: those that are written without spaces, and whether a text is in Latin letters.

Metrics that count words find none in Chinese or Thai, where a sentence is one string of letters. There each
character, with the marks that belong to it, stands for a word, as is usual for BLEU of Chinese. No segmenter
is needed, and scores do not depend on one; they are higher than with words, and comparable only to scores
that were made by characters too.

    >>> space_characters("狗在叫 loudly").split()
    ['狗', '在', '叫', 'loudly']
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

SCRIPTS = {
    "Chinese": "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "Japanese": "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f",
    "Thai": "\u0e01-\u0e5b",
    "Lao": "\u0e80-\u0edf",
    "Tibetan": "\u0f00-\u0fff",
    "Burmese": "\u1000-\u109f",
    "Khmer": "\u1780-\u17ff",
}
"""Language -> ranges of the characters of its script. Chinese characters are also Japanese ones."""
PUNCTUATION = "。，、！？；：（）「」『』《》〈〉【】〔〕～・…"
"""Of these scripts; no word."""

_ALL = "".join(SCRIPTS.values())
_BLOCKS = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3099, 0x309A))
_MARKS = "".join(
    character
    for first, last in _BLOCKS
    for character in map(chr, range(first, last + 1))
    if unicodedata.category(character) in ("Mn", "Mc")
)
_UNIT = re.compile(rf"[{_ALL}][{_MARKS}]*")


def space_characters(text: str) -> str:
    """Put spaces around each character of a script without spaces; marks stay with their character."""
    return _UNIT.sub(r" \g<0> ", text)


def is_character(word: str) -> bool:
    """Tell whether a word is one character of a script without spaces."""
    return _UNIT.fullmatch(word) is not None


def unspaced_languages(texts: Iterable[str]) -> list[str]:
    """Return the languages whose scripts, written without spaces, are found in some of the texts.

    >>> unspaced_languages(["a dog", "犬が吠える"]), unspaced_languages(["un chien"])
    (['Chinese', 'Japanese'], [])
    """
    characters = set().union(*texts)
    return [
        name
        for name, ranges in SCRIPTS.items()
        if any(re.match(f"[{ranges}]", character) for character in characters)
    ]


def is_latin(texts: Iterable[str]) -> bool:
    """Tell whether at least half of the letters are Latin ones; also where there is no letter.

    >>> is_latin(["Ein Hund bellt über"]), is_latin(["собака лает"]), is_latin([])
    (True, False, True)
    """
    letters = [character for text in texts for character in text if character.isalpha()]
    latin = sum(character.isascii() or "LATIN" in unicodedata.name(character, "") for character in letters)
    return 2 * latin >= len(letters)
