"""Captions as clauses: how each event stands to the one before it, and the words that carry its meaning.

    >>> for clause in read_clauses("A dog barks loudly while two men are talking"):
    ...     print(repr(clause.relation), *clause.items)
    '' dog bark loud
    'while' two man talk

A few classes of words (`word_classes.py`), no grammar: both captions of a comparison are read the same way,
so that a reading need not be right, only the same for the same meaning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from aac_llm.metrics import word_classes as lex
from aac_llm.metrics.events import stem

Kind = Literal["noun", "verb", "modifier", "quantity", "negation", "preposition"]
Number = Literal["singular", "plural"]
Voice = Literal["active", "passive"]

_TOKEN = re.compile(r"[^\W_]+|[,;.:!?]")
_ARTEFACT = re.compile(r"<[^<>\s]*>")  # <unk>, </s>
_CONTRACTIONS = (
    (r"\bcan['\u2019]?t\b|\bcannot\b", "can not"),
    (r"\bwon['\u2019]t\b", "will not"),
    (r"n['\u2019]t\b", " not"),
)


@dataclass(frozen=True)
class Item:
    """A word that carries meaning."""

    key: str
    """What its inflections share, as "bark" of "barking" and "loud" of "loudly"."""
    kind: Kind = field(compare=False)
    number: Number | None = field(default=None, compare=False)
    """Of a noun, where article and form agree on it."""
    form: Number | None = field(default=None, compare=False)
    """Of a noun: of the word alone, whatever the article says."""
    voice: Voice | None = field(default=None, compare=False)
    """Of a verb, where its form tells."""
    is_adverb: bool = field(default=False, compare=False)
    """Whether it ends in -ly, and so may stand before or after its verb."""

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True)
class Clause:
    """What is said of one event."""

    relation: str
    """How it stands to the clause before: `then`, `while`, `and` ... or nothing (see `RELATIONS`)."""
    items: tuple[Item, ...]

    @property
    def keys(self) -> frozenset[str]:
        """The items' keys."""
        return frozenset(item.key for item in self.items)


def read_clauses(caption: str) -> tuple[Clause, ...]:
    """Read a caption, without what is said twice in a row and without an end that leads nowhere."""
    return tuple(_clauses(without_dangling_end(without_repeats(words_of(caption)))))


def is_cut(caption: str) -> bool:
    """Tell whether a caption ends with a connective or an article."""
    words = words_of(caption)
    return bool(words) and (words[-1] in lex.RELATIONS or words[-1] in ("a", "an", "the"))


def words_of(caption: str) -> list[str]:
    """Return the words and stops of a caption, in lower case, contractions written out.

    >>> words_of("A man's dog doesn't bark; 2 cats do")
    ['a', 'man', 'dog', 'does', 'not', 'bark', ',', 'two', 'cats', 'do']
    """
    text = without_artefacts(caption).lower()
    for pattern, plain in _CONTRACTIONS:
        text = re.sub(pattern, plain, text)
    text = re.sub(r"['\u2019](?:s|re|ll|ve)?\b", "", text)
    text = text.replace("once in a while", "occasionally")  # the one end with "while"
    found = ("," if token in ",;.:!?" else lex.NUMERALS.get(token, token) for token in _TOKEN.findall(text))
    words = list(found)
    while words and words[-1] == ",":
        words.pop()
    return words


def without_artefacts(caption: str) -> str:
    """Leave out the special tokens that a captioner may have written into its text.

    >>> without_artefacts("a dog <unk> barks</s>").split()
    ['a', 'dog', 'barks']
    """
    return _ARTEFACT.sub(" ", caption)


