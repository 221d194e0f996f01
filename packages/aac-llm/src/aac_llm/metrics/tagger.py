"""Parts of speech in a caption, by the Penn Treebank's names: the likeliest sequence of tags.

Each word has a few tags it may have, of WordNet and of closed lists, at a cost that falls with how often it
is that part of speech; each pair of neighbouring tags has a cost in a table made by hand; the cheapest path
is found by dynamic programming. After `and` a tag like the one before it is cheaper ("opens and closes"); a
clause without a verb is dear.

The aim is what Stanford's PCFG parser says, whose tags SPICE takes, and not the truth: that parser learned
from the Wall Street Journal, which hardly has verbs of sound. Words that are rare are therefore nouns and
plurals sooner than verbs ("a dog barks" may be several barks of a dog).
"""

from __future__ import annotations

import math
import re
from functools import cache, lru_cache
from typing import NamedTuple

from aac_llm.metrics.wordnet import ADJECTIVE, ADVERB, NOUN, VERB, base_form, parts_of_speech


class Token(NamedTuple):
    """A word of a caption."""

    word: str
    tag: str
    """Of the Penn Treebank, less those of names and comparatives; besides SC, a conjunction that begins a
    clause, and BE, any form of `be`."""
    lemma: str
    """Singular of a noun, infinitive of a verb, otherwise the word itself."""


