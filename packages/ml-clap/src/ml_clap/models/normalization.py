"""Normalization of captions and queries before the tokenizer.

Three rules, named in `ModelConfig.text_normalization`; a model is searched with the rule it was trained with.

- `standard`: NFKC, lower case, punctuation and symbols of every script replaced by a space, runs of white
  space collapsed. Marks that are part of a word stay: an apostrophe between letters or digits (`l'eau`) and
  the Catalan l·l. Everything else goes, the hyphen too (`low-pitched` is two words), so that full-width and
  half-width punctuation, or none, give the same text.
- `reference`: the authors' rule, string for string, with what it leaves behind (`«»`, `；`, `…`, trailing and
  some double spaces). Published checkpoints were trained with it.
- `none`: the text as given.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

TextRule = Literal["standard", "reference", "none"]

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇′´`", "'"))
# Emoji come with selectors of their look, which are marks and would stay behind as invisible words.
_VARIATION_SELECTORS = dict.fromkeys(range(0xFE00, 0xFE10))

_REFERENCE_MARKS = ',.!?;:"，。！？：、'
_SPACE_BEFORE_MARK = re.compile(rf"\s([{_REFERENCE_MARKS}](?:\s|$))")
_REFERENCE_REMOVED = re.compile(rf"[{_REFERENCE_MARKS}()|*]")


def normalize_text(text: str, rule: TextRule = "standard") -> str:
    """Normalize `text` by one of the rules of this module's docstring.

    >>> normalize_text("L’eau coule ; quelqu'un dit : « Bonjour ! »")
    "l'eau coule quelqu'un dit bonjour"
    >>> normalize_text("「こんにちは！」と言う；風が吹く…")
    'こんにちは と言う 風が吹く'
    >>> normalize_text("La col·lecció: ＡＢＣ, low-pitched")
    'la col·lecció abc low pitched'
    >>> normalize_text("Wind blows...  (twice)", "reference")
    'wind blows   twice '
    >>> normalize_text("As it IS.", "none")
    'As it IS.'

    Raises:
        ValueError: the rule is none of the three.
    """
    if rule == "none":
        return text
    if rule == "reference":
        return _reference(text)
    if rule == "standard":
        return _standard(text)
    raise ValueError(f"text rule must be standard, reference or none, got {rule!r}")


def _reference(text: str) -> str:
    # Each step halves runs of spaces in one pass, as the authors' does; longer runs are not collapsed.
    text = _SPACE_BEFORE_MARK.sub(r"\1", text.lower()).replace("  ", " ")
    return _REFERENCE_REMOVED.sub(" ", text).replace("  ", " ")


def _standard(text: str) -> str:
    text = text.translate(_APOSTROPHES).translate(_VARIATION_SELECTORS)
    # Lower-casing can leave decomposed letters (İ), so the text is composed once more.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    kept = [char if _is_kept(text, place) else " " for place, char in enumerate(text)]
    return " ".join("".join(kept).split())


def _is_kept(text: str, place: int) -> bool:
    """Tell whether a character belongs to a word: a letter, digit, combining mark, or a mark inside it."""
    char = text[place]
    if char == "'":
        return _is_word_char(text[place - 1 : place]) and _is_word_char(text[place + 1 : place + 2])
    if char == "·":
        return text[place - 1 : place] == "l" and text[place + 1 : place + 2] == "l"
    return unicodedata.category(char)[0] not in "PSZ" and unicodedata.category(char) != "Cc"


def _is_word_char(char: str) -> bool:
    return char != "" and unicodedata.category(char)[0] in "LNM"
