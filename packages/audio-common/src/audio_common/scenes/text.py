"""What can be said of a scene: captions in eight languages, and multiple-choice questions in English.

    >>> from audio_common.scenes.scene import Event, Scene
    >>> dog = Event(kind="dog", onset=0.2, duration=1.5, gain_db=-1.0)
    >>> bell = Event(kind="bell", onset=2.0, duration=1.8)
    >>> scene = Scene(events=(dog, bell), seconds=4.0)
    >>> caption(scene, "eng_Latn")
    'A dog barks loudly, then a bell rings.'
    >>> caption(scene, "deu_Latn", variant=1)
    'Zuerst kläfft ein Hund laut, danach schlägt eine Kirchenglocke.'

Captions are made from the description of the scene, never from its sound: events in the order of their
onsets, what follows and what overlaps, what is loud and what is quiet (of a normal level nothing is said).
The words are data, in `scene_phrases.json` beside this file: of every kind one or two clauses in parts
divided by `|`, a label, and for every variant a sentence pattern in which `{a.main}` is form `main` of the
first event.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import SimpleNamespace
from typing import Literal

from numpy.random import PCG64, Generator

from audio_common.scenes.scene import KINDS, Event, Scene
from audio_common.strict_json import parse_object

LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn", "spa_Latn", "nld_Latn", "cat_Latn", "jpn_Jpan", "zho_Hans")
"""Codes of the languages that captions can be in."""
NUM_VARIANTS = 5
"""Paraphrases of every caption."""
HELD_OUT_VARIANT = 4
"""Its sentence patterns appear in no other variant: keep it for testing."""
TRAINING_VARIANTS = tuple(variant for variant in range(NUM_VARIANTS) if variant != HELD_OUT_VARIANT)
"""The variants to train on."""

_CLAUSE_OF_VARIANT = (0, 1, 1, 0, 0)
# Smaller differences leave a listener in doubt which is first or loudest.
_MIN_EARLIER = 0.3  # seconds
_MIN_LOUDER_DB = 6.0


@dataclass(frozen=True, kw_only=True)
class _Phrasebook:
    """What one language needs; `{a.main}` in a pattern is form `main` of the first event or group."""

    clauses: dict[str, list[str]]
    """Kind -> one or two ways to say it, in parts: see the function of the language below."""
    labels: dict[str, str]
    """Kind -> short noun phrase."""
    loud: list[str]
    """Adverb (Japanese: its stem; Chinese: adjective) with the first and with the second clause."""
    quiet: list[str]
    """Likewise."""
    single: list[str]
    """Sentences about one event, one for each variant."""
    together: list[str]
    """About two events at the same time."""
    then: list[str]
    """About two events, or groups of events, in succession."""
    series: list[tuple[str, str, str]]
    """First, middle and last part of sentences about three or more in succession."""
    pair: dict[str, str]
    """Form -> how two events at the same time take that form inside a longer sentence."""


@cache
def _phrasebooks() -> dict[str, _Phrasebook]:
    content = resources.files("audio_common.scenes").joinpath("scene_phrases.json").read_bytes()
    books = parse_object(content, "scene_phrases.json")
    return {language: _Phrasebook(**book) for language, book in books.items()}


def _phrasebook(language: str) -> _Phrasebook:
    if language not in LANGUAGES:
        raise ValueError(f"no captions in language {language!r}; there are {', '.join(LANGUAGES)}")
    return _phrasebooks()[language]


# ------------------------------------------------------------------------------------------ clauses

Forms = SimpleNamespace


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _english_or_french(parts: Sequence[str], adverb: str) -> Forms:
    """Subject | verb | verb after "you can hear" | complement."""
    subject, verb, heard, complement = parts
    return Forms(
        main=_words(subject, verb, adverb, complement), heard=_words(subject, heard, adverb, complement)
    )


def _spanish_or_catalan(parts: Sequence[str], adverb: str) -> Forms:
    """Subject | verb | complement; after "se oye cómo" a noun that needs no complement follows its verb."""
    subject, verb, complement = parts
    main = _words(subject, verb, adverb, complement)
    is_inverted = not complement and subject not in ("alguien", "algú")
    return Forms(main=main, heard=_words(verb, adverb, subject) if is_inverted else main)


def _german(parts: Sequence[str], adverb: str) -> Forms:
    """Subject | its accusative if another | verb | infinitive | complement."""
    subject, accusative, verb, infinitive, complement = parts
    return Forms(
        main=_words(subject, verb, adverb, complement),
        inverted=_words(verb, subject, adverb, complement),
        subordinate=_words(subject, adverb, complement, verb),
        heard=_words(accusative or subject, adverb, complement, infinitive),
    )


def _dutch(parts: Sequence[str], adverb: str) -> Forms:
    """Subject | "er" if it is indefinite | verb | infinitive | complement."""
    subject, there, verb, infinitive, complement = parts
    return Forms(
        main=_words(subject, verb, adverb, complement),
        inverted=_words(verb, there, subject, adverb, complement),
        subordinate=_words(subject, adverb, complement, verb),
        heard=_words(subject, adverb, complement, infinitive),
    )


def _japanese(parts: Sequence[str], adverb: str) -> Forms:
    """Subject | complement | plain form | te-form | stem | what is loud or quiet: a noun, or nothing."""
    subject, complement, plain, te, stem, noun = parts
    start = subject + (f"{adverb}な{noun}で" if noun else f"{adverb}く") * bool(adverb) + complement
    past = te[:-1] + {"て": "た", "で": "だ"}[te[-1]]
    return Forms(main=start + plain, past=start + past, stem=start + stem, going_on=f"{start}{te}いる")


def _chinese(parts: Sequence[str], label: str, event: Event, adjective: str) -> Forms:
    """The clause | the same, loud | the same, quiet; and a noun phrase made of the label."""
    return Forms(main=parts[("normal", "loud", "quiet").index(event.loudness)], noun=adjective + label)


def _forms(event: Event, language: str, clause: int) -> Forms:
    """The clause about one event in every form that the language's patterns may ask for."""
    book = _phrasebook(language)
    adverb = {"loud": book.loud[clause], "quiet": book.quiet[clause], "normal": ""}[event.loudness]
    clauses = book.clauses[event.kind]
    parts = clauses[clause % len(clauses)].split("|")
    match language:
        case "eng_Latn" | "fra_Latn":
            return _english_or_french(parts, adverb)
        case "spa_Latn" | "cat_Latn":
            return _spanish_or_catalan(parts, adverb)
        case "deu_Latn":
            return _german(parts, adverb)
        case "nld_Latn":
            return _dutch(parts, adverb)
        case "jpn_Jpan":
            return _japanese(parts, adverb)
        case _:
            return _chinese(parts, book.labels[event.kind], event, adverb)