_CLOSED = {
    "DT": "a an the this these those some any every each no another all both either neither half",
    "PRP": "it they them he she him i we you us me itself themselves himself herself oneself",
    "PRP$": "its their his her my our your",
    "CD": "one two three four five six seven eight nine ten eleven twelve twenty thirty hundred thousand",
    "IN": "of in on at by with from into onto against through across over under above below behind between "
    "beside besides near next inside outside along around during without within among amongst amid toward "
    "towards upon underneath beneath beyond past up down off out about for after before until till since "
    "as like than throughout alongside via per despite except onto unto atop",
    "SC": "while as because if whilst before after until till since although though once so whenever",
    "CC": "and or but nor &",
    "POS": "'s '",
    "RB": "then not again very too also now here there away together almost still even just back forth "
    "nearby afterwards meanwhile quite rather more most once twice n't once often always never soon later "
    "around about over by past along off out up down in on through far close inside outside else",
    "RP": "up out off down over on in away around along back through by forth",
    "TO": "to",
    "MD": "can could will would may might must should shall ca wo",
    "EX": "there",
    "WDT": "that which who whom whose what",
    "WRB": "when where how why",
    "BE": "is are was were be been being am 's 're 'm",
    "NN": "someone somebody something anyone anything everyone everybody everything nothing nobody",
    "JJ": "several many multiple few much other such same more various own",
    "NNS": "others people",
}
"""Words of which there are no more. One may stand in several lines, and be an open word as well."""
_OPEN_TOO = frozenset(
    {
        "back",
        "can",
        "close",
        "half",
        "like",
        "near",
        "own",
        "past",
        "present",
        "round",
        "second",
        "still",
        "various",
    }
)
_BRACKETS = frozenset({"-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"})
"""As the tokeniser writes them."""
_COSTS = """
START  DT0 NN1.5 NNS.5 JJ1 CD.5 PRP.5 PRP$1 EX.5 VBG1.5 VBN2.5 IN1.5 SC1.5 RB2 VB3 VBZ5 VBP5 WRB2 BE4 MD5
DT     NN0 NNS0 JJ.3 CD1.5 VBG2 VBN2 RB3 IN4 END5
PRP$   NN0 NNS0 JJ.5 VBG2.5 VBN2.5 CD2
POS    NN0 NNS0 JJ.5 VBG2.5 VBN2.5 CD2
CD     NN.3 NNS0 JJ.7 CC2 IN2 END1.5 VBZ3 VBP3 BE2 VBG2.5 VBN2.5 RB3
JJ     NN0 NNS0 JJ.8 CC1 IN1.7 END1.5 TO2.5 RB3 VBG3 VBN3.5 SC2.5 CD4 VBZ4 VBP4 BE3.5 DT4
NN     VBZ1 BE0 IN0 CC0 END0 NN1.2 NNS1.5 VBG.7 VBN1.7 RB1 VBD2 SC.5 TO.7 MD.7 WDT.7 WRB1.5 JJ3 DT3 PRP3 \
       VBP4.5 RP3 CD3.5 EX3 PRP$4 VB5 POS.5
NNS    VBP.5 BE0 IN0 CC0 END0 VBG.5 VBN1.3 RB1 VBD1.7 SC.5 TO.7 MD.7 WDT.7 WRB1.5 JJ2.5 DT3 PRP3 NN2 NNS3.5 \
       VBZ4 RP3 CD3.5 EX3 PRP$4 VB5 POS.5
PRP    VBZ.5 VBP.7 BE0 VBD1 MD.5 END.5 IN.7 CC.7 RB1 RP1.5 VBG1.5 SC1 TO1 VBN2 DT2.5 JJ3 NN4 NNS4
EX     BE0 VBZ3
BE     VBG0 VBN.3 JJ.7 DT.7 IN.7 RB.5 BE.3 NN2.5 NNS2.7 CD2 TO2 END2 EX2 PRP2.5 PRP$2 CC3 VB4 RP2
VBZ    DT0 END.3 CC.3 IN0 RB0 RP.3 NN1 NNS1 JJ1 SC.3 TO.5 VBG1 PRP.7 PRP$.5 VBN2 CD1.5 WRB1.5 VBZ5 VBP5 BE2
VBP    DT0 END.3 CC.3 IN0 RB0 RP.3 NN1 NNS1 JJ1 SC.3 TO.5 VBG1 PRP.7 PRP$.5 VBN2 CD1.5 WRB1.5 VBZ5 VBP5
VBD    DT0 END.5 CC.3 IN0 RB0 RP.3 NN1.3 NNS1.3 JJ1.3 SC.3 TO.5 VBG1 PRP.7 PRP$.5 VBN2 CD1.5
VB     DT0 END.3 CC.3 IN0 RB0 RP.3 NN1 NNS1 JJ1 SC.3 TO.5 VBG1 PRP.7 PRP$.5 VBN2 CD1.5 BE5
VBG    DT.2 END.3 CC.3 IN0 RB0 RP.3 NN.8 NNS.8 JJ1 SC.3 TO.5 VBG1.5 PRP.7 PRP$.5 VBN2 CD1.5 WRB2 VBZ3 VBP3 \
       BE2.5
VBN    IN0 END.5 CC.3 RB0 RP.3 NN1 NNS1 DT1.3 JJ1 SC.3 TO.5 VBG1.5 PRP1.5 PRP$1.5 CD2 VBZ3.5 VBP3.5 BE3
IN     DT0 NN.5 NNS.5 JJ.6 PRP$.3 PRP.7 VBG1.3 CD.8 IN1.5 RB2 VBN2.5 WDT2 WRB2 END2.5 CC2.5 EX4 TO3
SC     DT0 NN.5 NNS.5 JJ.8 PRP.3 PRP$.5 VBG.7 CD1 VBN1.5 EX1 IN1.5 RB1.5 BE2.5 VBP3 VBZ4
CC     DT0 NN.7 NNS.7 JJ.9 RB.5 VBZ.8 VBP.8 VBG.8 VBN1 VBD1.3 IN.9 PRP.7 PRP$.7 CD.8 BE1 SC1 EX1.2 TO1.5 \
       VB1.5 MD1.5 WDT2.5 WRB2 RP1.5
RB     END0 CC.3 IN.3 VBZ.5 VBG.5 VBP.7 JJ.5 RB.5 VBN.7 SC.4 DT.7 VBD1 BE1 NN1.7 NNS1.7 TO.7 PRP1.2 VB1.3 \
       RP2 PRP$1.5 CD1.2 EX1.5
RP     DT.2 END.2 CC.2 IN.2 RB.5 NN1 NNS1 JJ1.2 SC.3 PRP$.5 PRP1 TO.5 VBG1.5 CD1.5 RP2
TO     VB0 DT.2 NN1 NNS1 JJ1.2 PRP.7 PRP$.3 BE.3 VBG1.5 CD1.5 RB1.5
MD     VB0 BE0 RB.5
WDT    VBZ0 VBP0 BE0 VBD.5 MD.5 DT.7 NN2.5 NNS3 PRP.7 RB1
WRB    DT0 NN.7 NNS.7 PRP.5 VBG1 JJ1.2 TO1 BE1.5 VBZ2 VBP2 VBN2 RB2
"""
"""Costs of a tag after another: negative logarithms of about how likely it is, less what all have alike."""
_UNLISTED = 6.0
_LIKE_THE_LAST = 0.9
"""What a tag costs less after `and` if its kind stands before it, too."""
_KINDS = {"VBZ": "finite", "VBP": "finite", "VBD": "finite", "NN": "noun", "NNS": "noun"}
_VERBS = frozenset({"VB", "VBZ", "VBP", "VBD", "VBG", "VBN", "BE", "MD"})
_OWED = {"": 0.0, "START": 1.0, "SC": 2.0, "WDT": 2.0}
"""What a clause without a verb costs, by what began it."""

