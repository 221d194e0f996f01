"""Language enhancement made at home: `ml-clap translate`.

    OUT/manifest.jsonl    the clips with the captions that passed, ready for `train --data.languages`
    OUT/rejected.jsonl    the translations that did not, with scores and reasons
    OUT/report.html       counts, samples and histograms for a person
    OUT/report.json       settings and counts
    OUT/journal.jsonl     what is done; the same command goes on from there

A clip that has captions in a language keeps them and gets no others. What translated a caption stands in
the manifest beside it, in the same order:

    "translations": {"fra_Latn": [{"source": "A dog barks.", "source_language": "eng_Latn", "translator": ...,
                                   "revision": ..., "licence": ..., "similarity": 0.41, "agreement": 87.2}]}
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_clap.config.translate import TranslateConfig, split_limits
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import BadRow, Clip, read_manifest, write_manifest
from ml_clap.files import remove_leftovers, to_json, write_atomically, write_json
from ml_clap.lock import hold_outputs, sole_writer
from ml_clap.models.device import choose_device, choose_dtype
from ml_clap.output import printable
from ml_clap.tables import count_of, print_skipped, print_table, tables_beside_json
from ml_clap.translate.factory import Candidate, Factory, Limits, by_code, sources_of
from ml_clap.translate.gate import read_gate
from ml_clap.translate.journal import Journal
from ml_clap.translate.judge import Judge, load_judge
from ml_clap.translate.loading import load_translator
from ml_clap.translate.report import LanguageResult, median, write_report
from ml_clap.translate.translator import check_languages

logger = logging.getLogger(__name__)

KEY = "translations"
"""Key of the manifest under which each translated caption's provenance stands."""


@dataclass(frozen=True, kw_only=True)
class TranslationReport:
    """What came of it, written as `report.json`."""

    translator: str
    revision: str
    licence: str
    judge: str | None
    num_clips: int
    """Of the splits that were translated."""
    num_without_source: int
    """Clips without a caption in the source language: nothing could be translated."""
    languages: dict[str, dict[str, Any]]
    """FLORES code -> counts, thresholds, medians."""
    bad_rows: list[str]
    """Lines of the manifest that are left out, and why."""


def translate_verb(config: TranslateConfig) -> int:
    """Translate, and return 1 if lines of the manifest had to be left out."""
    assert config.out is not None  # the settings refuse to be without
    with sole_writer(config.out, folder=True), hold_outputs(config.json):
        remove_leftovers(config.out)
        return int(bool(translate_manifest(config).bad_rows))


def translate_manifest(config: TranslateConfig) -> TranslationReport:
    """Translate a manifest's captions, and write all files of the result.

    Raises:
        ValueError: settings, manifest, translator, judge or gate do not fit one another.
    """
    assert config.out is not None
    bad_rows: list[BadRow] = []
    source_language = resolve(config.source_language)
    languages = read_languages(config.languages, source_language)
    clips = read_manifest(config.data, language=config.language, bad_rows=bad_rows)
    chosen = choose_clips(clips, config, source_language)
    factory = _make_factory(config, source_language, languages)
    sources = {code: sources_of(chosen, source_language, code) for code in languages}
    if config.engine == "ray":
        from ml_clap.translate.by_ray import fill_by_ray

        fill_by_ray(factory, sources, config)
    made = {code: factory.make(texts, code) for code, texts in sources.items()}
    entry = _provenance(factory)
    rejected: list[dict[str, Any]] = []
    written = [
        _translated(clip, made, entry, source_language, rejected)
        if not config.splits or clip.split in config.splits
        else clip
        for clip in clips
    ]
    write_manifest(config.out / "manifest.jsonl", written)
    write_atomically(config.out / "rejected.jsonl", b"".join(to_json(row) + b"\n" for row in rejected))
    results = [_result(factory, code, list(made[code].values())) for code in languages]
    report = _report(factory, results, chosen, bad_rows)
    facts = _facts(config, report, source_language)
    page = write_report(config.out, results, facts, num_samples=config.num_samples, seed=config.seed)
    write_json(config.out / "report.json", report)
    if config.json is not None:
        write_json(config.json, report)
    with tables_beside_json(config.json):
        _print(report, results, config.out, page)
    return report


