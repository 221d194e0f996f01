"""Every metric of captions against references, those that cannot run named with what to do.

A metric is a column: its corpus value, its value for each clip where it has one, and what it takes to score a
sample of the clips, as the bootstrap does. Corpus BLEU and METEOR are not means over clips; their samples are
scored as corpora too. Texts go through coco-caption's tokeniser before every metric, as in the tools that the
published numbers come from; events are found in the captions as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aac_llm.config.evaluate import METRICS, MetricsConfig
from aac_llm.data.languages import ENGLISH, language_code
from aac_llm.evaluators.columns import Column, Floats
from aac_llm.evaluators.times import Times, timestamp_columns
from aac_llm.metrics import combined
from aac_llm.metrics.bleu import bleu_from_sums
from aac_llm.metrics.java import JavaError
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.score import BLEU_NAMES, Scores, score_captions
from aac_llm.metrics.scripts import is_latin, unspaced_languages
from aac_llm.metrics.tokenizer import tokenize

if TYPE_CHECKING:
    from aac_llm.metrics.meteor import Meteor

ENGLISH_ONLY = frozenset(
    {"meteor", "spice", "spider", "fer", "spider_fl", "sbert", "fense", "events", "timestamps"}
)
"""Metrics whose words, parser or models are English; of other languages their numbers would mean nothing."""


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
    """By name, as `cider_d`."""
    unavailable: dict[str, Unavailable] = field(default_factory=dict)
    """Metrics that were asked for and could not run, by their name in `METRICS`."""
    cut: dict[str, int] = field(default_factory=dict)
    """Metric -> texts of which its model takes only the beginning."""


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
    if not candidates or len(candidates) != len(references):
        raise ValueError(f"expected clips with references, got {len(candidates)} and {len(references)}")
    if not all(references):
        raise ValueError("every clip needs a reference: leave the others out before scoring")
    scorer = _Scorer(candidates, references, settings or MetricsConfig(), set(metrics) == {"available"})
    scorer.times = times or Times()
    table = ScoreTable(len(candidates))
    # In this order, whatever order they were asked in.
    for name in METRICS:
        # Of captions without times nobody expects them, unless they are asked for by name.
        if name == "timestamps" and name not in metrics and not scorer.times.are_there:
            continue
        if name in metrics or {"all", "available"} & set(metrics):
            try:
                scorer.check_language(name)
                table.columns.update(_COLUMNS[name](scorer))
            except MissingMetricError as error:
                table.unavailable[name] = Unavailable(error.reason, error.remedy)
            # One metric that fails must not cost the others, which may have taken an hour.
            except JavaError as error:
                table.unavailable[name] = Unavailable(str(error), "")
    table.cut.update(scorer.cut)
    return table


def notes_on_scores(
    table: ScoreTable, candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> list[str]:
    """Return what one should know about scores before comparing them, a line each."""
    lines = []
    texts = [*candidates, *(text for group in references for text in group)]
    if languages := unspaced_languages(texts):
        lines.append(
            f"some captions are in a script without spaces ({', '.join(languages)}): each of its characters "
            "counts as a word, so compare only with scores that were made by characters"
        )
    lines += [
        f"{count:,} texts are longer than {name}'s model takes, which reads only their beginning"
        for name, count in table.cut.items()
    ]
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


def mean_column(clips: Any) -> Column:
    """Make the column of a score whose corpus value is the mean over the clips."""
    # The clips' values are the table, too: a bootstrap of means needs nothing else.
    values = np.asarray(clips, dtype=np.float64)
    return Column(float(values.mean()), values, values)


class _Scorer:
    """The parts that metrics are made of; each is computed once, and fails once."""

    def __init__(
        self,
        candidates: Sequence[str],
        references: Sequence[Sequence[str]],
        settings: MetricsConfig,
        local_only: bool,
    ) -> None:
        self.raw = candidates, references
        self.times = Times()
        # As in the tools of the published numbers, metrics get the tokenized texts; events get the raw ones.
        self.candidates = [" ".join(tokenize(text)) for text in candidates]
        self.references = [[" ".join(tokenize(text)) for text in texts] for texts in references]
        self.settings = settings
        self.local_only = local_only
        self.cut: dict[str, int] = {}
        self._parts: dict[str, Any] = {}

    def part(self, name: str, compute: Callable[[], Any]) -> Any:
        if name not in self._parts:
            try:
                self._parts[name] = compute()
            # Kept: SPIDEr and SPIDEr-FL would each start Java again to fail in the same way.
            except (MissingMetricError, JavaError) as error:
                self._parts[name] = error
        if isinstance(self._parts[name], Exception):
            raise self._parts[name]
        return self._parts[name]

    def check_language(self, metric: str) -> None:
        """Refuse a metric that knows English only for captions in another language."""
        if metric not in ENGLISH_ONLY:
            return
        # Whoever names a model of one's own knows its languages.
        fields = {"sbert": ["sentence_model"], "fer": ["fluency_model"]}.get(metric, [])
        fields = ["sentence_model", "fluency_model"] if metric == "fense" else fields
        if fields and all(getattr(self.settings, name) != getattr(MetricsConfig, name) for name in fields):
            return
        language = language_code(self.settings.language)
        if language != ENGLISH:
            raise MissingMetricError(f"it knows English only, and --language is {language}", "")
        if not self.part("is_latin", lambda: is_latin(self.raw[0])):
            raise MissingMetricError("it knows English only, and the captions are not in Latin letters", "")

    def pure(self, metric: str) -> Mapping[str, Column]:
        def compute() -> dict[str, Column]:
            scores = score_captions(*self.raw, metrics=(metric,))
            columns = {name: _pure_column(name, scores) for name in scores.corpus}
            return columns | (_bleu_columns(scores) if scores.bleu_counts else {})

        return self.part(metric, compute)

    def meteor(self) -> Meteor:
        # Here and below inside the methods: torch and Java are looked for only if they are needed.
        from aac_llm.metrics.meteor import meteor

        return self.part("meteor", lambda: meteor(self.candidates, self.references, **self.java_options))

    def spice(self) -> Floats:
        from aac_llm.metrics.spice import spice

        return self.part("spice", lambda: spice(self.candidates, self.references, **self.java_options))

    def similarity(self) -> Floats:
        def compute() -> Floats:
            from aac_llm.metrics.sentence import SentenceEncoder

            encoder = SentenceEncoder.from_pretrained(
                self.settings.sentence_model, device=self.device, local_only=self.local_only
            )
            found = encoder.similarity(self.candidates, self.references)
            self.cut |= {"SBERT": encoder.num_cut} if encoder.num_cut else {}
            return found

        return self.part("similarity", compute)

    def error_probability(self) -> Floats:
        def compute() -> Floats:
            from aac_llm.metrics.fluency import FluencyDetector

            detector = FluencyDetector.from_pretrained(
                self.settings.fluency_model,
                backbone=self.settings.fluency_backbone,
                device=self.device,
                local_only=self.local_only,
            )
            found = detector.error_probability(self.candidates)
            self.cut |= {"the fluency detector": detector.num_cut} if detector.num_cut else {}
            return found

        return self.part("error_probability", compute)

    def cider_d(self) -> Floats:
        clips = self.pure("cider")["cider_d"].clips
        assert clips is not None
        return clips

    @property
    def java_options(self) -> dict[str, Any]:
        settings = self.settings
        return {"jars": settings.jars, "java": settings.java, "timeout": settings.java_timeout}

    @property
    def device(self) -> str:
        if self.settings.device != "auto":
            return self.settings.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"


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


def _meteor(scorer: _Scorer) -> dict[str, Column]:
    from aac_llm.metrics.meteor import score_counts

    # Redrawn clips give summed counts, and METEOR of these is no mean of the clips'.
    found = scorer.meteor()
    return {
        "meteor": Column(found.corpus, found.clips, found.table, lambda sums: score_counts(sums[..., :-1]))
    }


def _events(scorer: _Scorer) -> dict[str, Column]:
    from aac_llm.metrics.events import event_scores

    found = event_scores(*scorer.raw)
    return {f"event_{name}": mean_column(clips) for name, clips in found.clips.items()}


def _means(**parts: Callable[[_Scorer], Any]) -> Callable[[_Scorer], dict[str, Column]]:
    return lambda scorer: {name: mean_column(compute(scorer)) for name, compute in parts.items()}


_COLUMNS: dict[str, Callable[[_Scorer], Mapping[str, Column]]] = {
    "bleu": lambda scorer: scorer.pure("bleu"),
    "rouge": lambda scorer: scorer.pure("rouge"),
    "cider": lambda scorer: scorer.pure("cider"),
    "meteor": _meteor,
    "spice": _means(spice=_Scorer.spice),
    "spider": _means(spider=lambda scorer: combined.spider(scorer.cider_d(), scorer.spice())),
    "fer": _means(fer=lambda scorer: combined.fluency_errors(scorer.error_probability())),
    "spider_fl": _means(
        spider_fl=lambda scorer: combined.spider_fl(
            scorer.cider_d(), scorer.spice(), scorer.error_probability()
        )
    ),
    "sbert": _means(sbert_sim=_Scorer.similarity),
    "fense": _means(fense=lambda scorer: combined.fense(scorer.similarity(), scorer.error_probability())),
    "events": _events,
    "diversity": lambda scorer: scorer.pure("diversity"),
    "timestamps": lambda scorer: timestamp_columns(scorer.times),
}
