"""From captions to judged translations: translate, translate back, compare; each distinct caption once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ml_clap.data.languages import resolve
from ml_clap.data.manifest import Clip
from ml_clap.translate.gate import Gate
from ml_clap.translate.journal import Journal, Stage
from ml_clap.translate.judge import Judge
from ml_clap.translate.scores import chrf, find_fault
from ml_clap.translate.translator import Translation, Translator

TRANSLATED, BACK = "translated", "back"
"""Stages of the journal: into a language, and from it back into the source's."""


@dataclass(frozen=True)
class Candidate:
    """A translation and what the gate says of it."""

    source: str
    text: str | None
    """None: it was not translated."""
    back: str | None = None
    """Translated back."""
    similarity: float | None = None
    """To the source, by the judge."""
    agreement: float | None = None
    """Of the back-translation with the source, chrF from 0 to 100."""
    faults: tuple[str, ...] = ()
    """Why it is rejected; empty: it is accepted."""


@dataclass(frozen=True)
class Limits:
    """Thresholds by language."""

    similarity: Mapping[str, float]
    """FLORES code, or "" for all -> the least similarity."""
    agreement: Mapping[str, float]
    gate: Gate | None = None

    def least_similarity(self, language: str) -> float | None:
        """Return a language's threshold: given for it, given for all, or the gate's; None: there is none."""
        given = self.similarity.get(language, self.similarity.get(""))
        return self.gate.threshold(language) if given is None and self.gate else given

    def least_agreement(self, language: str) -> float | None:
        """Return a language's threshold of agreement, given for it or for all."""
        return self.agreement.get(language, self.agreement.get(""))


def by_code(limits: Mapping[str, float]) -> dict[str, float]:
    """Return limits by FLORES code; "" stays. ValueError if a language is not known, or meant twice."""
    found: dict[str, float] = {}
    for language, limit in limits.items():
        code = resolve(language) if language else ""
        if code in found:
            raise ValueError(f"{code} has two limits")
        found[code] = limit
    return found


def sources_of(clips: Sequence[Clip], source_language: str, language: str) -> list[str]:
    """Return the distinct captions to translate: of clips that have none in the language yet."""
    return list(
        dict.fromkeys(
            text
            for clip in clips
            if language not in clip.captions
            for text in clip.captions.get(source_language, ())
        )
    )


