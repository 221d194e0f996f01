"""Sound events in a caption: what is heard, whatever the words, the tense and the order.

    >>> sorted(sound_events("A hound is woofing while it rains."))
    ['dog', 'rain']
    >>> sound_events("The rain fell and dogs barked") == sound_events("A hound is woofing while it rains.")
    True
    >>> sorted(sound_events("A unicorn sings"))
    ['sing', 'unicorn']

Two captions that name the same events may still differ in who, where, how many and how (a man or a woman
speaks: both are speech). The words are in `event_lexicon.txt`; AudioSet's labels are events where that file
has none of their words. A word that may mean several things ("buzz") is understood by its clause (a
chainsaw's), and what the lexicon does not know at all is an event of its own name, so that an invented one
is noticed. English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

import numpy as np
from audio_common.labels import AUDIOSET_LABELS

_IRREGULAR = {
    "spoke": "speak",
    "spoken": "speak",
    "said": "say",
    "told": "tell",
    "sang": "sing",
    "sung": "sing",
    "rang": "ring",
    "rung": "ring",
    "blew": "blow",
    "blown": "blow",
    "fell": "fall",
    "fallen": "fall",
    "flew": "fly",
    "flown": "fly",
    "drove": "drive",
    "driven": "drive",
    "ran": "run",
    "wept": "weep",
    "struck": "strike",
    "stricken": "strike",
    "spun": "spin",
    "slid": "slide",
    "swept": "sweep",
    "shook": "shake",
    "shaken": "shake",
    "wrote": "write",
    "written": "write",
    "broke": "break",
    "tore": "tear",
    "torn": "tear",
    "swam": "swim",
    "ate": "eat",
    "eaten": "eat",
    "drank": "drink",
    "drunk": "drink",
    "bitten": "bite",
    "rode": "ride",
    "ridden": "ride",
    "dug": "dig",
    "cries": "cry",
    "burnt": "burn",
    "children": "child",
    "geese": "goose",
    "wolves": "wolf",
    "mice": "mouse",
    "knives": "knife",
    "calves": "calf",
    "hooves": "hoof",
    "feet": "foot",
    # Kept apart from the crow, from "type of", and from words with the same stem: to bite, a rat, to tap.
    "crowing": "cockcrow",
    "crowed": "cockcrow",
    "typing": "typewriter",
    "typed": "typewriter",
    "bit": "part",
    "bits": "part",
    "rate": "speed",
    "rates": "speed",
    "tape": "cord",
    "tapes": "cord",
}
_VOWEL = re.compile("[aeiouy]")
_WORD = re.compile(r"[^\W_]+")
_CLAUSE_END = re.compile(
    r"[.;:!?]|\b(?:then|finally|while|whilst|as|when|whenever|before|after|until|followed by|meanwhile)\b"
)
_LONGEST_PHRASE = 4  # words
# Adverbs, adjectives and abstract nouns, as stems: no word that the lexicon does not know names a source so.
_NO_SOURCE = (
    *("li", "al", "ful", "ous", "iv", "ic", "les", "less", "abl", "ibl", "ish", "est", "iti", "nes", "ness"),
    *("tion", "sion", "ment", "anc", "enc", "ward", "like"),
)


def stem(word: str) -> str:
    """Return what the inflections of a lower-case English word share: a key, not always a word.

    >>> stem("barking"), stem("barks"), stem("cries"), stem("humming"), stem("chimes")
    ('bark', 'bark', 'cri', 'hum', 'chim')
    """
    word = _IRREGULAR.get(word, word)
    # Not of glass, bus or hiss; nor of "gas" and shorter words.
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ed"):
        base = word.removesuffix(ending)
        # Not of "sing" or "bed", which have no vowel left, nor of "feed".
        if base != word and len(base) > 1 and _VOWEL.search(base) and not word.endswith("eed"):
            word = base
            break
    if word.endswith("e") and len(word) > 2:
        word = word[:-1]
    # humming, hum; but hiss stays.
    if len(word) > 3 and word[-1] == word[-2] != "s":
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > 2 else word


def _stems(text: str) -> list[str]:
    plain = re.sub(r"['\u2019](?:s|re|ll)?\b", "", text.lower())
    return [stem(word) for word in _WORD.findall(plain)]


@dataclass(frozen=True)
class _Lexicon:
    strong: dict[str, str]
    """Phrase of stems -> the event it always means."""
    weak: dict[str, tuple[str, ...]]
    """Phrase of stems -> the events it can belong to, the likeliest first."""
    neutral: frozenset[str]
    """Stems that are no event by themselves."""
    events: tuple[str, ...]
    """All events, in the order of the file."""


def _phrases(words: str) -> Iterator[str]:
    return (" ".join(_stems(phrase)) for phrase in words.split(",") if phrase.strip())


@cache
def _hand_made() -> _Lexicon:
    strong: dict[str, str] = {}
    weak: dict[str, list[str]] = {}
    neutral: set[str] = set()
    events: list[str] = []
    text = resources.files("aac_llm.metrics").joinpath("event_lexicon.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        event, _, words = line.partition(":")
        if not words or line.startswith("#"):
            continue
        if event == "neutral":
            neutral.update(_phrases(words))
            continue
        always, _, sometimes = words.partition("|")
        events.append(event)
        for phrase in _phrases(always):
            strong.setdefault(phrase, event)
        for phrase in _phrases(sometimes):
            weak.setdefault(phrase, []).append(event)
    return _Lexicon(
        strong, {phrase: tuple(names) for phrase, names in weak.items()}, frozenset(neutral), tuple(events)
    )


@cache
def _lexicon() -> _Lexicon:
    """Add AudioSet's labels to the file: new events, or what qualifies an event of it (folk music)."""
    base = _hand_made()
    strong, neutral, events = dict(base.strong), set(base.neutral), list(base.events)
    for label in AUDIOSET_LABELS:
        name = re.sub(r"\(.*?\)", "", label).strip().lower()
        found = _read(name, base)
        # "Folk music" is music: the rest of the label is no event of its own.
        if known := found & set(base.events):
            neutral.update(found - known)
        elif found:
            events.append(name)
            strong.update({phrase: name for phrase in _phrases(name) if phrase not in strong})
    return _Lexicon(strong, base.weak, frozenset(neutral), tuple(events))


