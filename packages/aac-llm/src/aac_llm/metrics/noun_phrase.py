"""Phrases of a tagged caption: noun phrases with their modifiers, verb groups, prepositions and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aac_llm.metrics.tagger import Token, lemma_of

NOUNS = frozenset({"NN", "NNS"})
_BEFORE_NOUN = frozenset({"DT", "PRP$", "CD", "JJ", "NN", "NNS", "VBG", "VBN"})


@dataclass(slots=True, eq=False)
class Noun:
    """Head of a noun phrase."""

    lemma: str
    tag: str
    attributes: list[str] = field(default_factory=list)
    """Of adjectives, participles and nouns before it, and of numbers before a plural."""
    owned: bool = False
    """With `its`, `their` and the like."""

    @property
    def is_noun(self) -> bool:
        """Tell a noun from a pronoun or an adjective that stands for one."""
        return self.tag in NOUNS


@dataclass(slots=True)
class Phrase:
    """One part of a caption."""

    kind: str
    """`noun`, `verb`, `prep`, `and`, `sub` (a conjunction that begins a clause), `adj`, `adv`, `part`, `which`,
    `there` or `to`."""
    text: str = ""
    """Lemma of a verb, words of a preposition."""
    noun: Noun | None = None
    form: str = ""
    """Of a verb: `finite`, `participle` or `infinitive`."""
    passive: bool = False
    extra: list[Noun] = field(default_factory=list)
    """Objects besides the head: of `a lot of dogs` the lot."""


def find_phrases(tokens: Sequence[Token]) -> list[Phrase]:
    """Split a tagged caption into phrases, from left to right."""
    tokens = _name_gerunds(tokens)
    phrases: list[Phrase] = []
    place = 0
    while place < len(tokens):
        for read in (_noun_phrase, _verb_group, _preposition):
            found = read(tokens, place)
            if found is not None:
                phrase, place = found
                break
        else:
            phrase, place = _other(tokens[place]), place + 1
        phrases.append(phrase)
    return _join_quantities(phrases)


def _name_gerunds(tokens: Sequence[Token]) -> list[Token]:
    """Call nouns what stands where only a noun can: "the tearing of paper", "a loud ringing"."""
    done: list[Token] = []
    for place, token in enumerate(tokens):
        follower = tokens[place + 1].tag if place + 1 < len(tokens) else "END"
        next_word = tokens[place + 1].word if place + 1 < len(tokens) else ""
        before = done[-1].tag if done else "START"
        if token.tag in {"VBG", "VBN", "VB", "VBP"} and (
            (before in {"DT", "PRP$"} or (before == "JJ" and token.tag == "VBG"))
            and follower not in {"NN", "NNS", "JJ", "VBG", "VBN", "CC", "RB"}
            or token.tag == "VBG" and next_word == "of"
        ):
            token = Token(token.word, "NN", token.word)
        done.append(token)
    return done


def _noun_phrase(tokens: Sequence[Token], start: int) -> tuple[Phrase, int] | None:
    first = tokens[start]
    if first.tag == "PRP":
        return Phrase("noun", noun=Noun(first.word, "PRP")), start + 1
    if first.tag not in _BEFORE_NOUN or (first.tag in {"VBG", "VBN"} and not _is_modifier(tokens, start)):
        return None
    end = start
    last_noun = None
    while end < len(tokens):
        token = tokens[end]
        if token.tag in NOUNS:
            last_noun = end
        elif token.tag in {"DT", "PRP$"}:
            if last_noun is not None or (end > start and tokens[end - 1].tag not in {"DT"}):
                break
        elif token.tag in {"JJ", "CD"}:
            if last_noun is not None:
                break
        elif token.tag in {"VBG", "VBN"}:
            if last_noun is not None or not _noun_follows(tokens, end):
                break
        elif token.tag == "RB":
            if last_noun is not None or not _noun_follows(tokens, end):
                break
        elif token.tag == "CC":
            # "a low and steady hum"
            if last_noun is not None or end == start or end + 1 >= len(tokens):
                break
            if tokens[end + 1].tag not in {"JJ", "VBG", "VBN"} or not _noun_follows(tokens, end + 1):
                break
        else:
            break
        end += 1
    if last_noun is None:
        if first.tag in {"DT", "CD"}:
            # "each other", "one another"
            both = start + 1 < len(tokens) and tokens[start + 1].word in {"other", "another"}
            return Phrase("noun", first.word, noun=Noun(first.word, first.tag)), start + 1 + both
        return None
    article = "a" if first.word in {"a", "an"} else ""
    head = _head(tokens[start : last_noun + 1])
    return Phrase("noun", tokens[last_noun].word, noun=head, form=article), last_noun + 1


def _is_modifier(tokens: Sequence[Token], place: int) -> bool:
    """Tell whether a participle that begins a phrase belongs to the noun after it: "of running water"."""
    if not _noun_follows(tokens, place):
        return False
    before = tokens[place - 1] if place else None
    if before is not None and tokens[place].tag == "VBN":
        return before.tag not in {"BE", "VBZ", "VBP", "NN", "NNS", "PRP", "RB"} or before.word in {"out", "up"}
    if before is not None:
        if before.tag == "IN":
            return before.word not in {"by", "without", "after", "before", "while", "for"} or (
                before.word == "by" and place > 1 and tokens[place - 2].tag == "VBN"
            )
        if before.tag == "CC":
            return not any(token.tag.startswith("VB") or token.tag == "BE" for token in tokens[:place])
        return before.tag in {"VBZ", "VBP", "TO"}
    # At the start: "chirping birds sing", but "blowing air through a fan".
    end = place + 1
    while end < len(tokens) and tokens[end].tag in {"JJ", "NN", "NNS"}:
        end += 1
    return end < len(tokens) and tokens[end].tag in {"VBZ", "VBP", "BE", "VBD", "VBG", "CC"}


def _noun_follows(tokens: Sequence[Token], place: int) -> bool:
    for token in tokens[place + 1 :]:
        if token.tag in NOUNS:
            return True
        if token.tag not in {"JJ", "VBG", "VBN"}:
            return False
    return False


def _head(tokens: Sequence[Token]) -> Noun:
    head = tokens[-1]
    noun = Noun(head.lemma, head.tag)
    for token, follower in zip(tokens, tokens[1:], strict=False):
        # An adverb just before a noun is a misjudged adjective: "a gravely road".
        if token.tag == "RB" and follower.tag not in NOUNS:
            continue
        if token.tag in {"JJ", "VBG", "VBN", "NN", "NNS", "RB"} or (token.tag == "CD" and head.tag == "NNS"):
            noun.attributes.append(token.lemma)
        noun.owned |= token.tag == "PRP$"
    return noun


def _verb_group(tokens: Sequence[Token], start: int) -> tuple[Phrase, int] | None:
    """Read auxiliaries and a verb, adverbs between them included."""
    place = start
    finite = infinitive = be = False
    main: Token | None = None
    if tokens[place].tag == "TO":
        if place + 1 >= len(tokens) or tokens[place + 1].tag not in {"VB", "BE"}:
            return None
        infinitive, place = True, place + 1
    end = place
    while end < len(tokens):
        token = tokens[end]
        following = tokens[end + 1].tag if end + 1 < len(tokens) else ""
        if token.tag == "MD":
            finite = True
        elif token.tag == "BE":
            finite |= token.word not in {"be", "been", "being"} and not infinitive
            be = True
        elif token.tag in {"VBZ", "VBP"} and token.lemma in {"have", "do"} and following in {"VBN", "BE", "VB"}:
            finite = True
        elif token.tag.startswith("VB"):
            if main is None and not (be and token.tag in {"VBZ", "VBP", "VBD"}):
                main = token
                end += 1
            break
        elif not (token.tag == "RB" and end > place and _verb_continues(tokens, end)):
            break
        end += 1
    if end == place:
        return None
    if main is None:
        while tokens[end - 1].tag == "RB":
            end -= 1
        form = "infinitive" if infinitive else ("finite" if finite else "participle")
        return Phrase("verb", "be", form=form), end
    passive = be and main.tag in {"VBN", "VBD"}
    if finite or (main.tag in {"VBZ", "VBP", "VBD"} and not be):
        form = "finite"
    elif infinitive or main.tag == "VB":
        form = "infinitive"
    else:
        form = "participle"
        passive |= main.tag == "VBN"
    return Phrase("verb", lemma_of(main.word, main.tag), form=form, passive=passive), end


def _verb_continues(tokens: Sequence[Token], place: int) -> bool:
    for token in tokens[place:]:
        if token.tag != "RB":
            return token.tag.startswith("VB") or token.tag == "BE"
    return False


_JOINED = (
    "in front of", "on top of", "next to", "close to", "near to", "out of", "because of", "due to", "such as",
    "along with", "together with", "away from", "inside of", "outside of", "off of", "instead of", "as well as",
    "followed by", "in between", "prior to", "ahead of", "apart from", "from inside", "across from",
)  # fmt: skip
"""Prepositions of several words."""


def _preposition(tokens: Sequence[Token], start: int) -> tuple[Phrase, int] | None:
    rest = [token.word for token in tokens[start : start + 3]]
    for joined in _JOINED:
        words = joined.split()
        if rest[: len(words)] == words:
            return Phrase("prep", joined), start + len(words)
    token = tokens[start]
    if token.tag == "IN" or token.tag == "TO":
        return Phrase("prep", token.word), start + 1
    return None


_KINDS = {"CC": "and", "SC": "sub", "WRB": "sub", "JJ": "adj", "WDT": "which", "EX": "there", "RP": "part"}


def _other(token: Token) -> Phrase:
    return Phrase(_KINDS.get(token.tag, "adv"), token.word)


_QUANTITIES = {
    "a": "lot assortment number couple bunch handful litany slew dozen series variety multitude wad wave "
    "mountain array spate string ton range plethora heap sort form kind type version bit pair triple total",
    "": "lots many several plenty tons dozens multitudes mountains loads pairs tens hundreds thousands some all "
    "both neither one two three four five six seven eight nine ten",
}
"""Words that count what comes after `of`: after `a`, and alone."""


def _join_quantities(phrases: list[Phrase]) -> list[Phrase]:
    """Make the noun the head in "a lot of dogs"; the lot stays an object, as in SPICE."""
    done: list[Phrase] = []
    place = 0
    while place < len(phrases):
        phrase = phrases[place]
        after = phrases[place + 1 : place + 3]
        if (
            phrase.noun is not None
            and [p.kind for p in after] == ["prep", "noun"]
            and after[0].text == "of"
            and after[1].noun is not None
            and phrase.text in _QUANTITIES["a" if phrase.form == "a" else ""].split()
        ):
            head = after[1].noun
            if head.tag == "NNS":
                head.attributes.append(phrase.form or phrase.noun.lemma)
            after[1].extra += [phrase.noun] if phrase.noun.is_noun else []
            phrase.noun.attributes.clear()
            place += 2
            continue
        done.append(phrase)
        place += 1
    return done