# ------------------------------------------------------------------------------------------ captions


def label(kind: str, language: str = "eng_Latn") -> str:
    """A short noun phrase for a kind of event: "a dog barking", "Hundegebell"."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of event {kind!r}; known kinds: {', '.join(KINDS)}")
    return _phrasebook(language).labels[kind]


def caption(scene: Scene, language: str, *, variant: int = 0) -> str:
    """One sentence, or a few, about all events of a scene.

    Args:
        scene: at most two events may sound at the same time.
        language: one of `LANGUAGES`.
        variant: paraphrase, 0 to `NUM_VARIANTS` - 1; `HELD_OUT_VARIANT` is meant for testing.

    Raises:
        ValueError: unknown language or variant, or more than two events at the same time.
    """
    book = _phrasebook(language)
    if variant not in range(NUM_VARIANTS):
        raise ValueError(f"variant must be in 0 .. {NUM_VARIANTS - 1}, got {variant}")
    groups = [
        [_forms(event, language, _CLAUSE_OF_VARIANT[variant]) for event in group] for group in scene.groups()
    ]
    if any(len(group) > 2 for group in groups):
        raise ValueError(
            "a caption can tell of two events that overlap, this scene has three or more; shift some"
        )
    if len(groups) == 1:
        (events,) = groups
        patterns = book.single if len(events) == 1 else book.together
        return _sentence(patterns[variant].format(a=events[0], b=events[-1]))
    parts = [group[0] if len(group) == 1 else _pair(book, *group) for group in groups]
    if len(parts) == 2:
        return _sentence(book.then[variant].format(a=parts[0], b=parts[1]))
    first, middle, last = book.series[variant]
    patterns = [first, *[middle] * (len(parts) - 2), last]
    return _sentence("".join(pattern.format(a=part) for pattern, part in zip(patterns, parts, strict=True)))


def _pair(book: _Phrasebook, a: Forms, b: Forms) -> Forms:
    return Forms(**{form: pattern.format(a=a, b=b) for form, pattern in book.pair.items()})


def _sentence(text: str) -> str:
    """Elide French "que" before a vowel, and begin every sentence with a capital."""
    text = re.sub(r"\b([Qq])ue (?=[aeiou])", r"\1u'", text)
    return re.sub(r"(^|\. )(\w)", lambda match: match[1] + match[2].upper(), text)


# ------------------------------------------------------------------------------------------ questions

QuestionKind = Literal["presence", "first", "count", "loudest", "overlap"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A multiple-choice question about a scene, with exactly one right answer."""

    text: str
    """The question, in English."""
    choices: tuple[str, ...]
    """Four options, all different."""
    answer: int
    """Index of the right one."""
    kind: QuestionKind
    """What it asks for: a sound that is there, the first, their number, the loudest, one that overlaps."""


