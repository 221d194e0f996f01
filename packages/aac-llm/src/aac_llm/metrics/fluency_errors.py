"""Errors of fluency in captions, made by rules: what a detector learns from and is measured on.

    >>> from random import Random
    >>> make_error("A dog barks and a man speaks.", "missing_conjunction", Random(0))
    'a dog barks a man speaks'
    >>> make_error("A dog.", "missing_verb", Random(0)) is None
    True

The kinds are those of FENSE (Zhou et al. 2022, section 3.2: incomplete sentence, repeated event, repeated
adverb, missing conjunction, missing verb) and a wrong order of words. The rules are our own and know English
only. They are narrower than the kinds' names: what might still be a caption ("birds in the background") is
not made, since people write such captions.

Departures from FENSE's published data: its captions were lemmatised and its missing words are for the most
part the last word of a caption, whatever it is; here words keep their forms, and it is the verb or the
conjunction that is missing.
"""

from __future__ import annotations

import re
from random import Random

KINDS = (
    "incomplete_tail",
    "repeated_event",
    "repeated_adverb",
    "missing_conjunction",
    "missing_verb",
    "wrong_order",
)
"""Kinds of error; the first five in the order of the published detector's outputs."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DETERMINERS = _set("a an the another some several its his her their this that two three many")
_PREPOSITIONS = _set("of in on with at from into onto through against across over under to for near between")
_AUXILIARIES = _set("is are was were being")
_CONJUNCTIONS = _set("and while as then before after but or when followed")
_FUNCTION = _DETERMINERS | _PREPOSITIONS | _AUXILIARIES | _CONJUNCTIONS
_SUBJECTS = _DETERMINERS | _set(
    "someone something somebody people it he she they there birds water rain wind"
)
_PARTICLES = _set("by past away off up out around along back overhead nearby twice again")
_CUT_AFTER = _set("a an the of with and into its their from")
_TAILS = (
    *("and", "and a", "and the", "and then", "as", "as a", "with", "with a", "in the", "on the", "on a"),
    *("of a", "by a", "the", "a", "while", "followed by", "and a series of", "into the", "to the"),
)
_JOINTS = ("and", "while", "as", "then", "and then", "followed by", "before", "after")
_CLAUSE_END = re.compile(r"\b(?:and then|followed by|and|while|as|then|before|after|with)\b")
_ADVERBS = (
    "loudly",
    "quietly",
    "slowly",
    "repeatedly",
    "softly",
    "continuously",
    "rapidly",
    "nearby",
    "again",
)
_NO_ADVERB = _set(
    "only family assembly supply reply belly jelly early friendly lonely silly curly ugly bubbly"
)
_VERBS = _set(
    "bang bark beat beep blare blast blow boil bounce break brush bubble buzz call caw change chant "
    "chatter cheer chime chirp chop chug clang clank clap clatter clean click clink close clunk come "
    "cough crack crackle crash creak cross crow crumple crunch cry cut drag drill drip drive drop drum "
    "echo enter fall fill flap flip flow flush fly gallop get give go grind growl grunt gurgle hammer "
    "have hiss hit hold honk hoot howl hum idle jangle jingle keep kick knock laugh leave make meow mix "
    "moan moo move mumble neigh open pass patter pick play plop pop pound pour press produce pull pump "
    "purr push put quack rain rattle remove rev ride ring rip roar roll rotate rub rumble run rush rustle "
    "saw scrape scratch scream screech shake shout shuffle shut sing sit sizzle slam slide snap sneeze "
    "sniff snore spin splash spray squawk squeak squeal start step stir stop strike sweep swing take talk "
    "tap tear throw thump tick toll toot touch travel trickle tumble turn tweet type use vibrate wail "
    "walk wash whine whir whirl whisper whistle whoosh wind work yell"
)


_NOUNS = _set(
    "bang beep blast brush call drill drip drop drum echo fall hammer hit hum kick knock laugh pass play "
    "press rain ring run rush saw scream splash spray start step stop talk tap thump tick touch turn "
    "use wind work"
)
"""Verbs that in captions are as often nouns."""


def make_error(caption: str, kind: str, rng: Random) -> str | None:
    """Return a caption with an error of a kind, in lower case without punctuation.

    Args:
        caption: a fluent one, in English.
        kind: one of `KINDS`.
        rng: chooses among the places where it can be made.

    Returns:
        The caption, or None where the rules find no place for this error in it.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    words = strip_punctuation(caption).split()
    if len(words) < 2:
        return None
    found = _MAKERS[kind](words, rng)
    return " ".join(found) if found is not None and found != words else None