def known_events() -> tuple[str, ...]:
    """Return the names of the events that the lexicon knows, AudioSet's among them."""
    return _lexicon().events


def _cut(stems: Sequence[str], lexicon: _Lexicon) -> Iterator[str]:
    """Yield the clause as phrases of the lexicon, the longest first, and single stems."""
    start = 0
    while start < len(stems):
        for length in range(min(_LONGEST_PHRASE, len(stems) - start), 0, -1):
            phrase = " ".join(stems[start : start + length])
            if length == 1 or phrase in lexicon.strong or phrase in lexicon.weak or phrase in lexicon.neutral:
                break
        yield phrase
        start += length


def _clause_events(clause: str, lexicon: _Lexicon) -> set[str]:
    phrases = list(dict.fromkeys(_cut(_stems(clause), lexicon)))
    found = {lexicon.strong[phrase] for phrase in phrases if phrase in lexicon.strong}
    # A word that may belong to an event already found is explained by it.
    rest = [
        phrase
        for phrase in phrases
        if phrase not in lexicon.strong and not found.intersection(lexicon.weak.get(phrase, ()))
    ]
    return found | _explain(rest, lexicon)


def _explain(phrases: list[str], lexicon: _Lexicon) -> set[str]:
    """Find the fewest events that account for the phrases: greedily, the one that accounts for most."""
    found: set[str] = set()
    for phrase in phrases:
        events = lexicon.weak.get(phrase, (phrase,))
        if found.intersection(events) or not _says_something(phrase, lexicon):
            continue
        best = events[0]
        # What the lexicon does not know is its own event; the few other words look at all that is left.
        if len(events) > 1:
            left = [other for other in phrases if not found.intersection(lexicon.weak.get(other, (other,)))]
            best = max(events, key=lambda event: sum(event in lexicon.weak.get(p, (p,)) for p in left))
        found.add(best)
    return found


def _says_something(phrase: str, lexicon: _Lexicon) -> bool:
    if phrase in lexicon.neutral or phrase.isdigit() or len(phrase) == 1:
        return False
    return phrase in lexicon.weak or not phrase.endswith(_NO_SOURCE)


def _read(caption: str, lexicon: _Lexicon) -> frozenset[str]:
    clauses = _CLAUSE_END.split(caption.lower())
    return frozenset(event for clause in clauses for event in _clause_events(clause, lexicon))


@lru_cache(maxsize=1 << 16)  # training by rewards asks for the same references again and again
def sound_events(caption: str) -> frozenset[str]:
    """Return the names of the sound events that an English caption mentions."""
    return _read(caption, _lexicon())


@dataclass(frozen=True, kw_only=True)
class EventScores:
    """Precision, recall and F1 of the events that captions name, means over the clips (in [0, 1])."""

    num_clips: int
    """Number of clips."""
    precision: float
    """Share of the candidate's events that some reference of the clip mentions."""
    recall: float
    """Share of the references' mentions of events whose event the candidate has."""
    f1: float
    """Harmonic mean of a clip's two."""
    clips: dict[str, np.ndarray]
    """The three for every clip, under the same names: float64 of shape (clips,)."""


def event_scores(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> EventScores:
    """Compute event precision, recall and F1 of candidates against any number of references per clip.

    A candidate without events has precision 0, unless its references have none either (then all three are 1).
    An event that only some references mention weighs less in recall.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates but references of {len(references)} clips")
    if not candidates:
        raise ValueError("event_scores needs at least one clip")
    rows = np.array([_clip_scores(one, several) for one, several in zip(candidates, references, strict=True)])
    precision, recall, f1 = rows.mean(axis=0)
    return EventScores(
        num_clips=len(rows),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        clips=dict(zip(("precision", "recall", "f1"), rows.T, strict=True)),
    )


def _clip_scores(candidate: str, references: Iterable[str]) -> tuple[float, float, float]:
    said = sound_events(candidate)
    mentions = [event for reference in references for event in sound_events(reference)]
    if not said and not mentions:
        return 1.0, 1.0, 1.0
    precision = len(said.intersection(mentions)) / len(said) if said else 0.0
    recall = sum(event in said for event in mentions) / len(mentions) if mentions else 0.0
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
