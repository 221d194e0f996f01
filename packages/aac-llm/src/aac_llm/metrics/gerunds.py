"""Nouns that the tagger took for participles: "the tearing of paper", "buzzing and humming are heard"."""

from __future__ import annotations

from collections.abc import Sequence

from aac_llm.metrics.tagger import Token
from aac_llm.metrics.wordnet import VERB, parts_of_speech

NOUNS = frozenset({"NN", "NNS"})
DESCRIBING = frozenset({"JJ", "VBG", "VBN"})
"""Tags of words before a noun that say what it is like."""
_RARE = 1
"""Times that a verb is in WordNet's texts."""


def name_gerunds(tokens: Sequence[Token]) -> list[Token]:
    """Call nouns what stands where only a noun can: "the tearing of paper", "a loud ringing".

    And what Stanford's parser takes for one, since it hardly knows the verb: "a dog whimpering and a cat".
    """
    done: list[Token] = []
    for place, token in enumerate(tokens):
        if _is_gerund(tokens, place, done) or (
            [one.tag for one in done[-1:]] == ["NN"] and _is_bare_and_rare(tokens, place)
        ):
            token = Token(token.word, "NN", token.word)
        done.append(token)
    return done


def _is_gerund(tokens: Sequence[Token], place: int, done: Sequence[Token]) -> bool:
    """Tell whether only a noun can stand at `place`, behind what is `done`."""
    token, before = tokens[place], done[-1].tag if done else ""
    in_ing = token.word.endswith("ing") and token.tag in {"VBG", "JJ"}
    if in_ing and [one.word for one in tokens[place + 1 : place + 2]] == ["of"]:
        return True
    if noun_follows(tokens, place):
        return False
    if before in {"DT", "PRP$", "POS"}:
        return in_ing or token.tag in {"VBN", "VB", "VBP"}
    if before == "CC":
        # "buzzing and humming are heard": what is joined to a gerund is one.
        return in_ing and len(done) > 1 and done[-2].tag == "NN" and done[-2].word.endswith("ing")
    return in_ing and (before == "JJ" or (not before and _ends_subject(tokens, place)))


def _ends_subject(tokens: Sequence[Token], place: int) -> bool:
    """Tell whether a participle that begins a caption is all of its subject."""
    rest = [token.tag for token in tokens[place + 1 :]]
    while rest[:2] == ["CC", "VBG"]:
        rest = rest[2:]
    return not rest or rest[0] in {"CC", "BE", "VBZ", "VBP", "VBN"}


def _is_bare_and_rare(tokens: Sequence[Token], place: int) -> bool:
    is_bare = all(token.tag in {"CC", "SC"} for token in tokens[place + 1 : place + 2])
    is_rare = parts_of_speech(tokens[place].lemma).get(VERB, 0) <= _RARE
    return tokens[place].tag == "VBG" and is_bare and is_rare


def noun_follows(tokens: Sequence[Token], place: int) -> bool:
    """Tell whether a noun comes next, after nothing but words that describe it."""
    for number, token in enumerate(tokens[place + 1 :], place + 1):
        before = tokens[number - 1].tag
        if token.tag in NOUNS:
            return before != "CC"
        joins = token.tag == "CC" and before in DESCRIBING
        if token.tag not in DESCRIBING and not joins:
            return False
    return False
