"""Pairs of a broken caption and a proposed repair, made by rules: right repairs, and repairs that lie.

The proposal is fluent either way, so a gate alone cannot tell them apart. The words are this file's own, not
those of the guard that is tested; what the guard does not know it must meet all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

PER_KIND = 25


@dataclass(frozen=True)
class Pair:
    """A broken caption and what a language model might answer."""

    kind: str
    before: str
    after: str
    is_right: bool


@dataclass(frozen=True)
class Event:
    """One event of a caption: "two dogs bark loudly in the distance"."""

    article: str
    noun: str
    verb: str
    manner: str = ""
    place: str = ""

    @property
    def words(self) -> list[str]:
        return " ".join(filter(None, (self.article, self.noun, self.verb, self.manner, self.place))).split()

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Caption:
    """Two events and what stands between them."""

    first: Event
    joint: str
    second: Event

    def __str__(self) -> str:
        return f"{self.first} {self.joint} {self.second}"


# Singular, plural, verb without ending; of the first half the source alone implies the verb.
SOURCES = (
    ("dog", "dogs", "bark"),
    ("cat", "cats", "meow"),
    ("bird", "birds", "chirp"),
    ("rooster", "roosters", "crow"),
    ("cow", "cows", "moo"),
    ("frog", "frogs", "croak"),
    ("duck", "ducks", "quack"),
    ("bell", "bells", "ring"),
    ("man", "men", "speak"),
    ("woman", "women", "laugh"),
    ("child", "children", "shout"),
    ("horse", "horses", "gallop"),
    ("door", "doors", "creak"),
    ("train", "trains", "rumble"),
    ("helicopter", "helicopters", "hover"),
    ("drum", "drums", "boom"),
)
NUM_IMPLIED = 8
LOUDNESS = (("loudly", "quietly"), ("loudly", "softly"), ("faintly", "loudly"), ("noisily", "silently"))
MANNERS = (
    ("slowly", "quickly"),
    ("repeatedly", "once"),
    ("steadily", "intermittently"),
    ("gently", "roughly"),
)
PLACES = (
    ("indoors", "outdoors"),
    ("in the distance", "nearby"),
    ("in a kitchen", "in a forest"),
    ("near a road", "near a river"),
    ("outside", "inside"),
)
SURFACES = (
    ("gravel", "snow"),
    ("a wooden floor", "a metal floor"),
    ("wet grass", "dry leaves"),
    ("concrete", "sand"),
)
DEEDS = (("hits", "drum"), ("calls", "dog"), ("follows", "woman"), ("pushes", "cart"), ("feeds", "horse"))
JOINTS = ("and", "while", "then", "as", "followed by")
ENDS = ("and", "and a", "in the", "with", "while a", "followed by", "on a", "then")


def adversarial_pairs(seed: int = 0) -> list[Pair]:
    """Draw 25 pairs of each of 20 kinds, no two alike."""
    random = Random(seed)
    pairs: dict[tuple[str, str], Pair] = {}
    for makers, is_right in ((RIGHT, True), (CHANGED, False)):
        for kind, make in makers.items():
            wanted = len(pairs) + PER_KIND
            while len(pairs) < wanted:
                before, after = make(random)
                pairs.setdefault((before, after), Pair(kind, before, after, is_right))
    return list(pairs.values())


def draw(random: Random, *, implied: bool = False, manner: bool | None = None) -> Caption:
    """Draw a caption of two different sources."""
    sources = random.sample(SOURCES[:NUM_IMPLIED] if implied else SOURCES, 2)
    joint = random.choice(JOINTS[:4])
    events = [_event(random, *source, manner=manner) for source in sources]
    return Caption(events[0], joint, events[1])


def _event(random: Random, one: str, several: str, verb: str, *, manner: bool | None = None) -> Event:
    is_one = random.random() < 0.6
    article = random.choice(("a", "the") if is_one else ("two", "several", "some", ""))
    form = random.choice((f"{verb}s", f"is {verb}ing") if is_one else (verb, f"are {verb}ing"))
    with_manner = random.random() < 0.5 if manner is None else manner
    how = random.choice([word for pair in LOUDNESS + MANNERS for word in pair if word != "once"])
    place = random.choice([word for pair in PLACES for word in pair])
    return Event(
        article, one if is_one else several, form, how if with_manner else "", place * (random.random() < 0.3)
    )


# Right repairs: the caption was whole before the error


def repeated_event(random: Random) -> tuple[str, str]:
    whole = draw(random)
    joint = random.choice(("and", "and", "while"))
    whole = replace(whole, joint=random.choice(("and", "while")))
    return random.choice((f"{whole} {joint} {whole.first}", f"{whole.first} and {whole}")), str(whole)


def repeated_adverb(random: Random) -> tuple[str, str]:
    whole = draw(random, manner=True)
    manner = whole.first.manner
    if random.random() < 0.5:
        return str(replace(whole, first=replace(whole.first, manner=f"{manner} {manner}"))), str(whole)
    return str(replace(whole, first=replace(whole.first, verb=f"{manner} {whole.first.verb}"))), str(whole)


def missing_conjunction(random: Random) -> tuple[str, str]:
    whole = replace(draw(random), joint=random.choice(("and", "while")))
    return f"{whole.first} {whole.second}", str(whole)


def missing_verb(random: Random) -> tuple[str, str]:
    whole = draw(random, implied=True)
    verb = whole.first.verb.split()
    return str(replace(whole, first=replace(whole.first, verb=verb[0] if len(verb) > 1 else ""))), str(whole)


def incomplete_tail(random: Random) -> tuple[str, str]:
    whole = draw(random)
    return f"{whole} {random.choice(ENDS)}", str(whole)


def wrong_word_order(random: Random) -> tuple[str, str]:
    whole = draw(random)
    words = whole.first.words
    # Article and noun, or noun and verb: "loudly barks" is as right as "barks loudly".
    place = random.randrange(1 + bool(whole.first.article))
    words[place], words[place + 1] = words[place + 1], words[place]
    return f"{' '.join(words)} {whole.joint} {whole.second}", str(whole)


def doubled_word(random: Random) -> tuple[str, str]:
    whole = draw(random)
    return broken(random, str(whole)), str(whole)


def agreement(random: Random) -> tuple[str, str]:
    whole = draw(random)
    verb = whole.first.verb
    if verb.startswith(("is ", "are ")):
        wrong = {"is": "are", "are": "is"}[verb.split()[0]] + " " + verb.split()[1]
    else:
        wrong = verb[:-1] if verb.endswith("s") else f"{verb}s"
    return str(replace(whole, first=replace(whole.first, verb=wrong))), str(whole)


def unknown_token(random: Random) -> tuple[str, str]:
    whole = draw(random)
    words = str(whole).split()
    words.insert(random.randrange(len(words)), random.choice(("<unk>", "</s>", "<pad>")))
    return " ".join(words), str(whole)


def start_amid(random: Random) -> tuple[str, str]:
    whole = draw(random)
    return f"{random.choice(('and', 'then'))} {whole}", str(whole)


# Changed meanings: the original had an error, too, which the proposal mends


def broken(random: Random, caption: str) -> str:
    """Double a word: an error that every gate sees, and that hides nothing of the meaning."""
    words = caption.split()
    place = random.randrange(len(words))
    return " ".join([*words[: place + 1], *words[place:]])


def order(random: Random) -> tuple[str, str]:
    whole = draw(random)
    return broken(random, str(whole)), str(Caption(whole.second, whole.joint, whole.first))


def connective(random: Random) -> tuple[str, str]:
    whole = draw(random)
    other = {"and": "then", "while": "then", "then": "while", "as": "after"}[whole.joint]
    return broken(random, str(whole)), str(replace(whole, joint=other))


def negation(random: Random) -> tuple[str, str]:
    whole = draw(random)
    event, verb = whole.first, whole.first.verb
    aux, rest = (
        verb.split() if " " in verb else ("does" if verb.endswith("s") else "do", verb.removesuffix("s"))
    )
    denied = random.choice((f"{aux} not {rest}", f"{aux}n't {rest}", f"never {verb}"))
    changed = str(replace(whole, first=replace(event, verb=denied)))
    pair = (str(whole), changed) if random.random() < 0.7 else (changed, str(whole))
    return broken(random, pair[0]), pair[1]


def number(random: Random) -> tuple[str, str]:
    whole = draw(random)
    one, several, verb = next(source for source in SOURCES if whole.first.noun in source)
    if whole.first.noun == one:
        other = replace(
            whole.first, article=random.choice(("two", "several", "some")), noun=several, verb=verb
        )
    else:
        other = replace(whole.first, article="a", noun=one, verb=f"{verb}s")
    return broken(random, str(whole)), str(replace(whole, first=other))


def exchange(field: str, pairs: tuple[tuple[str, str], ...]) -> Callable[[Random], tuple[str, str]]:
    """Make the rule that exchanges a word of an event by its opposite, in either direction."""

    def make(random: Random) -> tuple[str, str]:
        whole = draw(random)
        one, other = random.sample(random.choice(pairs), 2)
        before = replace(whole, second=replace(whole.second, **{field: one}))
        after = replace(whole, second=replace(whole.second, **{field: other}))
        return broken(random, str(before)), str(after)

    return make


def agent(random: Random) -> tuple[str, str]:
    whole = draw(random)
    who, (deed, whom) = random.choice(("man", "woman", "child", "boy")), random.choice(DEEDS)
    if who == whom:
        who = "man"
    before = f"a {who} {deed} a {whom} {whole.joint} {whole.second}"
    after = random.choice(
        (
            f"a {whom} {deed} a {who} {whole.joint} {whole.second}",
            f"a {who} is {deed.removesuffix('s')}ed by a {whom} {whole.joint} {whole.second}",
            f"a {'woman' if who != 'woman' else 'man'} {deed} a {whom} {whole.joint} {whole.second}",
            f"someone {deed} a {whom} {whole.joint} {whole.second}",
        )
    )
    return broken(random, before), after


def surface(random: Random) -> tuple[str, str]:
    whole, (one, other) = draw(random), random.choice(SURFACES)
    before, after = (f"someone walks on {what} {whole.joint} {whole.second}" for what in (one, other))
    return broken(random, before), after


def what_of_which(random: Random) -> tuple[str, str]:
    whole = draw(random, manner=True)
    first, second = replace(whole.first, place=""), replace(whole.second, place="")
    if first.manner == second.manner:
        second = replace(second, manner="softly" if first.manner != "softly" else "loudly")
    before = replace(whole, first=first, second=second)
    swapped = Caption(replace(first, manner=second.manner), whole.joint, replace(second, manner=first.manner))
    moved = Caption(replace(first, manner=""), whole.joint, replace(second, manner=first.manner))
    if random.random() < 0.5:
        return broken(random, str(before)), str(swapped)
    return broken(random, str(replace(before, second=replace(second, manner="")))), str(moved)


RIGHT = {
    "repeated event": repeated_event,
    "repeated adverb": repeated_adverb,
    "missing conjunction": missing_conjunction,
    "missing verb": missing_verb,
    "incomplete tail": incomplete_tail,
    "wrong word order": wrong_word_order,
    "doubled word": doubled_word,
    "agreement": agreement,
    "unknown token": unknown_token,
    "start amid a sentence": start_amid,
}
CHANGED = {
    "order": order,
    "connective": connective,
    "negation": negation,
    "number": number,
    "place": exchange("place", PLACES),
    "loudness": exchange("manner", LOUDNESS),
    "manner": exchange("manner", MANNERS),
    "agent": agent,
    "surface": surface,
    "what of which": what_of_which,
}
