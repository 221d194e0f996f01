"""Captions against references: `aac-llm evaluate`.

Clips are matched by id. What only one side has is reported and not scored; how many clips were scored is part
of every result, as data sets lose clips (AudioCaps' test set has 912 to 975 of them in papers). For how sure
a score or a difference is, see `metrics/statistics.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from aac_llm.config.evaluate import EvaluateConfig, MetricsConfig
from aac_llm.data.predictions import Prediction, unfinished_note
from aac_llm.data.timestamps import TimedEvent
from aac_llm.evaluators.captions import load_captions
from aac_llm.evaluators.page import write_page
from aac_llm.evaluators.report import Difference, Evaluation, ScoredClip, print_report, write_json_report
from aac_llm.evaluators.score_table import Column, ScoreTable, notes_on_scores, score_systems
from aac_llm.evaluators.times import Times
from aac_llm.lock import hold_outputs
from aac_llm.metrics.statistics import bootstrap_interval, compare_systems
from aac_llm.models.run_folder import resolve_model
from aac_llm.output import printable


def evaluate_predictions(
    predictions: Sequence[Prediction],
    references: Mapping[str, Sequence[str]] | None = None,
    *,
    metrics: Sequence[str] = ("available",),
    settings: MetricsConfig | None = None,
    compare: Sequence[Prediction] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    bad_files: Iterable[str] = (),
    bad_rows: Iterable[str] = (),
    complaints: Iterable[str] = (),
    num_clips: int | None = None,
    timestamps: Mapping[str, Sequence[TimedEvent]] | None = None,
) -> Evaluation:
    """Score captions of clips.

    Args:
        predictions: a system's captions.
        references: id -> references, any number; default: those that the predictions hold.
        metrics: names of `aac_llm.config.evaluate.METRICS`, `all` or `available`.
        settings: where jars and models are.
        compare: a second system's captions.
        bootstrap: draws of clips for intervals and comparison; 0: none.
        seed: for the draws.
        bad_files: sounds that a model could not read, and why, for the result.
        bad_rows: rows of files that could not be read, and why, for the result.
        complaints: what is odd about sounds that were captioned nevertheless, for the result.
        num_clips: all clips that there are, if a limit left some out.
        timestamps: id -> the references' events with their times, where they are known.

    Raises:
        ValueError: captions of parts of sounds, or no clip with a caption and references.
    """
    wanted = (
        _references_of(predictions) if references is None else {k: tuple(v) for k, v in references.items()}
    )
    systems = [_by_id(captions) for captions in (predictions, compare) if captions is not None]
    # Only clips that all systems captioned, or the comparison would be of different sets.
    ids = [id for id, texts in wanted.items() if texts and all(id in system for system in systems)]
    if not ids:
        raise ValueError(_no_clips(predictions, wanted, tuple(bad_rows)))
    texts = [wanted[id] for id in ids]
    captions = [[system[id].caption for id in ids] for system in systems]
    known = timestamps or {}
    times = [Times.of_clips([system[id] for id in ids], known) for system in systems]
    tables = score_systems(captions, texts, metrics, settings, times)
    notes = [
        *_notes_on_clips(wanted, systems, num_clips),
        *_notes_on_captions([systems[0][id] for id in ids]),
        *_notes_on_times(tables[0], times[0]),
        *notes_on_scores(
            tables[0],
            [one.caption for one in systems[0].values()],
            texts,
            tokenised=settings is not None and settings.tokenised,
        ),
    ]
    return Evaluation(
        num_clips=len(ids),
        corpus={name: column.corpus for name, column in tables[0].columns.items()},
        intervals=_intervals(tables[0], bootstrap, seed),
        clips=tuple(_scored_clips(ids, texts, systems, tables[0], known)),
        unavailable=tables[0].unavailable,
        comparison=_compare(tables[0], tables[1], bootstrap, seed) if len(tables) > 1 else {},
        missing=tuple(id for id, refs in wanted.items() if refs and id not in systems[0]),
        extra=tuple(id for id in systems[0] if not wanted.get(id)),
        bad_files=tuple(bad_files),
        bad_rows=tuple(bad_rows),
        complaints=tuple(complaints),
        notes=tuple(notes),
        made_by={name: column.made_by for name, column in tables[0].columns.items() if column.made_by},
        bad_answers=tuple(answer for table in tables for answer in table.bad_answers),
    )


def _notes_on_clips(
    wanted: Mapping[str, Sequence[str]], systems: Sequence[Mapping[str, Prediction]], num_clips: int | None
) -> list[str]:
    """Return which clips are not scored although there might be captions of them, a line each."""
    lines = []
    if num_clips is not None and num_clips > len(wanted):
        lines.append(f"only the first {len(wanted):,} of {num_clips:,} clips (--limit)")
    for system in systems[1:]:
        lacking = sum(bool(texts) and id in systems[0] and id not in system for id, texts in wanted.items())
        if lacking:
            lines.append(
                f"{lacking:,} clips are not scored: the other system has no caption of them (--compare)"
            )
    return lines


def _notes_on_captions(predictions: Sequence[Prediction]) -> list[str]:
    unfinished = sum(prediction.unfinished for prediction in predictions)
    in_windows = sum(bool(prediction.parts) for prediction in predictions)
    lines = [unfinished_note(unfinished, len(predictions))] if unfinished else []
    if in_windows:
        lines.append(
            f"{in_windows:,} clips are longer than the model was trained on: it heard them in windows, and "
            "their captions are those of the windows joined (--max_seconds)"
        )
    return lines


def _notes_on_times(table: ScoreTable, times: Times) -> list[str]:
    if "timed_event_f1" not in table.columns or times.num_known == table.num_clips:
        return []
    return [f"timestamps are of {times.num_known:,} of {table.num_clips:,} clips, whose events are known"]


def _by_id(predictions: Sequence[Prediction]) -> dict[str, Prediction]:
    for prediction in predictions:
        if prediction.start is not None:
            raise ValueError(
                f"the caption of {prediction.id!r} is of a part of the sound, references are of all of it: "
                "caption without --segments"
            )
    return {prediction.id: prediction for prediction in predictions}


def _references_of(predictions: Sequence[Prediction]) -> dict[str, tuple[str, ...]]:
    return {prediction.id: prediction.references for prediction in predictions}


def _no_clips(
    predictions: Sequence[Prediction], wanted: Mapping[str, Sequence[str]], bad_rows: Sequence[str]
) -> str:
    lost = f"; {len(bad_rows):,} rows could not be read, the first: {bad_rows[0]}" if bad_rows else ""
    if not any(wanted.values()):
        return f"no clip has references: name a manifest that holds them with --references{lost}"
    ids = [predictions[0].id if predictions else "(none)", next(iter(wanted))]
    return f"no id of a caption has references; the first ids are {ids[0]!r} and {ids[1]!r}{lost}"


def _scored_clips(
    ids: Sequence[str],
    references: Sequence[tuple[str, ...]],
    systems: Sequence[Mapping[str, Prediction]],
    table: ScoreTable,
    timestamps: Mapping[str, Sequence[TimedEvent]],
) -> Iterable[ScoredClip]:
    columns = {name: column.clips for name, column in table.columns.items() if column.clips is not None}
    for number, (id, texts) in enumerate(zip(ids, references, strict=True)):
        prediction = systems[0][id]
        yield ScoredClip(
            id,
            prediction.audio,
            prediction.caption,
            tuple(texts),
            {name: float(values[number]) for name, values in columns.items() if not np.isnan(values[number])},
            systems[1][id].caption if len(systems) > 1 else None,
            original=prediction.original,
            decision=_decision(prediction),
            confidence=prediction.confidence,
            timestamps=prediction.timestamps,
            reference_timestamps=tuple(timestamps.get(id, ())),
        )


def _decision(prediction: Prediction) -> str | None:
    reason = (prediction.correction or {}).get("reason")
    return None if reason is None else str(reason)


def _intervals(table: ScoreTable, draws: int, seed: int) -> dict[str, tuple[float, float]]:
    found = {}
    for name, column in table.columns.items():
        # Vocabulary and the like are of the whole set; redrawing clips says nothing about them.
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
    # The same draws for both: clips are hard or easy for both systems.
    found = compare_systems(ours.table, theirs.table, statistic=ours.statistic, draws=draws, seed=seed)
    return Difference(theirs.corpus, change, (found.low, found.high), found.p_value)


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Caption or read, score, print, and write what was asked for.

    Raises:
        ValueError: a file that is wrong, or nothing to score.
        BusyError: another process is writing one of the results.
    """
    with hold_outputs(config.json, config.page, config.captions, config.judge.answers):
        return _evaluate(config)