_Path = tuple[float, tuple[str, ...]]
"""The cost and the tags so far."""


@lru_cache(maxsize=100_000)
def tag_words(text: str) -> tuple[Token, ...]:
    """Tag the words of a caption, split at white space; what has neither letters nor digits is left out.

    >>> [f"{token.word}/{token.tag}" for token in tag_words("a man speaks while dogs are barking")]
    ['a/DT', 'man/NN', 'speaks/VBZ', 'while/SC', 'dogs/NNS', 'are/BE', 'barking/VBG']
    """
    words = [word for word in text.lower().split() if re.search(r"\w", word) and word not in _BRACKETS]
    # A path is named by its last tag, after a conjunction the tag before that, and what still owes a verb.
    paths: dict[tuple[str, str, str], _Path] = {("START", "", "START"): (0.0, ())}
    for word in words:
        found: dict[tuple[str, str, str], _Path] = {}
        for (last, before, owing), (cost, tags) in paths.items():
            for tag, own in _choices(word):
                total = cost + own + _step(last, before, tag)
                still = owing
                if tag in _VERBS:
                    still = ""
                elif tag in _OWED:
                    still, total = tag, total + _OWED[owing]
                state = (tag, last if tag == "CC" else "", still)
                if state not in found or total < found[state][0]:
                    found[state] = (total, (*tags, tag))
        paths = found
    _, tags = min(
        (cost + _step(last, before, "END") + _OWED[owing], tags)
        for (last, before, owing), (cost, tags) in paths.items()
    )
    return tuple(Token(word, tag, lemma_of(word, tag)) for word, tag in zip(words, tags, strict=True))


def lemma_of(word: str, tag: str) -> str:
    """Return the base form of a word with this tag, as Stanford's `Morphology` has it.

    >>> lemma_of("geese", "NNS"), lemma_of("barking", "VBG"), lemma_of("barking", "NN")
    ('goose', 'bark', 'barking')
    """
    if tag == "BE":
        return "be"
    if tag.startswith("VB"):
        return base_form(word, VERB) or (word if VERB in parts_of_speech(word) else _cut_verb(word))
    if tag == "NNS":
        return base_form(word, NOUN) or re.sub(r"(?<=[^s])s$", "", word)
    return word


def _cut_verb(word: str) -> str:
    return re.sub(r"(ing|ed|s)$", "", word) if len(word) > 4 else word


@cache
def _step(last: str, before: str, tag: str) -> float:
    cost = _transitions().get((last, tag), _UNLISTED)
    if last == "CC" and before and _KINDS.get(tag, tag) == _KINDS.get(before, before):
        cost -= _LIKE_THE_LAST
    return cost


@cache
def _transitions() -> dict[tuple[str, str], float]:
    costs = {}
    for line in _COSTS.replace("\\\n", " ").strip().splitlines():
        last, *cells = line.split()
        for cell in cells:
            tag = cell.rstrip("0123456789.")
            costs[last, tag] = float(cell.removeprefix(tag))
    return costs


