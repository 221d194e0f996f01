"""What can be told of a translation without a model: how two texts agree, and what is plainly wrong.

Pure functions of texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from ml_clap.models.normalization import normalize_text

CHRF_ORDER, CHRF_BETA = 6, 2.0
"""chrF2 (M. Popović, chrF: character n-gram F-score, WMT 2015): n-grams of 1 to 6, recall twice as heavy."""
SCRIPT_SHARE = 0.5
"""Of a translation's letters so many must be of its language's script: names may be of another."""
COPY_WORDS = 3
"""A source of fewer words may stay the same in another language ("A robot")."""

_SCRIPTS = {
    "Latn": ("LATIN",),
    "Jpan": ("CJK", "HIRAGANA", "KATAKANA"),
    "Hans": ("CJK",),
    "Hant": ("CJK",),
    "Hang": ("HANGUL",),
    "Cyrl": ("CYRILLIC",),
    "Arab": ("ARABIC",),
    "Hebr": ("HEBREW",),
    "Grek": ("GREEK",),
    "Deva": ("DEVANAGARI",),
    "Beng": ("BENGALI",),
    "Thai": ("THAI",),
    "Armn": ("ARMENIAN",),
    "Geor": ("GEORGIAN",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Ethi": ("ETHIOPIC",),
}
"""ISO 15924 script -> how the names of its letters begin; others are not checked."""

_REPEATS = re.compile(r"(\S.{0,39}?)\1{4,}", re.DOTALL)
"""The same one to forty characters five times in a row: a decoder that has lost its way."""
REPEATED_CHARACTERS = 16
"""A repetition of fewer in all may be meant, as a dog's ワンワンワンワンワン."""


def chrf(text: str, reference: str) -> float:
    """Return how far a text agrees with a reference in its characters, from 0 to 100 (chrF2).

    Case, punctuation and spaces do not count.

    >>> chrf("a dog barks", "A dog barks!"), round(chrf("a dog is barking", "a dog barks"))
    (100.0, 67)
    """
    texts = ["".join(normalize_text(one, "standard").split()) for one in (text, reference)]
    precisions, recalls = [], []
    for order in range(1, CHRF_ORDER + 1):
        found, wanted = (_ngrams(one, order) for one in texts)
        if not found or not wanted:
            continue
        common = (found & wanted).total()
        precisions.append(common / found.total())
        recalls.append(common / wanted.total())
    if not precisions:
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    weighted = CHRF_BETA**2 * precision + recall
    return 100 * (1 + CHRF_BETA**2) * precision * recall / weighted if weighted else 0.0


def _ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def find_fault(source: str, translation: str, language: str) -> str | None:
    """Return what is plainly wrong with a translation into a FLORES code, or None.

    >>> find_fault("A dog barks.", "犬が吠える", "fra_Latn")
    'not in the script Latn'
    """
    if not any(char.isalnum() for char in translation):
        return "no words"
    if any(char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cs", "Co") for char in translation):
        return "damaged characters"
    words = source.split()
    if len(words) >= COPY_WORDS and normalize_text(source) == normalize_text(translation):
        return "a copy of its source"
    if repeats(translation) and not repeats(source):
        return "repeats itself"
    if script_share(translation, language) < SCRIPT_SHARE:
        return f"not in the script {language[4:]}"
    return None


def repeats(text: str) -> bool:
    """Tell whether a text says the same thing again and again."""
    # The last word lacks the space that the others have.
    found = _REPEATS.finditer(f"{text.rstrip(' .!。')} ")
    return any(len(match[0]) >= REPEATED_CHARACTERS for match in found)


def script_share(text: str, language: str) -> float:
    """Return the share of a text's letters that are of a FLORES code's script; 1 where it is not known."""
    begins = _SCRIPTS.get(language[4:])
    letters = [char for char in unicodedata.normalize("NFKC", text) if char.isalpha()]
    if begins is None or not letters:
        return 1.0
    return sum(unicodedata.name(char, "").startswith(begins) for char in letters) / len(letters)