@dataclass(frozen=True)
class Factory:
    """Translator, judge and limits at work on one journal."""

    translator: Translator
    journal: Journal
    limits: Limits
    source_language: str
    batch_size: int
    judge: Judge | None = None
    back_translate: bool = True

    def make(self, sources: Sequence[str], language: str) -> dict[str, Candidate]:
        """Translate captions into a language and judge them; what is done is taken from the journal.

        Returns:
            caption -> its translation.
        """
        for stage_of in self.stages():
            self.journal.fill(stage_of(sources, language), self.batch_size)
        done = self._translated(sources, language)
        backs = self.journal.results(BACK, language)
        similarities = self.journal.results(self._judging(language), language)
        candidates = {}
        counts = self._count(sources)
        for source in sources:
            if source not in done:
                limit = self.translator.max_source_tokens
                fault = f"longer than the translator reads: {counts[source]} tokens of {limit}"
                candidates[source] = Candidate(source, None, faults=(fault,))
                continue
            text = done[source].text
            back = Translation(*backs[text]).text if self.back_translate and text in backs else None
            similarity = similarities.get((source, text)) if self.judge else None
            candidate = Candidate(
                source,
                text,
                back,
                None if similarity is None else float(similarity),
                None if back is None else chrf(back, source),
            )
            candidates[source] = replace(candidate, faults=self._faults(candidate, done[source], language))
        return candidates

    def stages(self) -> list[Callable[[Sequence[str], str], Stage]]:
        """Return what is done one after another, each of captions and a language."""
        return [
            self.translation,
            *([self.back_translation] if self.back_translate else []),
            *([self.comparison] if self.judge else []),
        ]

    def translation(self, sources: Sequence[str], language: str) -> Stage:
        """Return the translating of captions that the translator reads whole."""
        counts = self._count(sources)
        fitting = [text for text in sources if counts[text] <= self.translator.max_source_tokens]
        return self._translating(TRANSLATED, language, fitting, counts)

    def back_translation(self, sources: Sequence[str], language: str) -> Stage:
        """Return the translating back of what captions have become."""
        done = self._translated(sources, language)
        spoken = list(dict.fromkeys(one.text for one in done.values() if one.text))
        counts = self._count(spoken)
        fitting = [text for text in spoken if counts[text] <= self.translator.max_source_tokens]
        return self._translating(BACK, language, fitting, counts)

    def comparison(self, sources: Sequence[str], language: str) -> Stage:
        """Return the comparing of captions with what they have become."""
        judge, gate = self.judge, self.limits.gate
        assert judge is not None
        done = self._translated(sources, language)
        pairs = [(source, one.text) for source, one in done.items() if one.text]
        cut = {one.text for pair in pairs for one in judge.find_cut(pair)}
        fitting = [pair for pair in pairs if not cut.intersection(pair)]
        return Stage(
            self._judging(language),
            language,
            fitting,
            [len(source) + len(text) for source, text in fitting],
            lambda batch: compare_batch(judge, gate, batch, self.source_language, language),
            f"Judging {language}",
        )

    def _translating(
        self, name: str, language: str, texts: Sequence[str], counts: Mapping[str, int]
    ) -> Stage:
        source, target = ends_of(name, self.source_language, language)
        return Stage(
            name,
            language,
            texts,
            [counts[text] for text in texts],
            lambda batch: translate_batch(self.translator, batch, source, target),
            f"{source} to {target}",
        )

    def _translated(self, sources: Sequence[str], language: str) -> dict[str, Translation]:
        done = self.journal.results(TRANSLATED, language)
        return {source: Translation(*done[source]) for source in sources if source in done}

    def _count(self, texts: Sequence[str]) -> dict[str, int]:
        return dict(zip(texts, self.translator.count_tokens(texts), strict=True)) if texts else {}

    def _judging(self, language: str) -> str:
        return f"similarity {_identity(self.judge, self.limits.gate, language)}" if self.judge else ""

    def _faults(self, candidate: Candidate, made: Translation, language: str) -> tuple[str, ...]:
        faults = []
        if not made.is_finished:
            faults.append("did not end within max_tokens")
        if fault := find_fault(candidate.source, made.text, language):
            return (*faults, fault)
        least, similarity = self.limits.least_similarity(language), candidate.similarity
        if self.judge is not None and similarity is None:
            faults.append("longer than the judge reads")
        if least is not None and similarity is not None and similarity < least:
            faults.append("similarity")
        wanted = self.limits.least_agreement(language) if self.back_translate else None
        if wanted is not None and (candidate.agreement is None or candidate.agreement < wanted):
            faults.append("agreement")
        return tuple(faults)


def ends_of(stage: str, source_language: str, language: str) -> tuple[str, str]:
    """Return from which language into which a stage translates."""
    return (language, source_language) if stage == BACK else (source_language, language)


def translate_batch(
    translator: Translator, texts: Sequence[str], source: str, target: str
) -> list[list[Any]]:
    """Return the translations of texts, as JSON knows them: text, and whether it was ended."""
    return [list(one) for one in translator.translate(texts, source, target)]


def compare_batch(
    judge: Judge,
    gate: Gate | None,
    pairs: Sequence[Sequence[str]],
    source_language: str,
    language: str,
) -> list[float]:
    """Return how alike sources and their translations are."""
    source = judge.embed([pair[0] for pair in pairs], source_language)
    target = judge.embed([pair[1] for pair in pairs], language)
    return _similarity(source, target, language, gate)


def _similarity(source: np.ndarray, target: np.ndarray, language: str, gate: Gate | None) -> list[float]:
    values = gate.similarity(source, target, language) if gate else (source * target).sum(axis=1)
    return [round(float(value), 5) for value in values]


def _identity(judge: Judge, gate: Gate | None, language: str) -> str:
    """Return what a similarity depends on beside its texts."""
    from hashlib import blake2b

    digest = blake2b(judge.fingerprint.encode(), digest_size=8)
    if gate:
        measured: Any = gate.languages.get(language)
        centres = [measured.centre] if measured else [one.centre for one in gate.languages.values()]
        digest.update(repr([gate.source_centre, *centres]).encode())
    return digest.hexdigest()
