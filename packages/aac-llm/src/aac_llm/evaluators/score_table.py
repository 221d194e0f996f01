"""Every metric of captions against references, those that cannot run named with what to do.

A metric is a column: its corpus value, its value for each clip where it has one, and what it takes to score a
sample of the clips, as the bootstrap does. Corpus BLEU and METEOR are not means over clips; their samples are
scored as corpora too. Texts go through coco-caption's tokeniser before every metric, as in the tools that the
published numbers come from; events are found in the captions as they are. A score is named for what it is:
where another model than the published one makes it, it has a name of its own, and the model stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from aac_llm.config.evaluate import METRICS, MetricsConfig
from aac_llm.evaluators.columns import Column, Floats
from aac_llm.evaluators.scorer import Parts, Scorer
from aac_llm.evaluators.times import Times, timestamp_columns
from aac_llm.metrics import combined
from aac_llm.metrics.bleu import bleu_from_sums
from aac_llm.metrics.java import JavaError
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.score import BLEU_NAMES, Scores
from aac_llm.metrics.scripts import unspaced_languages
from aac_llm.metrics.statistics import Statistic

SPICE_JARS = "spice-1.0.jar, Stanford CoreNLP 3.6.0"
RULES = "rules and words of WordNet 3.0"
LIKE = (
    "spice_like",
    "spider_like",
    "fer_like",
    "spider_fl_like",
    "sentence_sim",
    "fense_like",
    "clair_a_like",
)
"""Scores that are made as published ones are, by other models or by rules."""


@dataclass(frozen=True)
class Unavailable:
    """Why a metric could not run."""

    reason: str
    remedy: str
    """How to make it run."""

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


@dataclass(frozen=True)
class ScoreTable:
    """Scores of a system."""

    num_clips: int
    columns: dict[str, Column] = field(default_factory=dict)
    """By name, as `cider_d`; a clip without a score is NaN."""
    unavailable: dict[str, Unavailable] = field(default_factory=dict)
    """Metrics that were asked for and could not run, by their name in `METRICS`."""
    cut: dict[str, int] = field(default_factory=dict)
    """Metric -> texts of which its model takes only the beginning."""
    bad_answers: list[str] = field(default_factory=list)
    """Why a language model's judgement is missing, for each caption without one."""


def score_texts(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    metrics: Sequence[str] = ("available",),
    settings: MetricsConfig | None = None,
    times: Times | None = None,
) -> ScoreTable:
    """Score captions by several metrics.

    Args:
        candidates: one caption for each clip.
        references: any number of references, at least one, for each clip.
        metrics: names of `METRICS`; `all`; or `available`, for which nothing is downloaded.
        settings: where jars and models are.
        times: events with their times of the same clips, for the metric `timestamps`.

    Raises:
        ValueError: no clips, or a clip without references.
    """
    return score_systems([candidates], references, metrics, settings, [times] if times else ())[0]


def score_systems(
    systems: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    metrics: Sequence[str] = ("available",),
    settings: MetricsConfig | None = None,
    times: Sequence[Times] = (),
) -> list[ScoreTable]:
    """Score the captions of several systems for the same clips; programs and models are started once for all.

    Args:
        systems: of each system one caption for each clip.
        references: as for `score_texts`, as are the other arguments and the errors.
        metrics: names of metrics.
        settings: where jars and models are.
        times: of each system its events with their times, for the metric `timestamps`; none: of none.
    """
    if not references or any(len(candidates) != len(references) for candidates in systems):
        counts = ", ".join(str(len(candidates)) for candidates in systems)
        raise ValueError(f"expected clips with references, got {counts} and {len(references)}")
    if not all(references):
        raise ValueError("every clip needs a reference: leave the others out before scoring")
    parts = Parts(systems, references, settings or MetricsConfig(), set(metrics) == {"available"})
    scorers = [Scorer(parts, number) for number in range(len(systems))]
    return [
        _score_system(scorer, metrics, own)
        for scorer, own in zip(scorers, times or [Times()] * len(systems), strict=True)
    ]