def choose_clips(clips: Sequence[Clip], config: TranslateConfig, source_language: str) -> list[Clip]:
    """Return the clips of the splits; ValueError if a split is not there, or nothing is to be translated."""
    there = {clip.split for clip in clips}
    if missing := [split for split in config.splits if split not in there]:
        named = ", ".join(sorted(split or "(none)" for split in there))
        raise ValueError(f"no clip of {config.data} is of the splits {', '.join(missing)}; there are {named}")
    chosen = [clip for clip in clips if not config.splits or clip.split in config.splits]
    if not any(source_language in clip.captions for clip in chosen):
        raise ValueError(f"{config.data} has no caption in {source_language}: nothing to translate")
    return chosen


def read_languages(names: Sequence[str], source_language: str) -> list[str]:
    """Return FLORES codes; ValueError for an unknown language, one named twice, or the source's."""
    codes = [resolve(name) for name in names]
    if len(set(codes)) < len(codes) or source_language in codes:
        raise ValueError(
            f"languages: each once, and not the source language {source_language}; got {', '.join(names)}"
        )
    return codes


def _make_factory(config: TranslateConfig, source_language: str, languages: Sequence[str]) -> Factory:
    assert config.translator is not None
    assert config.out is not None
    # Where workers translate, the models are here to count tokens.
    device = "cpu" if config.engine == "ray" else choose_device(config.device)
    limits = Limits(
        by_code(split_limits(config.min_similarity, "min_similarity")),
        by_code(split_limits(config.min_agreement, "min_agreement")),
        read_gate(config.gate) if config.gate else None,
    )
    judge = load_judge(config.judge, prefix=config.judge_prefix, device=device) if config.judge else None
    _check_gate(limits, judge, source_language)
    translator = load_translator(
        config.translator,
        num_beams=config.num_beams,
        max_tokens=config.max_tokens,
        device=device,
        dtype=choose_dtype(config.dtype, device),
        licence=config.licence,
    )
    check_languages(translator, [source_language, *languages])
    settings = {
        "revision": translator.revision,
        "source_language": source_language,
        "num_beams": config.num_beams,
        "max_tokens": config.max_tokens,
        "dtype": config.dtype,
    }
    journal = Journal(config.out / "journal.jsonl", settings)
    return Factory(
        translator, journal, limits, source_language, config.batch_size, judge, config.back_translate
    )


def _check_gate(limits: Limits, judge: Judge | None, source_language: str) -> None:
    gate = limits.gate
    if gate and judge and gate.fingerprint != judge.fingerprint:
        raise ValueError(
            f"the gate was measured with another judge or prefix ({gate.judge}): make one with this judge, "
            "`ml-clap gate`"
        )
    if gate and gate.source_language != source_language:
        raise ValueError(
            f"the gate compares with {gate.source_language}, and {source_language} is to be translated"
        )


def _provenance(factory: Factory) -> dict[str, Any]:
    return {
        "source_language": factory.source_language,
        "translator": factory.translator.name,
        "revision": factory.translator.revision,
        "licence": factory.translator.licence,
    }