def strip_punctuation(text: str) -> str:
    """Normalize a caption as the detector is trained on it.

    >>> strip_punctuation("A dog, barking.")
    'a dog barking'
    """
    return re.sub(r"[^\w\s]", "", text).lower()


def _incomplete_tail(words: list[str], rng: Random) -> list[str] | None:
    """Cut after a word that goes on, or add such words."""
    cuts = [place for place in range(2, len(words) - 1) if words[place] in _CUT_AFTER]
    if cuts and rng.random() < 0.5:
        return words[: rng.choice(cuts) + 1]
    if words[-1] in _FUNCTION:
        return None
    return words + rng.choice(_TAILS).split()


def _repeated_event(words: list[str], rng: Random) -> list[str] | None:
    """Say a clause of the caption again."""
    clauses = [clause.split() for clause in _CLAUSE_END.split(" ".join(words))]
    # Of two words or more, and no mere "of water" or "in the background".
    events = [clause for clause in clauses if len(clause) > 1 and clause[0] not in _PREPOSITIONS]
    if not events:
        return None
    event = rng.choice(events)
    if event[0] in ("a", "an", "the") and len(event) > 2 and rng.random() < 0.25:
        event = event[1:]
    joint = [] if rng.random() < 0.1 else rng.choice(_JOINTS).split()
    return words + joint + event


def _repeated_adverb(words: list[str], rng: Random) -> list[str] | None:
    """Say an adverb twice: where it stands, after `and`, or at the end of the caption."""
    places = [place for place, word in enumerate(words) if is_adverb(word)]
    if not places:
        if words[-1] in _FUNCTION:
            return None
        words = [*words, rng.choice(_ADVERBS)]
        places = [len(words) - 1]
    place = rng.choice(places)
    adverb = words[place]
    way = rng.random()
    if way < 0.5 or (way < 0.75 and place == len(words) - 1):
        return [*words[: place + 1], adverb, *words[place + 1 :]]
    if way < 0.75:
        return [*words, adverb]
    return [*words[: place + 1], "and", adverb, *words[place + 1 :]]


def _missing_conjunction(words: list[str], rng: Random) -> list[str] | None:
    """Leave out what joins two clauses, or two verbs or nouns of the same form."""
    places = [place for place in range(1, len(words) - 1) if _joins(words, place)]
    if not places:
        return None
    start = rng.choice(places)
    end = start + 1
    if words[start : end + 1] == ["and", "then"]:
        end += 1
    return [*words[:start], *words[end:]]


def _missing_verb(words: list[str], rng: Random) -> list[str] | None:
    """Leave out a finite verb, or the participle after `is` or `are`."""
    places = [place for place in range(1, len(words) - 1) if _is_needed_verb(words, place)]
    if not places:
        return None
    place = rng.choice(places)
    start = place
    # "A person a saw", not only "a person is a saw", which might be meant.
    if words[place - 1] in _AUXILIARIES and words[place + 1] in _DETERMINERS:
        start -= 1
    return [*words[:start], *words[place + 1 :]]


def _wrong_order(words: list[str], rng: Random) -> list[str] | None:
    """Exchange a small word with the one after it, or put it somewhere else."""
    places = [place for place in range(len(words) - 1) if _binds(words[place], words[place + 1])]
    if not places:
        return None
    place = rng.choice(places)
    rest = [*words[:place], *words[place + 1 :]]
    targets = [target for target in range(len(rest)) if abs(target - place) > 1 and rest[target] in _FUNCTION]
    # Before another small word, where a determiner or a preposition cannot stand.
    target = rng.choice(targets) if targets and rng.random() < 0.3 else place + 1
    return [*rest[:target], words[place], *rest[target:]]