@cache
def _closed() -> dict[str, tuple[str, ...]]:
    tags: dict[str, tuple[str, ...]] = {}
    for tag, words in _CLOSED.items():
        for word in dict.fromkeys(words.split()):
            tags[word] = (*tags.get(word, ()), tag)
    return tags


# ------------------------------------------------------------------------------------------ costs of a word
_CLOSED_WEIGHT = 30.0
_SEEN: dict[str, tuple[float, float]] = {
    "NN": (1.0, 8.0),
    "NNS": (1.0, 4.0),
    "JJ": (1.0, 1.0),
    "RB": (1.0, 2.0),
    "VB": (0.5, 0.3),
    "VBP": (0.5, 0.3),
    "VBZ": (0.5, 0.2),
    "VBG": (1.0, 3.0),
    "VBN": (0.5, 2.0),
    "VBD": (0.5, 2.0),
}
"""What each tag weighs: WordNet's count times the first number, and the second; see the module's text."""
_NOUN_IN_ING = 0.5
"""The second number for nouns such as `humming`."""
_UNHEARD_OF = 0.5
"""Weight of the noun that WordNet has not got: "a prepare is going down"."""


@lru_cache(maxsize=100_000)
def _choices(word: str) -> tuple[tuple[str, float], ...]:
    """List the tags that a word may have and what each costs."""
    fixed = _closed().get(word, ())
    weights = dict.fromkeys(fixed, _CLOSED_WEIGHT)
    if not fixed or word in _OPEN_TOO:
        for tag, weight in _weigh(word).items():
            weights[tag] = weights.get(tag, 0.0) + weight
    total = sum(weights.values())
    return tuple((tag, -math.log(weight / total)) for tag, weight in weights.items())


def _weigh(word: str) -> dict[str, float]:
    """Weigh the tags of a word by the frequencies of what it may be a form of."""
    if not re.search(r"[^\d.,:/-]", word):
        return {"CD": 1.0}
    weights: dict[str, float] = {}
    for base, part, tags in _forms(word):
        if base is not None and part in parts_of_speech(base):
            for tag in tags:
                share, more = _SEEN[tag]
                more = _NOUN_IN_ING if tag == "NN" and word.endswith("ing") else more
                weights[tag] = weights.get(tag, 0.0) + share * parts_of_speech(base)[part] + more
    if not weights:
        return _guess(word)
    if not word.endswith(("ing", "ed", "ly")):
        weights.setdefault("NNS" if _is_plural(word) else "NN", _UNHEARD_OF)
    return weights


def _forms(word: str) -> list[tuple[str | None, str, tuple[str, ...]]]:
    """List base forms that the word may be of, with their part of speech and the tags of this form."""
    verb, noun = base_form(word, VERB), base_form(word, NOUN)
    forms: list[tuple[str | None, str, tuple[str, ...]]] = [
        (word, NOUN, ("NN",)),
        (word, ADJECTIVE, ("JJ",)),
        (word, ADVERB, ("RB",)),
        (word, VERB, ("VB", "VBP")),
        (base_form(word, ADJECTIVE), ADJECTIVE, ("JJ",)),
    ]
    if word.endswith("s"):
        return [*forms, (noun, NOUN, ("NNS",)), (verb, VERB, ("VBZ",))]
    if word.endswith("ing"):
        return [*forms, (verb, VERB, ("VBG",))]
    return [*forms, (verb, VERB, ("VBN", "VBD")) if verb is not None else (noun, NOUN, ("NNS",))]


def _guess(word: str) -> dict[str, float]:
    """Weigh the tags of a word that is not known, by its ending."""
    if word.endswith("ly"):
        return {"RB": 1.0}
    if word.endswith("ing"):
        return {"VBG": 3.0, "NN": 1.0}
    if word.endswith("ed"):
        return {"VBN": 2.0, "VBD": 1.0, "JJ": 1.0}
    if _is_plural(word):
        return {"NNS": 3.0, "VBZ": 1.0}
    if word.endswith(("ous", "ish", "ful", "ic", "al", "ive", "able", "less", "y")):
        return {"JJ": 1.0, "NN": 1.0}
    return {"NN": 4.0, "JJ": 1.0}


def _is_plural(word: str) -> bool:
    return word.endswith("s") and not word.endswith("ss")
