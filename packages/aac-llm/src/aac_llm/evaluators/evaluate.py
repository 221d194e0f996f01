"""Captions against references: `aac-llm evaluate`.

Clips are matched by id. What only one side has is reported and not scored; how many clips were scored is part
of every result, as data sets lose clips (AudioCaps' test set has 912 to 975 of them in papers). How sure a
score or a difference is, `aac_llm.metrics.statistics` tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aac_llm.captioning.predictions import Prediction, PredictionError, read_predictions
from aac_llm.config.evaluate import EvaluateConfig, MetricSettings
from aac_llm.evaluators.score_table import Column, ScoreTable, Unavailable, score_texts
from aac_llm.metrics.statistics import bootstrap_interval, compare_systems

if TYPE_CHECKING:
    from aac_llm.data.manifest import Clip


@dataclass(frozen=True)
class ScoredClip:
    """A clip with what was said of it and what that scored."""

    id: str
    audio: str | None
    caption: str
    references: tuple[str, ...]
    scores: dict[str, float]
    """Of the metrics that score single clips."""
    other_caption: str | None = None
    """Of the system that is compared with."""


@dataclass(frozen=True)
class Difference:
    """How much better a system is than another one by one score."""

    other: float
    """The other system's score."""
    difference: float
    """Ours less the other's."""
    interval: tuple[float, float] | None = None
    """95 %, of a paired bootstrap over clips; None: the score cannot be drawn."""
    p_value: float | None = None
    """Two-sided, of approximate randomisation."""


@dataclass(frozen=True)
class Evaluation:
    """All results of a system."""

    num_clips: int
    corpus: dict[str, float]
    """Score -> value over all clips."""
    intervals: dict[str, tuple[float, float]]
    """95 % intervals, by the bootstrap over clips."""
    clips: tuple[ScoredClip, ...]
    """In the order of the references."""
    unavailable: dict[str, Unavailable]
    """Metrics that were asked for and could not run, with what to do."""
    comparison: dict[str, Difference]
    """With a second system: score -> how far it is behind."""
    missing: tuple[str, ...] = ()
    """Ids with references but without a caption; not scored."""
    extra: tuple[str, ...] = ()
    """Ids with a caption but without references; not scored."""
    bad_files: tuple[str, ...] = ()
    """Sounds that the model could not read, and why."""