def is_adverb(word: str) -> bool:
    """Tell whether a word is an adverb as captions have them.

    >>> is_adverb("loudly"), is_adverb("family")
    (True, False)
    """
    return word in _ADVERBS or (word.endswith("ly") and len(word) > 5 and word not in _NO_ADVERB)


def _joins(words: list[str], place: int) -> bool:
    word, before, after = words[place], words[place - 1], words[place + 1]
    if before in _FUNCTION:  # the "then" of "and then" goes with its "and"
        return False
    # Of three the first two need none: "a man shouts, a crowd cheers and a bell rings".
    if "and" in words[place + 1 :] or "or" in words[place + 1 :]:
        return False
    if word == "and" and after == "then":
        return _parts_clauses([*words[: place + 1], *words[place + 2 :]], place)
    if word in ("and", "or"):
        # Not of "a loud and clear tone" or "crying and laughing children", which may do without.
        is_verb = not _AUXILIARIES.isdisjoint(words[max(0, place - 3) : place - 1])
        alike = is_verb and any(before.endswith(end) and after.endswith(end) for end in ("ing", "ed"))
        verbs = is_finite(before) and is_finite(after)
        return alike or verbs or (after in _SUBJECTS and _parts_clauses(words, place))
    if word in ("while", "then", "but", "when"):
        return not after.endswith("ing") and after not in _PREPOSITIONS and _parts_clauses(words, place)
    if word in ("as", "before", "after"):
        is_subject = after in _SUBJECTS and after not in ("another", "that", "some")
        return is_subject and before not in _LIKE and _parts_clauses(words, place)
    return False


def _parts_clauses(words: list[str], place: int) -> bool:
    """Tell whether there is a verb on either side, up to the next conjunction: lists may do without "and"."""
    ends = [other for other, word in enumerate(words) if word in _CONJUNCTIONS and other != place]
    start = max((end + 1 for end in ends if end < place), default=0)
    end = min((end for end in ends if end > place), default=len(words))
    return _has_verb(words[start:place]) and _has_verb(words[place + 1 : end])


def _has_verb(words: list[str]) -> bool:
    return any(word in _AUXILIARIES or word in _VERBS - _NOUNS or is_finite(word) for word in words)


_LIKE = _set("well such same just far soon long much sound sounds")


def is_finite(word: str) -> bool:
    """Tell whether a word is a verb of captions in the third person.

    >>> is_finite("barks"), is_finite("catches"), is_finite("dogs")
    (True, True, False)
    """
    if not word.endswith("s"):
        return False
    bases = (word[:-1], word.removesuffix("es"), word.removesuffix("ies") + "y")
    return word == "has" or any(base in _VERBS for base in bases)


def _is_needed_verb(words: list[str], place: int) -> bool:
    word, before, after = words[place], words[place - 1], words[place + 1]
    if before in _AUXILIARIES:
        # "People are in the background" is a sentence, and so is "birds are nearby".
        is_participle = word.endswith(("ing", "ed")) and len(word) > 4 and word != "being"
        return is_participle and after not in _PREPOSITIONS | _PARTICLES
    if before in _FUNCTION or not is_finite(word):
        return False
    # "Birds sings in a tree" without its verb is a caption, too: only before words that need one.
    if after in _DETERMINERS or is_adverb(after) or after in _PARTICLES:
        return True
    return after == "and" and place + 2 < len(words) and is_finite(words[place + 2])


def _binds(word: str, after: str) -> bool:
    """Tell whether two words stand in the only order that they can have."""
    if word in _DETERMINERS or word in _AUXILIARIES:
        return after not in _FUNCTION and not is_adverb(after) and after not in _PARTICLES
    if word in _PREPOSITIONS or word in ("and", "while", "as", "by"):
        return after in ("a", "an", "the", "its", "their")
    return False


_MAKERS = {
    "incomplete_tail": _incomplete_tail,
    "repeated_event": _repeated_event,
    "repeated_adverb": _repeated_adverb,
    "missing_conjunction": _missing_conjunction,
    "missing_verb": _missing_verb,
    "wrong_order": _wrong_order,
}
