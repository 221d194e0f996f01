"""Words of WordNet 3.0 (Princeton University): parts of speech with their frequencies, base forms, synsets.

The table beside this file holds single words in small letters (`benchmarks/wordnet_table.py` made it; the
licence of WordNet stands at its head). It is read once, in about a quarter of a second.
"""

from __future__ import annotations

import gzip
from functools import cache, lru_cache
from importlib import resources
from itertools import chain
from types import MappingProxyType

NOUN, VERB, ADJECTIVE, ADVERB = "nvar"
Synset = int | str
"""A synset of several words by its number; one that a word has alone by that word."""

_SUFFIXES = {
    NOUN: "s: ses:s xes:x zes:z ches:ch shes:sh men:man ies:y",
    VERB: "s: ies:y es:e es: ed:e ed: ing:e ing:",
    ADJECTIVE: "er: est: er:e est:e",
    ADVERB: "",
}
"""Endings and what stands for them in the base form, in the order of WordNet's program `morphy`."""
_ENDINGS = {
    part: [(ending, new) for ending, _, new in (cell.partition(":") for cell in text.split())]
    for part, text in _SUFFIXES.items()
}


def parts_of_speech(word: str) -> MappingProxyType[str, int]:
    """Return the parts of speech of a base form and how often it is each in WordNet's tagged texts.

    >>> dict(parts_of_speech("bark"))
    {'n': 6, 'v': 1}
    """
    return _table()[0].get(word, _NOTHING)


def base_form(word: str, part: str) -> str | None:
    """Return the base form of an inflected word of this part of speech; None: it is of no word known.

    >>> base_form("barks", "v"), base_form("geese", "n"), base_form("ran", "v"), base_form("running", "v")
    ('bark', 'goose', 'run', 'run')
    >>> base_form("bark", "v") is base_form("barkly", "v") is None
    True
    """
    for base, of_part in _table()[2].get(word, ()):
        if of_part == part:
            return base
    for ending, replacement in _ENDINGS[part]:
        if word.endswith(ending):
            stem = word[: len(word) - len(ending)] + replacement
            if part in parts_of_speech(stem):
                return stem
    return None


@lru_cache(maxsize=100_000)
def synsets(word: str) -> frozenset[Synset]:
    """Return the synsets of a word and of what it may be an inflection of, whatever the part of speech.

    >>> bool(synsets("noise") & synsets("sounds")), bool(synsets("barking") & synsets("bark"))
    (False, True)
    >>> bool(synsets("car") & synsets("automobile"))
    True
    """
    words, numbers, irregular = _table()
    # As METEOR's dictionary has it, which SPICE asks: an irregular form is no regular one besides.
    stems = [base for base, _ in irregular.get(word, ())] or [_first_stem(word)]
    found: set[Synset] = set()
    for form in (word, *stems):
        if form in words:
            found |= {form, *numbers[form]}
    return frozenset(found)


def _first_stem(word: str) -> str:
    if not word.endswith("ss") and len(word) > 2:
        for ending, replacement in chain.from_iterable(_ENDINGS.values()):
            stem = word[: len(word) - len(ending)] + replacement
            if word.endswith(ending) and stem in _table()[0]:
                return stem
    return word


_NOTHING: MappingProxyType[str, int] = MappingProxyType({})
_Table = tuple[
    dict[str, MappingProxyType[str, int]], dict[str, frozenset[int]], dict[str, list[tuple[str, str]]]
]


@cache
def _table() -> _Table:
    """Read parts of speech, numbers of synsets, and irregular forms with their bases."""
    words: dict[str, MappingProxyType[str, int]] = {}
    numbers: dict[str, frozenset[int]] = {}
    irregular: dict[str, list[tuple[str, str]]] = {}
    packed = resources.files("aac_llm.metrics").joinpath("wordnet.txt.gz").read_bytes()
    for line in gzip.decompress(packed).decode("ascii").splitlines():
        if line.startswith("#"):
            continue
        word, *cells = line.split(" ")
        form, equals, base = word.partition("=")
        if equals:
            irregular.setdefault(form, []).append((base, cells[0]))
            continue
        split = [cell.partition(":") for cell in cells]
        words[word] = MappingProxyType({head[0]: int(head[1:]) for head, _, _ in split})
        numbers[word] = frozenset(int(n) for _, _, tail in split for n in tail.split(",") if n)
    return words, numbers, irregular