def without_repeats(words: Sequence[str]) -> list[str]:
    """Drop the second of two equal runs of words next to each other.

    >>> " ".join(without_repeats("a dog dog barks in the in the yard".split()))
    'a dog barks in the yard'
    """
    kept = list(words)
    # The shortest first: "dog dog dog dog" is one dog, not two.
    for length in range(1, len(kept) // 2 + 1):
        start = 0
        while start + 2 * length <= len(kept):
            if kept[start : start + length] == kept[start + length : start + 2 * length]:
                del kept[start + length : start + 2 * length]
            else:
                start += 1
    return kept


def without_dangling_end(words: Sequence[str]) -> list[str]:
    """Drop what a cut caption ends with: articles, connectives, prepositions that want a noun.

    >>> " ".join(without_dangling_end("a car drives by and a loud".split()))
    'a car drives by'
    """
    kept = list(words)
    # "A loud", without what is loud.
    after_article = len(kept) > 2 and kept[-2] in ("a", "an") and kind_of(kept[-1]) == "modifier"
    if after_article:
        del kept[-2:]
    while kept and kept[-2:] != ["after", "that"]:
        last = kept[-1]
        if last in lex.DETERMINERS:
            after_article = True
        elif kept[-2:] == ["followed", "by"]:
            kept.pop()
        elif not (
            last == ","
            or last in lex.RELATIONS
            or last in lex.FUNCTION_WORDS
            # "Drives by" is whole, "drives by a" is not.
            or (last in lex.NEED_NOUN and (after_article or last not in lex.PARTICLES))
        ):
            break
        else:
            after_article = False
        kept.pop()
    return kept


def key_of(word: str) -> str:
    """Return what a word's inflections share; an adverb and its adjective are one.

    >>> key_of("loudly"), key_of("barking"), key_of("men"), key_of("heavily") == key_of("heavy")
    ('loud', 'bark', 'man', True)
    """
    word = lex.BASES.get(word, word)
    if is_adverb(word):
        word = f"{word[:-3]}y" if word.endswith("ily") else word[:-2]
    return stem(word)


def is_adverb(word: str) -> bool:
    """Tell whether a word ends as adverbs of manner do."""
    return word.endswith("ly") and len(word) > 4


def kind_of(word: str) -> Kind:
    """Return the class of a lower-case word that is no function word; what no list has is a noun."""
    key = key_of(word)
    if word in lex.NEGATIONS or key in lex.NEGATIONS:
        return "negation"
    if word in lex.QUANTITIES or word.isdigit():
        return "quantity"
    if word in lex.PREPOSITIONS:
        return "preposition"
    if is_adverb(word) or key in lex.MODIFIERS:
        return "modifier"
    return "verb" if key in lex.VERBS else "noun"


def _clauses(words: list[str]) -> list[Clause]:
    clauses: list[Clause] = []
    relation, start, place = "", 0, 0
    while place <= len(words):
        length = _connective(words, place) if place < len(words) else 1
        if length:
            if items := _items(words[start:place]):
                again = _begins_again(items)
                clauses += [
                    Clause(relation, items[:again]),
                    *([Clause("", items[again:])] if items[again:] else []),
                ]
                relation = ""
            if place < len(words):
                relation = _stronger(relation, lex.RELATIONS.get(" ".join(words[place : place + length]), ""))
            start = place + length
        place += length or 1
    return clauses


def _begins_again(items: tuple[Item, ...]) -> int:
    """Return where a clause comes back to what it began with ("birds chirp birds sing"), or its length."""
    for place in range(1, len(items) - 1):
        if items[place] == items[0] and items[0].kind == "noun" and items[place - 1].kind != "preposition":
            return place
    return len(items)


def _connective(words: Sequence[str], place: int) -> int:
    """Return how many words the connective at a place has, 0 if there is none."""
    for length in (2, 1):
        if " ".join(words[place : place + length]) in lex.RELATIONS:
            return length
    return int(words[place] == ",")


def _stronger(one: str, other: str) -> str:
    """Return what two connectives in a row say: "and while" is "while", "then after" is both."""
    said = [name for name in dict.fromkeys((one, other)) if name]
    if len(said) > 1 and "and" in said:
        said.remove("and")
    return " ".join(said)


def _items(words: Sequence[str]) -> tuple[Item, ...]:
    items: list[Item] = []
    light: list[Item] = []
    for place, word in enumerate(words):
        if word in lex.FUNCTION_WORDS or _is_infinitive(words, place):
            continue
        kind = kind_of(word)
        # "One" has the stem of "on".
        key = word if kind in ("quantity", "preposition", "negation") else key_of(word)
        number, form = _number(words, place) if kind in ("noun", "verb") else (None, None)
        voice = _voice(words, place, kind) if kind in ("noun", "verb") else None
        item = Item(key, kind, number, form, voice, is_adverb(word))
        (light if key in lex.LIGHT_WORDS else items).append(item)
    # "Noise and wind": there the noise is an event.
    return tuple(items or light)


def _is_infinitive(words: Sequence[str], place: int) -> bool:
    """Tell whether a word is the "to" of "begins to bark"."""
    return words[place] == "to" and place + 1 < len(words) and kind_of(words[place + 1]) == "verb"


def _number(words: Sequence[str], place: int) -> tuple[Number | None, Number | None]:
    """Return the number that article and form of a noun agree on, if they do, and that of the form."""
    word = words[place]
    # Of two nouns the first belongs to the second ("a church bell rings"), unless that is the only verb.
    has_verb = any(kind_of(other) == "verb" or other in lex.BE for other in words[place + 1 :])
    before = place - 1
    while before >= 0 and words[before] not in lex.FUNCTION_WORDS:
        kind = kind_of(words[before])
        if kind != "modifier" and not (has_verb and (kind == "noun" or words[before].endswith("ing"))):
            break
        before -= 1
    article = words[before] if before >= 0 else ""
    # Many verbs are nouns as well: "a bang" and "sound of knocks" are nouns, "barks" after a noun is none.
    if kind_of(word) == "verb" and article not in lex.DETERMINERS | lex.SINGULAR | lex.PLURAL | {"of"}:
        return None, None
    is_plural = has_plural_form(word)
    form: Number = "plural" if is_plural else "singular"
    # A verb that the lists lack: "horses gallops".
    if is_plural and not has_verb and place and has_plural_form(words[place - 1]):
        return None, form
    if article in lex.SINGULAR:
        return ("singular" if form == "singular" else None), form
    if article in lex.PLURAL and article != "some":
        return ("plural" if form == "plural" else None), form
    # A bare singular is water, or lacks its article or its ending.
    return (form if is_plural or article in lex.DETERMINERS - {"some"} else None), form


def has_plural_form(word: str) -> bool:
    """Tell whether a word has the form of a plural noun, which that of "she barks" is as well."""
    return word in lex.IRREGULAR_PLURALS or (
        word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3
    )


def _voice(words: Sequence[str], place: int, kind: Kind) -> Voice | None:
    """Return whether a verb's subject does it; None where the form does not tell, or it is no verb."""
    word = words[place]
    before = place - 1
    while before >= 0 and (is_adverb(words[before]) or words[before] == "not"):
        before -= 1
    has_be = before >= 0 and words[before] in lex.BE
    if has_be and (word.endswith("ed") or word in lex.PARTICIPLES):
        return "passive"
    # A verb that the lists lack shows itself after "is" only: "is filming", but "a building".
    if word.endswith("ing") and (has_be or kind == "verb"):
        return "active"
    return "active" if kind == "verb" and word.endswith("s") and not has_be else None
