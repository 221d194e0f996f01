"""Faults of English captions that rules find: a repeated word, a dangling end, a missing word ...

    >>> sorted(faults("a dog dog barks and"))
    ['dangling end', 'doubled word']
    >>> faults("A dog barks and a man speaks.")
    {}

They need nothing and say what they found; a fluency detector (`fluency.py`) knows more kinds of errors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from aac_llm.metrics.grammar import grammar_faults

MAX_WORDS = 50
GRAMMAR_WEIGHT = 0.6
"""How surely a pattern of `grammar.py` is a fault: enough to be looked at."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|,")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DOUBLES = _set("very really so tick tock knock beep ha choo woof ding dong no click clack tap far")
_CONNECTIVES = _set("and or but while then as")
_DETERMINERS = _set("a an the")
_AUXILIARIES = _set("is are was were")
_FUNCTION_WORDS = _CONNECTIVES | _DETERMINERS | _AUXILIARIES
_NO_END = _FUNCTION_WORDS | _set("with of at from into onto than very being been their its his some several")
_NO_START = _set("and or but then of followed")
_NEED_OBJECT = _set(
    "using uses making makes hitting holding putting producing causing creating containing taking"
)
_NOT_AFTER_DETERMINER = _FUNCTION_WORDS | _set("of in on at with into from ,")
_NOT_AFTER_AUXILIARY = _FUNCTION_WORDS - _DETERMINERS - _set("then as") | {","}
_LIGHT = _FUNCTION_WORDS | _set("in on of by to with from at for up down it ,")
_ARTEFACT = re.compile(r"<[^<>]*>|[\u2581\u0120\ufffd{}\\|#*=]|([,;!?])\s*\1")
_SINGULAR = re.compile(r"^(?:an?|one) (?:[^\W_]+ )?(?:man|woman|person|dog|cat|bird|car|child|baby) are\b")
_PLURAL = re.compile(r"(?<!of )(?<!of the )\b(?:people|men|women|children|dogs|birds|cars) (?:is|was)\b")


def rule_scores(captions: Sequence[str]) -> np.ndarray:
    """Return how surely captions have a fault, (captions,) in [0, 1]; faults are independent evidence."""
    # Noisy or: two faults of 0.6 are together 0.84.
    return np.array([1 - prod(1 - weight for weight in faults(caption).values()) for caption in captions])


def faults(caption: str) -> dict[str, float]:
    """Find faults of an English caption: name -> how surely it is one, in (0, 1]."""
    words = _WORD.findall(caption.lower())
    # A trailing comma is no word, and would hide a dangling end.
    while words and words[-1] == ",":
        words.pop()
    if not words:
        return {"no words": 1.0}
    checks: dict[str, tuple[float, bool]] = {
        "doubled word": (0.9, _has_doubled_word(words)),
        "repeated phrase": (0.8, _repeats_phrase(words)),
        "repeated word": (0.6, _repeats_word(words)),
        "dangling end": (0.9, _dangles(words)),
        "cut off": (0.6, words[-1] in _NEED_OBJECT),
        "starts amid a sentence": (0.6, words[0] in _NO_START),
        "missing word": (0.8, _misses_word(words)),
        "disagreement": (0.6, _disagrees(" ".join(words))),
        "no text": (0.8, bool(_ARTEFACT.search(caption))),
        "unbalanced": (0.6, _is_unbalanced(caption)),
        "too long": (0.6, len(words) > MAX_WORDS),
    }
    found = {name: weight for name, (weight, is_found) in checks.items() if is_found}
    # What is longer is no caption: its grammar is not looked at.
    grammar = grammar_faults(caption) if len(words) <= MAX_WORDS else ()
    return found | {name: GRAMMAR_WEIGHT for name in grammar if name not in found}


def _has_doubled_word(words: list[str]) -> bool:
    # "Tick tock tock", "very very quiet": sounds and stress are doubled on purpose.
    return any(one == other and one not in _DOUBLES for one, other in pairwise(words))


def _repeats_phrase(words: list[str]) -> bool:
    """Look for two or more words twice in a row, the same four anywhere, or the same clause twice."""
    # A phrase of four words or more has the same four twice, which is found below: whatever is sent as a
    # caption, the time is linear in its length.
    for length in (2, 3):
        for start in range(len(words) - 2 * length + 1):
            if words[start : start + length] == words[start + length : start + 2 * length]:
                return True
    fours = Counter(tuple(words[start : start + 4]) for start in range(len(words) - 3))
    clauses = Counter(_clauses(words))
    return max(fours.values(), default=0) > 1 or max(clauses.values(), default=0) > 1


def _clauses(words: list[str]) -> list[str]:
    # Clauses of one word are names of sounds, which may come twice.
    text = " ".join(words)
    parts = re.split(r"\b(?:and|then|while|as|followed by)\b|,", text)
    return [part.strip() for part in parts if len(part.split()) > 1]


def _repeats_word(words: list[str]) -> bool:
    """Look for a word that carries meaning three times, and is a quarter of the caption or more."""
    most = max(Counter(word for word in words if word not in _LIGHT).values(), default=0)
    # Three dogs in forty words are no fault.
    return most > 2 and 4 * most >= len(words)


def _dangles(words: list[str]) -> bool:
    # "Once in a while" ends with a word that usually goes on.
    return (words[-1] in _NO_END and words[-2:] != ["a", "while"]) or words[-2:] == ["followed", "by"]


def _misses_word(words: list[str]) -> bool:
    return any(
        (one in _DETERMINERS and other in _NOT_AFTER_DETERMINER and (one, other) != ("a", "while"))
        or (one in _AUXILIARIES and other in _NOT_AFTER_AUXILIARY)
        or (one in ("while", "with", "of") and other in _CONNECTIVES)
        for one, other in pairwise(words)
    )


def _disagrees(text: str) -> bool:
    return bool(_SINGULAR.search(text) or _PLURAL.search(text))


def _is_unbalanced(caption: str) -> bool:
    return any(
        caption.count(one) != caption.count(other) for one, other in ("()", "[]", "\u201c\u201d")
    ) or bool(caption.count('"') % 2)
