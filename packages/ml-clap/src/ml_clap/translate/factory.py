"""From captions to judged translations: translate, translate back, compare; each distinct caption once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml_clap.data.languages import resolve
from ml_clap.data.manifest import Clip
from ml_clap.translate.gate import Gate
from ml_clap.translate.journal import Journal
from ml_clap.translate.judge import Judge
from ml_clap.translate.scores import chrf, find_fault
from ml_clap.translate.translator import Translation, Translator


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
        counts = dict(zip(sources, self.translator.count_tokens(sources), strict=True)) if sources else {}
        limit = self.translator.max_source_tokens
        fitting = [text for text in sources if counts[text] <= limit]
        done = self._translate(fitting, self.source_language, language, "translated", language)
        texts = {source: done[source].text for source in fitting}
        spoken = list(dict.fromkeys(text for text in texts.values() if text))
        backs = self._translate_back(spoken, language) if self.back_translate else {}
        similarities = self._compare([(source, text) for source, text in texts.items() if text], language)
        candidates = {}
        for source in sources:
            if counts[source] > limit:
                fault = f"longer than the translator reads: {counts[source]} tokens of {limit}"
                candidates[source] = Candidate(source, None, faults=(fault,))
                continue
            text, back = texts[source], backs.get(texts[source])
            candidate = Candidate(
                source,
                text,
                back,
                similarities.get((source, text)),
                None if back is None else chrf(back, source),
            )
            faults = self._faults(candidate, done[source], language)
            candidates[source] = Candidate(
                source, text, back, candidate.similarity, candidate.agreement, faults
            )
        return candidates

    def _translate(
        self, texts: Sequence[str], source: str, target: str, stage: str, language: str
    ) -> dict[str, Translation]:
        done = self.journal.fill(
            stage,
            language,
            texts,
            lambda batch: [list(one) for one in self.translator.translate(batch, source, target)],
            lengths=self.translator.count_tokens(texts) if texts else [],
            batch_size=self.batch_size,
            description=f"{source} to {target}",
        )
        return {text: Translation(*done[text]) for text in texts}

    def _translate_back(self, texts: Sequence[str], language: str) -> dict[str, str]:
        counts = self.translator.count_tokens(texts) if texts else []
        limit = self.translator.max_source_tokens
        fitting = [text for text, count in zip(texts, counts, strict=True) if count <= limit]
        backs = self._translate(fitting, language, self.source_language, "back", language)
        return {text: back.text for text, back in backs.items()}

    def _compare(self, pairs: Sequence[tuple[str, str]], language: str) -> dict[tuple[str, str], float]:
        if self.judge is None:
            return {}
        judge, gate = self.judge, self.limits.gate
        cut = {one.text for pair in pairs for one in judge.find_cut(pair)}
        fitting = [pair for pair in pairs if not cut.intersection(pair)]

        def work(batch: list[tuple[str, str]]) -> list[float]:
            source = judge.embed([pair[0] for pair in batch], self.source_language)
            target = judge.embed([pair[1] for pair in batch], language)
            return _similarity(source, target, language, gate)

        done = self.journal.fill(
            f"similarity {_identity(judge, gate, language)}",
            language,
            fitting,
            work,
            lengths=[len(source) + len(text) for source, text in fitting],
            batch_size=self.batch_size,
            description=f"Judging {language}",
        )
        return {pair: float(done[pair]) for pair in fitting}

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