def _translated(
    clip: Clip,
    made: Mapping[str, Mapping[str, Candidate]],
    facts: Mapping[str, Any],
    source_language: str,
    rejected: list[dict[str, Any]],
) -> Clip:
    """Return a clip with the translations that passed; the others are added to `rejected`."""
    captions, provenance = dict(clip.captions), {}
    for language, candidates in made.items():
        if language in clip.captions:
            continue
        passed = []
        for source in clip.captions.get(source_language, ()):
            one = candidates[source]
            scores = {"similarity": one.similarity, "agreement": one.agreement}
            known = {name: round(value, 4) for name, value in scores.items() if value is not None}
            entry = {"source": source, **facts, **known}
            if one.faults:
                texts = {"translation": one.text, "back_translation": one.back}
                reasons = {"reasons": list(one.faults)}
                rejected.append({"clip": clip.id, "language": language, **entry, **texts, **reasons})
            else:
                passed.append((str(one.text), entry))
        if passed:
            captions[language] = tuple(text for text, _ in passed)
            provenance[language] = [entry for _, entry in passed]
    if not provenance:
        return clip
    known_before = clip.extra.get(KEY)
    merged = {**known_before, **provenance} if isinstance(known_before, dict) else provenance
    return replace(clip, captions=captions, extra={**clip.extra, KEY: merged})


def _result(factory: Factory, language: str, candidates: Sequence[Candidate]) -> LanguageResult:
    gate = factory.limits.gate
    return LanguageResult(
        language=language,
        candidates=candidates,
        least_similarity=factory.limits.least_similarity(language) if factory.judge else None,
        least_agreement=factory.limits.least_agreement(language) if factory.back_translate else None,
        is_measured=gate is not None and language in gate.languages,
    )


def _report(
    factory: Factory, results: Sequence[LanguageResult], clips: Sequence[Clip], bad_rows: Sequence[BadRow]
) -> TranslationReport:
    return TranslationReport(
        translator=factory.translator.name,
        revision=factory.translator.revision,
        licence=factory.translator.licence,
        judge=factory.judge.name if factory.judge else None,
        num_clips=len(clips),
        num_without_source=sum(factory.source_language not in clip.captions for clip in clips),
        languages={
            result.language: {
                "clips_with_own": sum(result.language in clip.captions for clip in clips),
                "captions": len(result.candidates),
                "accepted": len(result.accepted),
                "rejected": len(result.rejected),
                "reasons": dict(result.reasons.most_common()),
                "least_similarity": result.least_similarity,
                "least_agreement": result.least_agreement,
                "median_similarity": median([one.similarity for one in result.candidates]),
                "median_agreement": median([one.agreement for one in result.candidates]),
            }
            for result in results
        },
        bad_rows=[f"{row.where}: {row.message}" for row in bad_rows],
    )


def _facts(config: TranslateConfig, report: TranslationReport, source_language: str) -> dict[str, str]:
    return {
        "manifest": f"{config.data.name}, {count_of(report.num_clips, 'clip')}",
        "translated from": source_language,
        "translator": f"{report.translator}, revision {report.revision}",
        "licence of its weights": report.licence,
        "judge": report.judge or "none",
        "gate": config.gate.name if config.gate else "limits as given",
    }


def _print(report: TranslationReport, results: Sequence[LanguageResult], out: Path, page: Path) -> None:
    rows = [
        [
            result.language,
            f"{len(result.candidates):,}",
            f"{len(result.accepted):,}",
            f"{len(result.rejected):,}",
            _shown(report.languages[result.language]["median_similarity"], 3),
            _shown(report.languages[result.language]["median_agreement"], 1),
        ]
        for result in results
    ]
    columns = ["language", "captions", "accepted", "rejected", "similarity", "agreement"]
    print_table("Translations (medians of their scores)", columns, rows)
    for result in results:
        if result.least_similarity is not None and not result.is_measured and report.judge:
            logger.info("%s: its threshold of similarity is not measured on human pairs", result.language)
    if report.num_without_source:
        clips = count_of(report.num_without_source, "clip")
        logger.warning("%s without a caption to translate from", clips)
    if report.licence == "unknown":
        logger.warning("the licence of %s is not known: give it with --licence", report.translator)
    print_skipped(report.bad_rows, what="line")
    print(printable(f"{out / 'manifest.jsonl'}; look at {page}"))


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