def _score_system(scorer: Scorer, metrics: Sequence[str], times: Times) -> ScoreTable:
    table = ScoreTable(len(scorer.candidates))
    columns = _COLUMNS | {"timestamps": lambda _: timestamp_columns(times)}
    # In this order, whatever order they were asked in.
    for name in METRICS:
        # Of captions without times nobody expects them, unless they are asked for by name.
        if name == "timestamps" and name not in metrics and not times.are_there:
            continue
        if name in metrics or {"all", "available"} & set(metrics):
            try:
                scorer.check_language(name)
                table.columns.update(columns[name](scorer))
            except MissingMetricError as error:
                table.unavailable[name] = Unavailable(error.reason, error.remedy)
                if name == "clair_a" and scorer.parts.settings.judge.llm is not None:
                    table.bad_answers.append(error.reason)  # asked, and not one answer could be used
            # One metric that fails must not cost the others, which may have taken an hour.
            except JavaError as error:
                table.unavailable[name] = Unavailable(str(error), "")
    table.cut.update(scorer.parts.cut)
    if "clair_a_like" in table.columns:
        table.bad_answers.extend(scorer.judgements().failures)
    return table


def notes_on_scores(
    table: ScoreTable,
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenised: bool = False,
) -> list[str]:
    """Return what one should know about scores before comparing them, a line each."""
    lines = []
    texts = [*candidates, *(text for group in references for text in group)]
    if tokenised:
        lines.append(
            "the captions count as tokenised (--tokenised): their words are what stands between spaces"
        )
    elif languages := unspaced_languages(texts):
        lines.append(
            f"some captions are in a script without spaces ({', '.join(languages)}): each of its characters "
            "counts as a word, so compare only with scores that were made by characters"
        )
    lines += [
        f"{count:,} texts are longer than {name}'s model takes, which reads only their beginning"
        for name, count in table.cut.items()
    ]
    if table.bad_answers and "clair_a_like" in table.columns:
        lines.append(
            f"{len(table.bad_answers):,} of {table.num_clips:,} captions were not judged (the first time: "
            f"{table.bad_answers[0]}); CLAIR-A-like is of the others"
        )
    if named := [name for name in LIKE if name in table.columns]:
        lines.append(
            "made by other models than the published ones or by rules, and not to be compared with published "
            f"numbers: {', '.join(named)}"
        )
    values = {name: column.corpus for name, column in table.columns.items()}
    if values.get("rouge_l", values.get("bleu_1")) == 0:
        lines.append(
            "no caption shares a word with its references: are they of the same clips and in one language?"
        )
    elif values.get("cider_d") == 0:
        # Its weights are log(clips / clips with the phrase).
        lines.append(
            f"CIDEr-D is 0 where every phrase is in the references of all {table.num_clips} clips: score more"
        )
    return lines


def mean_column(clips: Any, made_by: str = "") -> Column:
    """Make the column of a score whose corpus value is the mean over the clips that have one."""
    # The clips' values are the table, too: a bootstrap of means needs nothing else.
    values = np.asarray(clips, dtype=np.float64)
    known = ~np.isnan(values)
    if known.all():
        return Column(float(values.mean()), values, values, made_by=made_by)
    table = np.stack([np.where(known, values, 0.0), known], axis=1)
    return Column(float(values[known].mean()), values, table, _mean_of_known, made_by)


def _mean_of_known(sums: Floats) -> Floats:
    # A draw of a few clips may have none with a score.
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def _pure(scorer: Scorer, metric: str) -> dict[str, Column]:
    scores = scorer.pure(metric)
    columns = {name: _pure_column(name, scores) for name in scores.corpus}
    return columns | (_bleu_columns(scores) if scores.bleu_counts else {})


def _pure_column(name: str, scores: Scores) -> Column:
    clips = scores.clips.get(name)
    return Column(scores.corpus[name]) if clips is None else mean_column(clips)