def _evaluate(config: EvaluateConfig) -> Evaluation:
    captions = load_captions(config)
    evaluation = evaluate_predictions(
        captions.predictions,
        captions.references.texts,
        metrics=config.metrics,
        settings=config,
        compare=captions.compare,
        bootstrap=config.bootstrap,
        seed=config.seed,
        bad_files=captions.bad_files,
        bad_rows=captions.bad_rows,
        complaints=captions.complaints,
        num_clips=captions.references.num_clips,
        timestamps=captions.references.timestamps,
    )
    # `--json -`: the standard output is for the JSON alone.
    screen = sys.stderr if str(config.json) == "-" else sys.stdout
    print_report(evaluation, screen)
    if config.json is not None:
        write_json_report(config.json, evaluation, config)
    if config.page is not None:
        write_page(
            config.page, evaluation, title=page_title(config), sort_by=config.sort_by, embed=config.embed
        )
        print(f"page: {printable(config.page)}", file=screen)
    if config.card:
        print(f"card: {printable(add_to_card(config, evaluation))}", file=screen)
    return evaluation


def add_to_card(config: EvaluateConfig, evaluation: Evaluation) -> Path:
    """Add the scores to the card of `config.model`, and return the card's path."""
    from aac_llm.models.card import add_scores
    from aac_llm.models.card_parts import Score

    folder = Path(resolve_model(str(config.model)))
    scores = []
    for name, value in evaluation.corpus.items():
        low, high = evaluation.intervals.get(name, (None, None))
        scores.append(
            Score(
                metric=name,
                value=value,
                low=low,
                high=high,
                data=config.data.name,
                split=config.split,
                count=evaluation.num_clips,
            )
        )
    return add_scores(folder, scores)


def evaluate_verb(config: EvaluateConfig) -> int:
    """Evaluate, and return 1 if sounds, rows or a judge's answers could not be read."""
    evaluation = evaluate(config)
    return 1 if evaluation.bad_files or evaluation.bad_rows or evaluation.bad_answers else 0


def page_title(config: EvaluateConfig) -> str:
    """Return what the page shows: whose captions, of what, beside which others."""
    split = f" ({config.split})" if config.split else ""
    by = f"by {config.model} of {config.data.name}" if config.model else f"in {config.data.name}"
    others = f", compared with {config.compare.name}" if config.compare else ""
    return f"Captions {by}{split}{others}"
