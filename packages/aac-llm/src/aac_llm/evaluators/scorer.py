"""The parts that metrics are made of, for all systems of a command together.

Each part is computed once, and fails once. A program is started and a model is loaded once for all systems:
METEOR and SPICE read the captions of one system after the other in one run of Java.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from aac_llm.config.evaluate import MetricsConfig
from aac_llm.data.languages import ENGLISH, language_code
from aac_llm.metrics.fluency_folder import default_detector, is_detector
from aac_llm.metrics.identity import describe_model
from aac_llm.metrics.java import JavaError
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.score import Scores, score_captions
from aac_llm.metrics.scripts import is_latin
from aac_llm.metrics.tokenizer import tokenize
from aac_llm.models.licence import licence_of_weights, say_licence_of_weights

if TYPE_CHECKING:
    from aac_llm.evaluators.judge import Judgements
    from aac_llm.metrics.fluency import FluencyDetector
    from aac_llm.metrics.meteor import Meteor
    from aac_llm.metrics.sentence import SentenceEncoder

Floats = NDArray[np.float64]
T = TypeVar("T")
ENGLISH_ONLY = frozenset(
    {
        "meteor",
        "spice",
        "spice_like",
        "spider",
        "spider_like",
        "fer",
        "spider_fl",
        "sbert",
        "fense",
        "events",
        "timestamps",
    }
)
"""Metrics whose words, parser or models are English; of other languages their numbers would mean nothing."""


@dataclass(frozen=True)
class DetectorUsed:
    """What made the probabilities of an error."""

    label: str
    """Its name and a digest of its weights."""
    is_published: bool
    threshold: float
    """A caption is held to have an error above this probability."""

    def name(self, score: str) -> str:
        """Return a published score's name, or that of its likeness."""
        return score if self.is_published else f"{score}_like"


def describe_detector(source: str, threshold: float) -> DetectorUsed:
    """Name a fluency detector that has been loaded from `source`, by a digest of its weights."""
    from aac_llm.metrics.fluency_published import PUBLISHED, find_checkpoint

    folder = Path(source).expanduser()
    label = describe_model(
        source, folder if is_detector(folder) else find_checkpoint(source, local_only=True)
    )
    digest = label.split()[-1]
    return DetectorUsed(label, any(known.startswith(digest) for known in PUBLISHED.values()), threshold)


class Parts:
    """What is computed of all systems at once.

    Args:
        systems: of each system one caption for each clip.
        references: of each clip at least one.
        settings: where jars and models are.
        local_only: download nothing.
    """

    def __init__(
        self,
        systems: Sequence[Sequence[str]],
        references: Sequence[Sequence[str]],
        settings: MetricsConfig,
        local_only: bool,
    ) -> None:
        self.raw_systems, self.raw_references = systems, references
        # As in the tools of the published numbers, metrics get the tokenized texts; events get the raw ones.
        words: Callable[[str], list[str]] = str.split if settings.tokenised else tokenize
        self.systems = [[" ".join(words(text)) for text in candidates] for candidates in systems]
        self.references = [[" ".join(words(text)) for text in texts] for texts in references]
        self.settings = settings
        self.local_only = local_only
        self.cut: dict[str, int] = {}
        self._parts: dict[str, Any] = {}

    def part(self, name: str, compute: Callable[[], T]) -> T:
        """Return a part, computed when it is asked for the first time; its error is raised each time."""
        if name not in self._parts:
            try:
                self._parts[name] = compute()
            # Kept: SPIDEr and SPIDEr-FL would each start Java again to fail in the same way.
            except (MissingMetricError, JavaError) as error:
                self._parts[name] = error
        if isinstance(self._parts[name], Exception):
            raise self._parts[name]
        return self._parts[name]

    @property
    def all_candidates(self) -> list[str]:
        """Captions of all systems, one system after the other, tokenized."""
        return [text for candidates in self.systems for text in candidates]

    @property
    def all_references(self) -> list[list[str]]:
        """References for `all_candidates`."""
        return self.references * len(self.systems)

    # Here and below inside the methods: torch and Java are looked for only if they are needed.
    def meteor(self) -> Meteor:
        """METEOR's counts of `all_candidates`."""
        from aac_llm.metrics.meteor import meteor

        texts = self.all_candidates, self.all_references
        return self.part("meteor", lambda: meteor(*texts, **self._java_options))

    def spice(self) -> Floats:
        """SPICE of `all_candidates`."""
        from aac_llm.metrics.spice import spice

        texts = self.all_candidates, self.all_references
        return self.part("spice", lambda: spice(*texts, **self._java_options))

    def encoder(self) -> SentenceEncoder:
        """The encoder of sentences."""
        from aac_llm.metrics.sentence import SentenceEncoder

        def load() -> SentenceEncoder:
            name = self.settings.sentence_model
            say_licence_of_weights(name, licence_of_weights(name))
            return SentenceEncoder.from_pretrained(name, device=self.device, local_only=self.local_only)

        return self.part("encoder", load)

    def similarity(self) -> Floats:
        """Similarity of `all_candidates` to their references, on the published encoder's scale."""
        from aac_llm.metrics.similarity_scale import baseline, rescale

        def compute() -> Floats:
            encoder = self.encoder()
            found = encoder.similarity(self.all_candidates, self.all_references)
            self.cut |= {"the sentence encoder": encoder.num_cut} if encoder.num_cut else {}
            return found if encoder.is_published else rescale(found, baseline(encoder))

        return self.part("similarity", compute)

    def errors(self) -> tuple[DetectorUsed, Floats]:
        """The fluency detector, and its probability of an error in `all_candidates`."""

        def compute() -> tuple[DetectorUsed, Floats]:
            source = self.settings.fluency_model
            try:
                detector = self._load_detector(source)
            except MissingMetricError:
                trained = default_detector()
                if source != MetricsConfig.fluency_model or not is_detector(trained):
                    raise
                # Not the published numbers, but better than none; the scores' names say so.
                detector, source = self._load_detector(str(trained)), str(trained)
            found = detector.fault_score(self.all_candidates)
            self.cut |= {"the fluency detector": detector.num_cut} if detector.num_cut else {}
            return describe_detector(source, detector.threshold), found

        return self.part("errors", compute)

    def _load_detector(self, source: str) -> FluencyDetector:
        from aac_llm.metrics.fluency import FluencyDetector

        return FluencyDetector.from_pretrained(
            source,
            backbone=self.settings.fluency_backbone,
            device=self.device,
            local_only=self.local_only,
        )

    def judgements(self) -> list[Judgements]:
        """A language model's judgements of each system."""
        from aac_llm.evaluators.judge import judge_captions

        def compute() -> list[Judgements]:
            texts = [text for candidates in self.raw_systems for text in candidates]
            found = judge_captions(texts, [*self.raw_references] * len(self.raw_systems), self.settings.judge)
            return found.split(len(self.raw_systems))

        return self.part("judgements", compute)

    @property
    def _java_options(self) -> dict[str, Any]:
        settings = self.settings
        return {"jars": settings.jars, "java": settings.java, "timeout": settings.java_timeout}

    @property
    def device(self) -> str:
        """Where models compute."""
        if self.settings.device != "auto":
            return self.settings.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"


