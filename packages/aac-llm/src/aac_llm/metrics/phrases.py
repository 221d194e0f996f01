"""Phrases of a tagged caption: noun phrases with what describes them, verbs, prepositions and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from aac_llm.metrics.gerunds import DESCRIBING, NOUNS, name_gerunds, noun_follows
from aac_llm.metrics.tagger import Token

_PARTICIPLES = frozenset({"VBG", "VBN"})


@dataclass(slots=True, eq=False)
class Noun:
    """Head of a noun phrase."""

    lemma: str
    tag: str
    attributes: list[str] = field(default_factory=list)
    """Adjectives, participles and nouns before it, and numbers before a plural."""
    is_owned: bool = False
    """Whether `its`, `their` or the like is before it."""
    owners: list[Noun] = field(default_factory=list)
    """In "a man 's voice" the man."""

    @property
    def is_noun(self) -> bool:
        """Tell a noun from a pronoun, a number or an adjective in its place."""
        return self.tag in NOUNS


@dataclass(slots=True)
class Phrase:
    """One part of a caption."""

    kind: str
    """`noun`, `verb`, `prep`, `and`, `under` (a conjunction such as `while`), `which`, `there`, `adjective`,
    `adverb` or `particle` ("turns on")."""
    text: str = ""
    """Lemma of a verb; otherwise the words, of a noun phrase the last one."""
    noun: Noun | None = None
    form: str = ""
    """Of a verb `finite`, `participle` or `infinitive`; of a noun phrase that begins with it `a` or `'s`."""
    passive: bool = False
    more: list[Noun] = field(default_factory=list)
    """Objects besides the head: of "a lot of dogs" the lot."""


_Read = tuple[Phrase, int] | None
"""A phrase and the place behind it."""


def find_phrases(tokens: Sequence[Token]) -> list[Phrase]:
    """Split a tagged caption into phrases, from left to right.

    >>> from aac_llm.metrics.tagger import tag_words
    >>> [(phrase.kind, phrase.text) for phrase in find_phrases(tag_words("a dog is barking next to a car"))]
    [('noun', 'dog'), ('verb', 'bark'), ('prep', 'next to'), ('noun', 'car')]
    """
    tokens = name_gerunds(tokens)
    phrases: list[Phrase] = []
    place = 0
    while place < len(tokens):
        found = _noun_phrase(tokens, place) or _preposition(tokens, place) or _verb_group(tokens, place)
        phrase, place = found or (_other(tokens[place]), place + 1)
        phrases.append(phrase)
    return _join_quantities(_join_owners(phrases))


# -------------------------------------------------------------------------------------------- noun phrases
def _noun_phrase(tokens: Sequence[Token], start: int) -> _Read:
    first = tokens[start]
    if first.tag == "PRP":
        return Phrase("noun", first.word, Noun(first.word, "PRP")), start + 1
    if first.tag in _PARTICIPLES and not _is_modifier(tokens, start):
        return None
    end = start
    while end < len(tokens) and _continues(tokens, start, end):
        end += 1
    while end > start and tokens[end - 1].tag not in NOUNS:
        end -= 1
    if end == start:
        return _no_noun(tokens, start) if first.tag in {"DT", "CD"} else None
    article = {"a": "a", "an": "a", "'s": "'s", "'": "'s"}.get(first.word, "")
    return Phrase("noun", tokens[end - 1].word, _head(tokens[start:end]), article), end


def _continues(tokens: Sequence[Token], start: int, place: int) -> bool:
    """Tell whether the word here goes on with the noun phrase that begins at `start`."""
    tag, before = tokens[place].tag, tokens[place - 1].tag if place > start else ""
    if tag in NOUNS:
        return True
    if before in NOUNS:
        return False
    if tag in {"JJ", "CD"}:
        return True
    if tag in {"DT", "PRP$", "POS"}:
        return before in {"", "DT"}
    if tag == "CC":
        # "a low and steady hum", and not "loud and dogs bark"
        return before in DESCRIBING and noun_follows(tokens, place)
    return (tag in _PARTICIPLES or (tag == "RB" and place > start)) and noun_follows(tokens, place)


def _is_modifier(tokens: Sequence[Token], place: int) -> bool:
    """Tell whether a participle that begins a phrase belongs to the noun after it: "of running water"."""
    if not noun_follows(tokens, place):
        return False
    if place == 0:
        # "chirping birds sing", but "blowing air through a fan"
        rest = [token.tag for token in tokens[1:] if token.tag not in {"JJ", "NN", "NNS"}]
        return rest[:1] != [] and rest[0] in {"VBZ", "VBP", "BE", "VBD", "VBG", "CC"}
    before = tokens[place - 1]
    if tokens[place].tag == "VBN":
        is_verb = before.tag in {"BE", "VBZ", "VBP", "NN", "NNS", "PRP", "RB"}
        return not is_verb or before.word in {"out", "up"}
    if before.tag == "IN":
        by_whom = before.word == "by" and place > 1 and tokens[place - 2].tag == "VBN"
        return by_whom or before.word not in {"by", "without", "after", "before", "for"}
    if before.tag == "CC":
        return not any(token.tag.startswith("VB") or token.tag == "BE" for token in tokens[:place])
    return before.tag in {"VBZ", "VBP", "TO"}


def _head(tokens: Sequence[Token]) -> Noun:
    noun = Noun(tokens[-1].lemma, tokens[-1].tag)
    for token, follower in pairwise(tokens):
        # An adverb just before a noun is an adjective that was not known: "a gravely road".
        described = token.tag in DESCRIBING | NOUNS or (token.tag == "RB" and follower.tag in NOUNS)
        if described or (token.tag == "CD" and noun.tag == "NNS"):
            noun.attributes.append(token.lemma)
        noun.is_owned |= token.tag == "PRP$"
    return noun


def _no_noun(tokens: Sequence[Token], start: int) -> _Read:
    """Read "another", "two", "each other"."""
    two = [token.word for token in tokens[start + 1 : start + 2]]
    end = start + 2 if two and two[0] in {"other", "another"} else start + 1
    return Phrase("noun", tokens[start].word, Noun(tokens[start].word, tokens[start].tag)), end


# --------------------------------------------------------------------------------------------------- verbs
def _verb_group(tokens: Sequence[Token], start: int) -> _Read:
    """Read auxiliaries and a verb, with the adverbs between them."""
    infinitive = tokens[start].tag == "TO"
    place = start + infinitive
    finite = be = False
    main: Token | None = None
    while place < len(tokens) and main is None:
        token = tokens[place]
        following = tokens[place + 1].tag if place + 1 < len(tokens) else ""
        if token.tag == "MD":
            finite = True
        elif token.tag == "BE":
            finite |= token.word not in {"be", "been", "being"} and not infinitive
            be = True
        elif token.lemma in {"have", "do"} and following in {"VBN", "BE", "VB"}:
            finite |= token.tag != "VBG"
        elif token.tag.startswith("VB") and not (be and token.tag in {"VBZ", "VBP"}):
            main = token
        elif token.tag != "RB" or place == start or not _verb_follows(tokens, place):
            break
        place += 1
    if place == start + infinitive:
        return None
    lemma = "be" if main is None else main.lemma
    tag = "" if main is None else main.tag
    if finite or (tag in {"VBZ", "VBP", "VBD"} and not be):
        return Phrase("verb", lemma, form="finite", passive=be and tag in {"VBN", "VBD"}), place
    form = "infinitive" if infinitive or tag == "VB" else "participle"
    return Phrase("verb", lemma, form=form, passive=tag == "VBN"), place


def _verb_follows(tokens: Sequence[Token], place: int) -> bool:
    rest = [token.tag for token in tokens[place:] if token.tag != "RB"]
    return rest[:1] != [] and (rest[0].startswith("VB") or rest[0] == "BE")


# ------------------------------------------------------------------------------------ prepositions, the rest
_SEVERAL_WORDS = """
in front of, on top of, next to, close to, near to, out of, because of, due to, such as, along with,
away from, together with, inside of, outside of, off of, instead of, in between, prior to, ahead of,
apart from, across from, except for, according to, thanks to
"""
_JOINED = [text.split() for text in _SEVERAL_WORDS.split(",")]
"""Prepositions of several words. To SPICE "followed by" is none: only a noun can be followed."""
_KINDS = {"CC": "and", "SC": "under", "WRB": "under", "JJ": "adjective", "WDT": "which", "EX": "there"}


def _preposition(tokens: Sequence[Token], start: int) -> _Read:
    words = [token.word for token in tokens[start : start + 3]]
    if words == ["as", "well", "as"]:
        return Phrase("and", "and"), start + 3
    for joined in _JOINED:
        if words[0] == joined[0] and words[: len(joined)] == joined:
            return Phrase("prep", " ".join(joined)), start + len(joined)
    following = [token.tag for token in tokens[start + 1 : start + 2]]
    is_to = tokens[start].tag == "TO" and following not in (["VB"], ["BE"])
    return (Phrase("prep", words[0]), start + 1) if is_to or tokens[start].tag == "IN" else None


def _other(token: Token) -> Phrase:
    return Phrase("particle" if token.tag == "RP" else _KINDS.get(token.tag, "adverb"), token.word)


def _join_owners(phrases: Sequence[Phrase]) -> list[Phrase]:
    """Make one phrase of "a man 's voice"."""
    done: list[Phrase] = []
    for phrase in phrases:
        owner = done[-1].noun if done and done[-1].kind == "noun" else None
        if phrase.noun is not None and phrase.form == "'s" and owner is not None:
            phrase.noun.owners = [owner]
            phrase.more += [*done.pop().more, owner]
        done.append(phrase)
    return done


_AFTER_A = """
lot number couple bunch handful dozen series variety multitude array string ton range heap sort kind type
form bit pair
"""
_ALONE = """
lots plenty tons dozens loads hundreds thousands many several some all both one two three four five six
seven eight nine ten
"""
_QUANTITIES = {"a": frozenset(_AFTER_A.split()), "": frozenset(_ALONE.split())}
"""Words that count what comes after `of`, by the article before them."""


def _join_quantities(phrases: Sequence[Phrase]) -> list[Phrase]:
    """Make the dogs the head in "a lot of dogs"; the lot stays an object, as in SPICE."""
    done: list[Phrase] = []
    for phrase in phrases:
        counted = done[-2:]
        if phrase.noun is not None and len(counted) == 2 and _is_quantity(*counted):
            lot = counted[0].noun
            assert lot is not None
            if phrase.noun.tag == "NNS":
                # SPICE takes the first word for the number.
                phrase.noun.attributes.append(counted[0].form or lot.lemma)
            lot.attributes.clear()
            phrase.more += [lot] if lot.is_noun else []
            del done[-2:]
        done.append(phrase)
    return done


def _is_quantity(phrase: Phrase, of: Phrase) -> bool:
    words = _QUANTITIES.get(phrase.form, ())
    return phrase.noun is not None and of.kind == "prep" and of.text == "of" and phrase.text in words