def _bleu_columns(scores: Scores) -> dict[str, Column]:
    assert scores.bleu_counts is not None
    table = scores.bleu_counts.table()
    return {
        name: Column(scores.corpus[name], scores.clips[name], table, partial(_bleu_of_sums, order))
        for order, name in enumerate(BLEU_NAMES)
    }


def _bleu_of_sums(order: int, sums: Floats) -> Floats:
    # The last column is the number of clips, which a corpus's BLEU does not need.
    return bleu_from_sums(sums[..., :-1])[..., order]


def _meteor(scorer: Scorer) -> dict[str, Column]:
    from aac_llm.metrics.meteor import score_counts

    # Redrawn clips give summed counts, and METEOR of these is no mean of the clips'.
    found = scorer.meteor()
    score = partial(_of_counts, score_counts)
    return {"meteor": Column(found.corpus, found.clips, found.table, score, made_by="meteor-1.5.jar")}


def _of_counts(score_counts: Statistic, sums: Floats) -> Floats:
    return score_counts(sums[..., :-1])


def _spice(scorer: Scorer) -> dict[str, Column]:
    return {"spice": mean_column(scorer.spice(), SPICE_JARS)}


def _spider(scorer: Scorer) -> dict[str, Column]:
    return {"spider": mean_column(combined.spider(scorer.cider_d(), scorer.spice()), SPICE_JARS)}


def _spice_like(scorer: Scorer) -> dict[str, Column]:
    return {"spice_like": mean_column(scorer.spice_like(), RULES)}


def _spider_like(scorer: Scorer) -> dict[str, Column]:
    return {"spider_like": mean_column(combined.spider(scorer.cider_d(), scorer.spice_like()), RULES)}


def _fer(scorer: Scorer) -> dict[str, Column]:
    detector = scorer.detector()
    errors = combined.fluency_errors(scorer.error_probability(), threshold=detector.threshold)
    return {detector.name("fer"): mean_column(errors, detector.label)}


def _spider_fl(scorer: Scorer) -> dict[str, Column]:
    cider_d, spice, detector = scorer.cider_d(), scorer.spice(), scorer.detector()
    found = combined.spider_fl(cider_d, spice, scorer.error_probability(), threshold=detector.threshold)
    return {detector.name("spider_fl"): mean_column(found, f"{SPICE_JARS}; {detector.label}")}


def _sbert(scorer: Scorer) -> dict[str, Column]:
    encoder = scorer.encoder()
    name = "sbert_sim" if encoder.is_published else "sentence_sim"
    return {name: mean_column(scorer.similarity(), encoder.label)}


def _fense(scorer: Scorer) -> dict[str, Column]:
    encoder, detector = scorer.encoder(), scorer.detector()
    found = combined.fense(scorer.similarity(), scorer.error_probability(), threshold=detector.threshold)
    name = detector.name("fense") if encoder.is_published else "fense_like"
    return {name: mean_column(found, f"{encoder.label}; {detector.label}")}


def _clair_a(scorer: Scorer) -> dict[str, Column]:
    from aac_llm.evaluators.judge import describe_judge

    found = scorer.judgements()
    return {"clair_a_like": mean_column(found.scores, describe_judge(scorer.parts.settings.judge))}


def _events(scorer: Scorer) -> dict[str, Column]:
    from aac_llm.metrics.events import event_scores

    found = event_scores(*scorer.raw)
    return {f"event_{name}": mean_column(clips) for name, clips in found.clips.items()}


_COLUMNS: dict[str, Callable[[Scorer], Mapping[str, Column]]] = {
    "bleu": lambda scorer: _pure(scorer, "bleu"),
    "rouge": lambda scorer: _pure(scorer, "rouge"),
    "cider": lambda scorer: _pure(scorer, "cider"),
    "meteor": _meteor,
    "spice": _spice,
    "spice_like": _spice_like,
    "spider": _spider,
    "spider_like": _spider_like,
    "fer": _fer,
    "spider_fl": _spider_fl,
    "sbert": _sbert,
    "fense": _fense,
    "clair_a": _clair_a,
    "events": _events,
    "diversity": lambda scorer: _pure(scorer, "diversity"),
}