class Scorer:
    """The parts of one system's scores.

    Args:
        parts: of all systems.
        number: which of them.
    """

    def __init__(self, parts: Parts, number: int) -> None:
        self.parts = parts
        self.number = number
        self.raw = parts.raw_systems[number], parts.raw_references
        self.candidates, self.references = parts.systems[number], parts.references

    def part(self, name: str, compute: Callable[[], T]) -> T:
        """Return a part of this system alone, see `Parts.part`."""
        return self.parts.part(f"{name} {self.number}", compute)

    def check_language(self, metric: str) -> None:
        """Refuse a metric that knows English only for captions in another language."""
        if metric not in ENGLISH_ONLY:
            return
        # Whoever names a model of one's own knows its languages.
        fields = {"sbert": ["sentence_model"], "fer": ["fluency_model"]}.get(metric, [])
        fields = ["sentence_model", "fluency_model"] if metric == "fense" else fields
        settings = self.parts.settings
        if fields and all(getattr(settings, name) != getattr(MetricsConfig, name) for name in fields):
            return
        language = language_code(settings.language)
        if language != ENGLISH:
            raise MissingMetricError(f"it knows English only, and --language is {language}", "")
        if not self.part("is_latin", lambda: is_latin(self.raw[0])):
            raise MissingMetricError("it knows English only, and the captions are not in Latin letters", "")

    def pure(self, metric: str) -> Scores:
        """Scores of a metric that needs nothing but the captions."""
        tokenised = self.parts.settings.tokenised
        return self.part(metric, lambda: score_captions(*self.raw, metrics=(metric,), tokenised=tokenised))

    def cider_d(self) -> Floats:
        """CIDEr-D of each clip."""
        return self.pure("cider").clips["cider_d"]

    def meteor(self) -> Meteor:
        """METEOR's counts of each clip."""
        from aac_llm.metrics.meteor import Meteor

        return Meteor(self.parts.meteor().counts[self._rows])

    def spice_like(self) -> Floats:
        """The approximation of SPICE of each clip."""
        from aac_llm.metrics.spice_like import spice_like

        return self.part("spice_like", lambda: spice_like(self.candidates, self.references))

    def spice(self) -> Floats:
        """SPICE of each clip."""
        return self.parts.spice()[self._rows]

    def encoder(self) -> SentenceEncoder:
        """The encoder of sentences."""
        return self.parts.encoder()

    def similarity(self) -> Floats:
        """Similarity of each caption to its references."""
        return self.parts.similarity()[self._rows]

    def detector(self) -> DetectorUsed:
        """The fluency detector."""
        return self.parts.errors()[0]

    def error_probability(self) -> Floats:
        """Probability of an error in each caption."""
        return self.parts.errors()[1][self._rows]

    def judgements(self) -> Judgements:
        """A language model's judgement of each caption."""
        return self.parts.judgements()[self.number]

    @property
    def _rows(self) -> slice:
        size = len(self.candidates)
        return slice(self.number * size, (self.number + 1) * size)