def questions(scene: Scene, seed: int) -> list[Question]:
    """Every question that the scene answers without doubt; the same seed gives the same options and order.

    Wrong options are sounds that are absent from the scene; where the answer must be told from the scene's
    own sounds (first, loudest, overlap) those come before absent ones. "First" needs 0.3 s between onsets,
    "loudest" 6 dB.
    """
    rng = Generator(PCG64(seed))
    heard = rng.choice(scene.kinds)
    asked = [
        _about_sound(rng, scene, "presence", "Which of these sounds can be heard?", heard, among_scene=False),
        _count_question(rng, len(scene.kinds)),
    ]
    first, *later = scene.events
    if any(event.kind != first.kind for event in later) and later[0].onset - first.onset >= _MIN_EARLIER:
        asked.append(_about_sound(rng, scene, "first", "Which sound comes first?", first.kind))
    loudest, *softer = sorted(_loudest_of_kind(scene).items(), key=lambda item: -item[1])
    if softer and loudest[1] - softer[0][1] >= _MIN_LOUDER_DB:
        asked.append(_about_sound(rng, scene, "loudest", "Which sound is the loudest?", loudest[0]))
    for kind, partners in _partners(scene).items():
        if len(partners) == 1:
            text = f"Which sound is heard at the same time as {label(kind)}?"
            asked.append(_about_sound(rng, scene, "overlap", text, *partners, but=kind))
    return [question for question in asked if len(question.choices) == 4]


def _loudest_of_kind(scene: Scene) -> dict[str, float]:
    return {kind: max(e.gain_db for e in scene.events if e.kind == kind) for kind in scene.kinds}


def _partners(scene: Scene) -> dict[str, set[str]]:
    """Kind -> the other kinds that sound at the same time as it."""
    return {
        kind: {b.kind for a in scene.events if a.kind == kind for b in scene.events if a.overlap(b) > 0}
        - {kind}
        for kind in scene.kinds
    }


def _about_sound(
    rng: Generator,
    scene: Scene,
    kind: QuestionKind,
    text: str,
    answer: str,
    *,
    but: str = "",
    among_scene: bool = True,
) -> Question:
    present = [k for k in scene.kinds if k not in (answer, but)] if among_scene else []
    absent = [k for k in KINDS if k not in scene.kinds]
    wrong = [*rng.permutation(present), *rng.permutation(absent)]
    return _question(rng, kind, text, label(answer), [label(k) for k in wrong])


def _count_question(rng: Generator, count: int) -> Question:
    lowest = max(1, count - 3)  # up to four sounds the options are always 1 to 4, and tell nothing
    wrong = [str(n) for n in range(lowest, lowest + 4) if n != count]
    return _question(rng, "count", "How many different sounds can be heard?", str(count), wrong)


def _question(rng: Generator, kind: QuestionKind, text: str, answer: str, wrong: Sequence[str]) -> Question:
    """Shuffle the answer and three wrong options; with fewer, the question has fewer choices."""
    options = [answer, *wrong[:3]]
    choices = tuple(options[i] for i in rng.permutation(len(options)))
    return Question(text=text, choices=choices, answer=choices.index(answer), kind=kind)
