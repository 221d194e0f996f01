"""What evaluations find: plain data, which `--json` writes as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audio_common.prefetch import BadFile

    from ml_clap.data.manifest import BadRow

Interval = tuple[float, float]
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
class Consistency:
    """Whether the same question in another language finds the same (text to audio)."""

    rank_std: float
    """Standard deviation of a query's rank over the languages, mean over the queries."""
    same_top1: float
    """Percentage of queries whose first hit is the same in every language."""
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
    """Captions that another clip has word for word; each counts as a wrong answer of the other's."""


DIRECTIONS: dict[str, Callable[[RetrievalResult], RetrievalMetrics]] = {
    "Text to audio": attrgetter("text_to_audio"),
    "Audio to text": attrgetter("audio_to_text"),
}


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
    complaints: tuple[BadFile, ...] = ()
    """What is odd about clips that were encoded nevertheless: damage, channels that cancel each other."""
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
    """Wilson's 95 % interval, percent."""
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
    bad_rows: tuple[BadRow, ...] = ()
    """Lines of manifests that were skipped."""
    notices: tuple[str, ...] = ()
    """What was cut or left out, and what changes that."""
    multi_label: dict[str, MultiLabel] = field(default_factory=dict)
    """By language code; of sounds that have a list of classes."""
