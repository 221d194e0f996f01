"""Make multiple-choice questions of a manifest of clips: which caption, or which label, fits the recording?

    {"id": "dog-1", "audio": "audio/dog.ogg", "captions": ["A dog barks."], "split": "train", "label": "dog"}

`captions` is a list, one text, or either by language, as ml-clap and aac-llm write it. Wrong options are what
other clips of the same split are captioned or labelled, never clips that share a caption or the label. The
draw for a clip depends on the seed and its id alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1_aqa.config.prepare import PrepareClipsConfig
from r1_aqa.data.questions import KNOWN, Question, QuestionError, extra_columns
from r1_aqa.data.readers import sounds_of
from r1_aqa.data.rows import iterate_rows

ASKED = {
    "label": "Which sound is in the recording?",
    "captions": "Which description fits the recording?",
}
"""The question, by what its options are."""

NAMES = {
    "eng": ("en", "english"),
    "fra": ("fr", "french"),
    "deu": ("de", "german"),
    "spa": ("es", "spanish"),
    "ita": ("it", "italian"),
    "por": ("pt", "portuguese"),
    "zho": ("zh", "chinese"),
    "jpn": ("ja", "japanese"),
    "kor": ("ko", "korean"),
    "rus": ("ru", "russian"),
    "arb": ("ar", "arabic"),
    "hin": ("hi", "hindi"),
}
"""Other names of languages in manifests, by the first part of their FLORES code."""


@dataclass(frozen=True)
class Clip:
    """A row of a manifest: its recording, and what it is said to hold."""

    where: str
    row: dict[str, Any]
    audio: Path
    captions: tuple[str, ...]
    label: str | None

    @property
    def texts(self) -> set[str]:
        """Return all that describes it, folded, to find clips that share something."""
        return {_fold(text) for text in (*self.captions, *([self.label] if self.label else []))}


def parse_clips(config: PrepareClipsConfig) -> Iterator[tuple[str, Question | QuestionError]]:
    """Yield the place of each clip, and a question about it or its fault."""
    clips: list[Clip] = []
    for where, row in iterate_rows(config.source):
        if isinstance(row, QuestionError):
            yield where, row
            continue
        try:
            clips.append(_clip(where, row, config))
        except KeyError as error:
            yield where, QuestionError(f"there is no {error.args[0]!r}; it has the keys {', '.join(row)}")
        except ValueError as error:
            yield where, QuestionError(str(error))
    for clip in clips:
        for number in range(config.questions_per_clip):
            try:
                yield clip.where, _ask(clip, clips, number, config)
            except ValueError as error:
                yield clip.where, QuestionError(str(error))


def captions_of(value: Any, language: str) -> tuple[str, ...]:
    """Return the captions of a language; a list or a bare text is in whatever language is wanted.

    >>> captions_of({"eng_Latn": ["A dog."], "fra": "Un chien."}, "en"), captions_of("A dog.", "eng_Latn")
    (('A dog.',), ('A dog.',))
    """
    if isinstance(value, dict):
        own = [texts for tag, texts in value.items() if _language(tag) == _language(language)]
        value = own[0] if own else []
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"captions: expected texts, a text, or either by language, got {value!r}")
    return tuple(text.strip() for text in texts if text.strip())


def _clip(where: str, row: dict[str, Any], config: PrepareClipsConfig) -> Clip:
    sounds = sounds_of(row, "audio", config.source.parent)
    if sounds["further_audio"]:
        raise ValueError(f"a clip is one sound; audio names {len(sounds['further_audio']) + 1}")
    audio: Path = sounds["audio"]
    if config.audio is not None:
        audio = config.audio / audio.name
    label = row.get("label")
    if label is not None and not isinstance(label, str):
        raise ValueError(f"label: expected a text, got {label!r}")
    words = " ".join(label.replace("_", " ").split()) if label else None
    clip = Clip(where, row, audio, captions_of(row.get("captions"), config.language), words or None)
    if not _options(clip, _kind(clip, config)):
        wanted = {"label": "a label", "captions": f"captions in {config.language}"}
        needed = wanted.get(config.about, f"a label or {wanted['captions']}")
        raise ValueError(f"a clip without {needed}; it has the keys {', '.join(row)}")
    return clip


def _ask(clip: Clip, clips: Sequence[Clip], number: int, config: PrepareClipsConfig) -> Question:
    name = str(clip.row.get("id", clip.where))
    rng = random.Random(f"{config.seed} {name} {number}")
    kind = _kind(clip, config)
    right = rng.choice(_options(clip, kind))
    choices = {_fold(right): right}
    others = [other for other in clips if _may_stand_beside(other, clip)]
    rng.shuffle(others)
    for other in others:
        if len(choices) < config.num_choices and (options := _options(other, kind)):
            text = rng.choice(options)
            choices.setdefault(_fold(text), text)
    if len(choices) < 2:
        raise ValueError(
            "no other clip of its split has another " + ("label" if kind == "label" else "caption")
        )
    shown = list(choices.values())
    rng.shuffle(shown)
    known = {key: clip.row[key] for key in ("dataset", "split") if clip.row.get(key) is not None}
    return Question(
        id=name if config.questions_per_clip == 1 else f"{name}-{number + 1}",
        audio=clip.audio,
        question=ASKED[kind],
        choices=tuple(shown),
        answer=right,
        extra=extra_columns(clip.row, KNOWN),
        **known,
    )


def _may_stand_beside(other: Clip, clip: Clip) -> bool:
    same_split = other.row.get("split") == clip.row.get("split")
    return same_split and other.audio != clip.audio and not other.texts & clip.texts


def _kind(clip: Clip, config: PrepareClipsConfig) -> str:
    return config.about if config.about != "auto" else "label" if clip.label else "captions"


def _options(clip: Clip, kind: str) -> list[str]:
    return ([clip.label] if clip.label else []) if kind == "label" else list(clip.captions)


def _language(tag: str) -> str:
    name = tag.partition("_")[0].partition("-")[0].strip().lower()
    return next((code for code, names in NAMES.items() if name in (code, *names)), name)


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold().rstrip(".!")