def evaluate_predictions(
    predictions: Sequence[Prediction],
    references: Mapping[str, Sequence[str]] | None = None,
    *,
    metrics: Sequence[str] = ("available",),
    settings: MetricSettings | None = None,
    compare: Sequence[Prediction] | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    bad_files: Iterable[str] = (),
) -> Evaluation:
    """Score captions of clips.

    Args:
        predictions: a system's captions.
        references: id -> references, any number; default: those that the predictions hold.
        metrics: names of `aac_llm.config.evaluate.METRICS`, `all` or `available`.
        settings: where jars and models are.
        compare: a second system's captions.
        num_samples: draws of clips for intervals and comparison; 0: none.
        seed: of the draws.
        bad_files: told in the result.

    Raises:
        ValueError: captions of parts of sounds, or no clip with a caption and references.
    """
    wanted = (
        _references_of(predictions) if references is None else {k: tuple(v) for k, v in references.items()}
    )
    systems = [_by_id(each) for each in (predictions, compare) if each is not None]
    ids = [id for id, texts in wanted.items() if texts and all(id in system for system in systems)]
    if not ids:
        raise ValueError(_no_clips(predictions, wanted))
    texts = [wanted[id] for id in ids]
    tables = [score_texts([system[id].caption for id in ids], texts, metrics, settings) for system in systems]
    return Evaluation(
        num_clips=len(ids),
        corpus={name: column.corpus for name, column in tables[0].columns.items()},
        intervals=_intervals(tables[0], num_samples, seed),
        clips=tuple(_scored_clips(ids, texts, systems, tables[0])),
        unavailable=tables[0].unavailable,
        comparison=_compare(tables[0], tables[1], num_samples, seed) if len(tables) > 1 else {},
        missing=tuple(id for id, refs in wanted.items() if refs and id not in systems[0]),
        extra=tuple(id for id in systems[0] if not wanted.get(id)),
        bad_files=tuple(bad_files),
    )


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Caption or read, score, print, and write what was asked for.

    Raises:
        ValueError: a file that is wrong, or nothing to score.
    """
    from aac_llm.evaluators.page import write_page
    from aac_llm.evaluators.report import print_report, write_json_report

    predictions, references, bad_files = _load(config)
    evaluation = evaluate_predictions(
        predictions,
        references,
        metrics=config.metrics,
        settings=config,
        compare=read_predictions(config.compare) if config.compare is not None else None,
        num_samples=config.bootstrap,
        seed=config.seed,
        bad_files=bad_files,
    )
    print_report(evaluation)
    if config.json is not None:
        write_json_report(config.json, evaluation, config)
    if config.page is not None:
        write_page(config.page, evaluation, title=_title(config), sort_by=config.sort_by, embed=config.embed)
        print(f"page: {config.page}")
    return evaluation


def _load(
    config: EvaluateConfig,
) -> tuple[Sequence[Prediction], dict[str, tuple[str, ...]] | None, list[str]]:
    """Captions, references by id (None: the captions hold them), and what could not be read."""
    if config.model is not None:
        return _caption(config)
    try:
        predictions = read_predictions(config.source)
    except PredictionError as error:
        raise ValueError(f"{error} (is this a manifest? then --model says what captions it)") from error
    if config.references is None:
        return predictions, None, []
    clips = _read_manifest(config.references, config.split)
    audio = {clip.id: clip.audio for clip in clips}
    known = [_with_audio(each, audio.get(each.id)) for each in predictions]
    return known, {clip.id: clip.captions for clip in clips}, []


def _caption(config: EvaluateConfig) -> tuple[Sequence[Prediction], dict[str, tuple[str, ...]], list[str]]:
    from aac_llm.captioning.caption import caption_sources
    from aac_llm.config.caption import CaptionConfig

    clips = _read_manifest(config.source, config.split)
    assert config.model is not None
    if not any(clip.captions for clip in clips):
        raise ValueError(f"no clip of {config.source} has captions to score against")
    report = caption_sources(
        CaptionConfig(
            files=(config.source,),
            model=config.model,
            out=config.captions,
            split=config.split,
            num_beams=config.num_beams,
            device=config.device,
        )
    )
    references = {clip.id: clip.captions for clip in clips}
    mine = [each for each in report.predictions if each.id in references]
    return mine, references, [file.reason for file in report.bad_files]


def _read_manifest(path: Path, split: str | None) -> list[Clip]:
    from aac_llm.data.manifest import read_manifest

    clips = read_manifest(path, split=split)
    splits = sorted({clip.split or "(none)" for clip in clips})
    if split is None and len(splits) > 1:
        raise ValueError(f"{path} has the splits {', '.join(splits)}: choose one with --split")
    return clips


def _with_audio(prediction: Prediction, audio: Path | None) -> Prediction:
    if prediction.audio is not None or audio is None:
        return prediction
    return dataclasses.replace(prediction, audio=str(audio))


def _by_id(predictions: Sequence[Prediction]) -> dict[str, Prediction]:
    for each in predictions:
        if each.start is not None:
            raise ValueError(
                f"the caption of {each.id!r} is of a part of the sound, references are of all of it: "
                "caption without --segments"
            )
    return {each.id: each for each in predictions}


def _references_of(predictions: Sequence[Prediction]) -> dict[str, tuple[str, ...]]:
    return {each.id: each.references for each in predictions}


def _no_clips(predictions: Sequence[Prediction], wanted: Mapping[str, Sequence[str]]) -> str:
    if not any(wanted.values()):
        return "no clip has references: name a manifest that holds them with --references"
    ids = [predictions[0].id if predictions else "(none)", next(iter(wanted))]
    return f"no id of a caption has references; the first ids are {ids[0]!r} and {ids[1]!r}"


def _scored_clips(
    ids: Sequence[str],
    references: Sequence[tuple[str, ...]],
    systems: Sequence[Mapping[str, Prediction]],
    table: ScoreTable,
) -> Iterable[ScoredClip]:
    columns = {name: each.clips for name, each in table.columns.items() if each.clips is not None}
    for number, (id, texts) in enumerate(zip(ids, references, strict=True)):
        prediction = systems[0][id]
        yield ScoredClip(
            id,
            prediction.audio,
            prediction.caption,
            tuple(texts),
            {name: float(values[number]) for name, values in columns.items()},
            systems[1][id].caption if len(systems) > 1 else None,
        )


def _intervals(table: ScoreTable, draws: int, seed: int) -> dict[str, tuple[float, float]]:
    found = {}
    for name, column in table.columns.items():
        if column.table is not None and draws:
            drawn = bootstrap_interval(column.table, statistic=column.statistic, draws=draws, seed=seed)
            found[name] = drawn.low, drawn.high
    return found


def _compare(ours: ScoreTable, theirs: ScoreTable, draws: int, seed: int) -> dict[str, Difference]:
    return {
        name: _difference(column, theirs.columns[name], draws, seed)
        for name, column in ours.columns.items()
        if name in theirs.columns
    }


def _difference(ours: Column, theirs: Column, draws: int, seed: int) -> Difference:
    change = ours.corpus - theirs.corpus
    if ours.table is None or theirs.table is None or not draws:
        return Difference(theirs.corpus, change)
    found = compare_systems(ours.table, theirs.table, statistic=ours.statistic, draws=draws, seed=seed)
    return Difference(theirs.corpus, change, (found.low, found.high), found.p_value)


def _title(config: EvaluateConfig) -> str:
    return f"{config.model} on {config.source.name}" if config.model else config.source.name
