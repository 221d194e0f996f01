"""What evaluations find: plain data, which `--json` writes as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audio_common.prefetch import BadFile

    from ml_clap.data.manifest import BadRow

Interval = tuple[float, float]
MEAN = "mean of languages"
"""In the place of a language's code."""
METRICS = ("r1", "r5", "r10", "r50", "medr", "meanr", "map10")
"""Fields of `RetrievalMetrics` that have intervals, in the order of the tables."""


@dataclass(frozen=True)
class RetrievalMetrics:
    """One direction's numbers; all but the ranks and counts are percentages."""

    r1: float
    """Queries whose right answer comes first."""
    r5: float
    r10: float
    r50: float
    medr: float
    """Median rank from 1; between two middle ones the lower, as in the paper's evaluation."""
    meanr: float
    """Mean rank from 1."""
    map10: float
    """Mean average precision of the first 10 hits."""
    num_queries: int
    num_candidates: int
    intervals: dict[str, Interval] = field(default_factory=dict)
    """95 % interval of each metric by its name; empty if none was asked for."""


@dataclass(frozen=True)
class Estimate:
    """A figure and how sure it is."""

    value: float
    interval: Interval | None = None
    """95 % interval; None if none was asked for."""

    def __str__(self) -> str:
        """Write it with its interval: `12.3 (10.1-14.9)`."""
        low, high = self.interval or (None, None)
        return f"{self.value:.1f}" if low is None else f"{self.value:.1f} ({low:.1f}-{high:.1f})"


@dataclass(frozen=True)
class Consistency:
    """Whether the same question in another language finds the same (text to audio)."""

    rank_std: Estimate
    """Standard deviation of a query's rank over the languages, mean over the queries."""
    rank_variance: Estimate
    """Variance of it, mean over the queries (ATRI's mean rank variance)."""
    same_top1: Estimate
    """Percentage of queries whose first hit is the same in every language."""
    overlap: dict[int, Estimate]
    """k -> percentage of the first k hits that two languages share, mean over pairs and queries."""
    translation_rank: Estimate
    """Rank from 1 of a caption's translation among all captions of the other language, by the text tower;
    between the first language and each other, both ways."""
    translation_r1: Estimate
    """Percentage of captions whose translation comes first."""
    overlap_by_pair: list[list[float]]
    """Languages by languages: the percentage of the first 10 hits (or of so many as there are) in common."""
    num_queries: int
    num_languages: int


@dataclass(frozen=True)
class RetrievalResult:
    """Both directions in one language, or their averages over languages."""

    text_to_audio: RetrievalMetrics
    """One query a caption, against all clips of the language."""
    audio_to_text: RetrievalMetrics
    """One query a clip, against all captions of the language."""
    num_shared: int
    """Captions that another clip has word for word; each counts as a wrong answer of the other's, unless
    `equal_captions` are right."""


DIRECTIONS: dict[str, Callable[[RetrievalResult], RetrievalMetrics]] = {
    "Text to audio": attrgetter("text_to_audio"),
    "Audio to text": attrgetter("audio_to_text"),
}


@dataclass(frozen=True)
class MomentMetrics:
    """How well captions of one language found their seconds in a long file; all in percent."""

    r1_iou50: Estimate
    """Queries whose best window overlaps the event with an IoU of 0.5 or more."""
    r1_iou70: Estimate
    map: Estimate
    """Mean average precision over the IoUs 0.5, 0.55, ... 0.95."""
    map_iou50: Estimate
    guess_iou50: Estimate
    """R@1 of a window drawn at random."""
    guess_iou70: Estimate
    num_queries: int
    num_files: int
    num_windows: int


@dataclass(frozen=True)
class Rewording:
    """What captions of one language find when they are worded in another way (text to audio, percent)."""

    r1: Estimate
    """Queries whose right clip comes first; of `negation` the clip that the caption denies."""
    r10: Estimate
    change: Estimate
    """R@1 minus that of the same captions as they are."""
    lower: Estimate
    """Queries that fit their clip less, by cosine, than the caption as it is."""
    below: Estimate
    """Queries that rank their clip lower than the caption as it is does; what negation should do."""
    num_queries: int


