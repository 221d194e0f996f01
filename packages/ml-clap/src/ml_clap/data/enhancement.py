"""Language enhancement: captions of further languages mixed into an epoch (the paper's "LE mixture").

Every caption in the source language (English) is used in every epoch; a caption in a further language is used
with a probability, drawn anew for each epoch. The paper's "10 %" is that probability **for each language**:
with seven languages an epoch grows by about 70 %. Later work of the same authors divides it by the number of
languages, so that an epoch grows by 10 % in total. Both are here, by name.

All of it is pure: the same arguments give the same epoch, on every process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ml_clap.data.manifest import Clip

RateMeaning = Literal["per_language", "total"]

_WRITTEN_WITHOUT_SPACES = ("jpn_Jpan", "zho_Hans", "zho_Hant", "yue_Hant")


class Sample(NamedTuple):
    """One (audio, text) pair of an epoch."""

    clip: int
    """Place of the clip in the list of clips."""
    language: str
    """FLORES code."""
    caption: int
    """Place of the caption among the clip's captions of this language."""
    others: tuple[str, ...] = ()
    """Languages in which the caption at the same place comes along."""


def texts_of(clip: Clip, sample: Sample) -> list[tuple[str, str]] | None:
    """Return (text, language) of a sample's captions, taken of any clip; None where it lacks a language."""
    texts = clip.captions.get(sample.language)
    if not texts:
        return None
    place = sample.caption % len(texts)
    if any(len(clip.captions.get(other, ())) <= place for other in sample.others):
        return None
    return [(clip.captions[language][place], language) for language in (sample.language, *sample.others)]


def parallel_captions(
    clips: Sequence[Clip],
    *,
    source_language: str,
    languages: Sequence[str],
    count: int | None = None,
    seed: int = 0,
    epoch: int = 0,
) -> list[Sample]:
    """Return one epoch of captions in the source language, each with its like in further languages.

    Args:
        clips: All clips; each has equally many captions in every one of these languages.
        source_language: Each caption in this language is in every epoch.
        languages: Further languages.
        count: How many of them come along, drawn anew for each caption and epoch; None: all.
        seed: With `epoch`, what the draw depends on.
        epoch: Number of the epoch, from 0.

    Raises:
        ValueError: A clip lacks captions that are parallel; names it and the language.
    """
    _check(source_language, languages, 0.0)
    for clip in clips:
        _check_parallel(clip, source_language, languages)
    samples = [
        Sample(number, source_language, caption, tuple(languages))
        for number, clip in enumerate(clips)
        for caption in range(len(clip.captions[source_language]))
    ]
    if count is None:
        return samples
    draws = np.random.default_rng([seed, epoch, 0, 5]).random((len(samples), len(languages)))
    chosen = draws.argsort(axis=1)[:, :count]
    return [
        sample._replace(others=tuple(languages[place] for place in row))
        for sample, row in zip(samples, chosen, strict=True)
    ]


def _check_parallel(clip: Clip, source_language: str, languages: Sequence[str]) -> None:
    count = len(clip.captions.get(source_language, ()))
    for language in (source_language, *languages):
        found = len(clip.captions.get(language, ()))
        if found != count or not found:
            raise ValueError(
                f"multilingual needs parallel captions: {clip.id} has {count} in {source_language} and "
                f"{found} in {language}; translate what is missing, or choose other --data.languages"
            )


def epoch_captions(
    clips: Sequence[Clip],
    *,
    source_language: str = "eng_Latn",
    languages: Sequence[str] = (),
    rate: float = 0.1,
    rate_meaning: RateMeaning = "per_language",
    seed: int = 0,
    epoch: int = 0,
    max_caption_length: int | None = None,
) -> list[Sample]:
    """Return the pairs of one epoch, by clip, then language, then caption.

    Args:
        clips: All clips of the epoch. One without captions in the source language takes part only with what
            is drawn of its other languages.
        source_language: Each caption in this language is in every epoch.
        languages: Further languages; a caption in one of them is in the epoch with a probability.
        rate: That probability (`per_language`), or the sum of it over `languages` (`total`).
        rate_meaning: `per_language` is the paper's.
        seed: With `epoch`, what the draw depends on.
        epoch: Number of the epoch, from 0.
        max_caption_length: Captions in further languages that are longer (`caption_length`) never take part,
            as in the authors' data pipeline (they set 50); captions in the source language always do.

    Raises:
        ValueError: `rate` is not in [0, 1], or a language is named twice.
    """
    _check(source_language, languages, rate)
    probability = rate if rate_meaning == "per_language" or not languages else rate / len(languages)
    further = [
        Sample(number, language, caption)
        for number, clip in enumerate(clips)
        for language in languages
        for caption, text in enumerate(clip.captions.get(language, ()))
        if max_caption_length is None or caption_length(text, language) <= max_caption_length
    ]
    # One draw a caption, in a fixed order: what is drawn for one does not depend on the others.
    drawn = np.random.default_rng([seed, epoch]).random(len(further)) < probability
    source = [
        Sample(number, source_language, caption)
        for number, clip in enumerate(clips)
        for caption in range(len(clip.captions.get(source_language, ())))
    ]
    chosen = source + [sample for sample, is_drawn in zip(further, drawn, strict=True) if is_drawn]
    return sorted(chosen, key=lambda sample: sample.clip)  # stable: source first, then languages as given


def caption_length(text: str, language: str) -> float:
    """Return the words of a caption; for Japanese and Chinese UTF-8 bytes / 3, about its characters.

    >>> caption_length("A dog barks.", "eng_Latn"), caption_length("犬が吠える", "jpn_Jpan")
    (3, 5.0)
    """
    if language in _WRITTEN_WITHOUT_SPACES:
        return len(text.encode("utf-8")) / 3
    return len(text.split())


def one_caption_per_clip(samples: Sequence[Sample], *, seed: int = 0, epoch: int = 0) -> list[Sample]:
    """Draw one sample of each clip, another one in each epoch; they are returned by clip."""
    draws = np.random.default_rng([seed, epoch, 0, 1]).random(len(samples))  # not those of epoch_captions
    chosen: dict[int, tuple[float, Sample]] = {}
    for draw, sample in zip(draws, samples, strict=True):
        if sample.clip not in chosen or draw < chosen[sample.clip][0]:
            chosen[sample.clip] = (draw, sample)
    return [sample for _, (_, sample) in sorted(chosen.items())]


def _check(source_language: str, languages: Sequence[str], rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate of further languages must be in [0, 1], got {rate}")
    named = [source_language, *languages]
    if len(set(named)) < len(named):
        raise ValueError(f"a language is named twice (the source language counts): {', '.join(named)}")
