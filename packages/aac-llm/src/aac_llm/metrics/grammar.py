"""Faults of grammar for which one must tell nouns from verbs, by the word classes of `word_classes.py`.

    >>> sorted(grammar_faults("a dog barks a man speaks"))
    ['two events run together']
    >>> grammar_faults("a dog barks and a man speaks")
    set()

The patterns are narrow: a caption that people wrote must pass, so each asks for words that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from aac_llm.metrics import word_classes as lex
from aac_llm.metrics.clauses import has_plural_form, is_adverb, key_of, kind_of, words_of


def _is_agent(word: str) -> bool:
    return key_of(word) in lex.AGENTS or key_of(word) in lex.NATURAL_VERBS


_CLASSES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    # The first that holds counts.
    ("a", lambda word: word == "and"),
    ("o", lambda word: word in ("or", "one")),
    ("c", lambda word: word in lex.RELATIONS or word == ","),
    ("q", lambda word: word in ("a", "an")),
    ("m", lambda word: word in lex.PLURAL - {"these", "those"}),
    ("t", lambda word: word in lex.DETERMINERS - {"that", "this"}),
    ("i", lambda word: word in ("is", "was", "has")),
    ("r", lambda word: word in ("are", "were", "have")),
    ("f", lambda word: word in lex.FUNCTION_WORDS),
    ("p", lambda word: word in lex.PREPOSITIONS),
    ("y", is_adverb),
    ("u", lambda word: word in lex.UNCOUNTED),
    ("j", lambda word: kind_of(word) in ("modifier", "negation", "quantity")),
    ("D", lambda word: _is_agent(word) and has_plural_form(word) and key_of(word) not in lex.VERBS),
    ("A", lambda word: _is_agent(word) and key_of(word) not in lex.VERBS),
    ("x", lambda word: key_of(word) in lex.INTRANSITIVE and word.endswith("ing")),
    ("X", lambda word: key_of(word) in lex.INTRANSITIVE and has_plural_form(word)),
    ("Z", lambda word: key_of(word) in lex.INTRANSITIVE and not word.endswith("ed")),
    ("v", lambda word: key_of(word) in lex.VERBS and word.endswith(("ing", "ed"))),
    ("V", lambda word: key_of(word) in lex.VERBS and has_plural_form(word)),
    ("B", lambda word: key_of(word) in lex.VERBS),
    ("S", has_plural_form),
    ("N", lambda word: True),
)
"""A letter for each class of words, in which the patterns below are written: N, S, A, D are nouns (S and D
plural, A and D of what acts), B and V, Z and X, v and x verbs without ending, with -s, with -ing or -ed (Z, X
and x without object), i and r "is" and "are", q, t and m articles, j and y adjectives and adverbs."""
_NOUN = "[NSADu]"
_END = "(?:[ypac]|$)"
_PATTERNS = {
    name: re.compile("|".join(patterns))
    for name, patterns in {
        "two events run together": [
            # A dog barks (loudly, in the yard) | a man speaks
            rf"^(?!c).*(?:{_NOUN}[ir]?y?x|{_NOUN}y?[XZ])[yj]*(?:p[qtm]?j*[NS])?"
            rf"(?:[qtm][yj]*{_NOUN}+|[SD])y?(?:[ir]y?[xvNB]|[XV]|[BZx])"
        ],
        "no verb": [
            "^q[yj]*[NA]a[qt][yj]*[NA](?:i|y?[XV])",  # a dog and a man speaks
            "[ir]y+(?:[ac]|$)",  # a dog is loudly and
            "^(?:[qt]j*A|[mt]?j*D)y*(?:p[qt]?[NS])?c",  # a dog while
        ],
        "wrong word order": [
            "q(?:X|V(?![NSADBVXZ]))",  # a barks
            f"t[XV][NA]|m[ZB][SD]|^[ZB][SD]|^[ir][qtm]?{_NOUN}",  # the barks dog, two bark dogs
            f"[NA]t[XV]{_END}|[SD]m(?:r|[ZB]{_END})|[NSAD][qt]{_END}",  # dog the barks, dogs two bark
            "[AD]x[ir]",  # a dog barking is
        ],
        "disagreement": [
            f"(?:^|c)[qt][yj]*[NA](?:r|y?Z{_END})",  # a dog bark
            f"(?:^|[ac])[mt]?[yj]*[SD](?:i[yxv]|y?X{_END})",  # dogs is barking
            f"(?:^|[ac])m[yj]*[SD]y?V{_END}",
        ],
    }.items()
}


def grammar_faults(caption: str) -> set[str]:
    """Name the faults of an English caption: keys of `_PATTERNS`, and "repeated adverb"."""
    words = words_of(caption)
    line = "".join(map(_class_of, words))
    found = {name for name, pattern in _PATTERNS.items() if pattern.search(line)}
    return found | ({"repeated adverb"} if _repeats_adverb(words) else set())


def _class_of(word: str) -> str:
    return next(letter for letter, holds in _CLASSES if holds(word))


def _repeats_adverb(words: Sequence[str]) -> bool:
    """Look for an adverb twice in a clause: "loudly barks loudly"."""
    seen: set[str] = set()
    for word in words:
        if word in lex.RELATIONS or word == ",":
            seen.clear()
        elif is_adverb(word):
            if word in seen:
                return True
            seen.add(word)
    return False