@dataclass(frozen=True)
class RetrievalReport:
    """What a retrieval evaluation found."""

    languages: dict[str, RetrievalResult]
    """By language code, in the order asked for."""
    average: RetrievalResult
    """The plain mean over languages; its counts are sums."""
    consistency: Consistency | None
    """None where languages differ in their number of captions, or there is only one."""
    num_clips: int
    """Clips that were encoded."""
    bad_files: tuple[BadFile, ...]
    """Clips that were skipped."""
    seconds: float
    """Wall-clock time of encoding and ranking."""
    equal_captions: bool = False
    """Whether captions that are equal word for word counted as right for each other's clips."""
    complaints: tuple[BadFile, ...] = ()
    """What is odd about clips that were encoded nevertheless: damage, channels that cancel each other."""
    bad_rows: tuple[BadRow, ...] = ()
    """Lines of the manifest that were skipped."""
    robustness: dict[str, dict[str, Rewording]] = field(default_factory=dict)
    """By kind of rewording, then by language; empty if none was asked for."""
    notices: tuple[str, ...] = ()
    """What was cut or left out, and what changes that."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a model for its card, percent."""

    metric: str
    value: float
    interval: Interval | None
    """95 % interval."""
    language: str = MEAN
    """Code of the language, or `MEAN`."""


def figures_of(report: RetrievalReport, names: Sequence[str] = ("map10",)) -> Iterator[Figure]:
    """Give the figures of a retrieval for a card: both directions, in each language and on the average."""
    results = [*report.languages.items()]
    if len(results) > 1:
        results.append((MEAN, report.average))
    for code, result in results:
        for direction in ("text_to_audio", "audio_to_text"):
            metrics: RetrievalMetrics = getattr(result, direction)
            for name in names:
                yield Figure(
                    metric=f"{name}_{direction}",
                    value=getattr(metrics, name),
                    interval=metrics.intervals.get(name),
                    language=code,
                )


@dataclass(frozen=True)
class MomentReport:
    """What an evaluation of moments found."""

    languages: dict[str, MomentMetrics]
    """By language code, in the order asked for."""
    lengths: tuple[float, ...]
    """Seconds of the windows."""
    bad_files: tuple[BadFile, ...]
    """Files and windows that were skipped."""
    seconds: float
    """Wall-clock time."""
    complaints: tuple[BadFile, ...] = ()
    """What is odd about windows that were encoded nevertheless."""
    bad_rows: tuple[BadRow, ...] = ()
    """Lines of the manifest that were skipped."""
    notices: tuple[str, ...] = ()
    """What was cut or left out, and what changes that."""


@dataclass(frozen=True)
class Accuracy:
    """How well labelled audio was recognized by descriptions in one language."""

    accuracy: float
    """Percentage of sounds."""
    interval: Interval
    """95 % interval, percent: Wilson's, or by resampling recordings if the clips name theirs."""
    recall: dict[str, float]
    """Percentage of each class's sounds, for the classes that have any."""
    confusion: list[list[int]]
    """Sounds by true class (rows) and best-scored class (columns), in the order of `labels`."""


@dataclass(frozen=True)
class Prediction:
    """The best labels of a sound in one language."""

    path: Path
    language: str
    labels: list[tuple[str, float]]
    """(label, cosine), best first; cosines rank the labels and are no probabilities."""


@dataclass(frozen=True)
class MultiLabel:
    """How well the classes of clips that have several are ranked in one language, percent."""

    mean_average_precision: float
    average_precision: dict[str, float]
    """Of each class that occurs."""
    chance: float
    """Mean share of the clips that a class has: about what a random order scores."""
    num_clips: int


@dataclass(frozen=True)
class ZeroShotReport:
    """What a classification found."""

    labels: list[str]
    """The classes, in the order of the prompts."""
    languages: dict[str, Accuracy]
    """By language code; empty where no sound is labelled."""
    average: float | None
    """Mean accuracy over languages; None where no sound is labelled."""
    num_clips: int
    """Labelled sounds that were classified."""
    predictions: list[Prediction]
    """The best labels of audio without one."""
    bad_files: tuple[BadFile, ...]
    """Audio that was skipped."""
    complaints: tuple[BadFile, ...] = ()
    """What is odd about clips that were encoded nevertheless: damage, channels that cancel each other."""
    average_interval: Interval | None = None
    """95 % interval of the average, by resampling clips or recordings; None if none was asked for."""
    bad_rows: tuple[BadRow, ...] = ()
    """Lines of manifests that were skipped."""
    notices: tuple[str, ...] = ()
    """What was cut or left out, and what changes that."""
    multi_label: dict[str, MultiLabel] = field(default_factory=dict)
    """By language code; of sounds that have a list of classes."""
