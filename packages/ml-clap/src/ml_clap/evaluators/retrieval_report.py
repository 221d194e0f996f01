"""What a retrieval evaluation found, as tables and as a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from audio_common.prefetch import BadFile

from ml_clap.evaluators.report import plot_bars, print_bad_files, print_table
from ml_clap.evaluators.retrieval import METRICS, Consistency, Interval, RetrievalMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    """What an evaluation found."""

    languages: dict[str, RetrievalResult]
    """By language code, in the order asked for."""
    average: RetrievalResult
    """The plain mean over languages; its counts are sums."""
    consistency: Consistency | None
    """None where languages differ in their number of captions, or there is only one."""
    num_clips: int
    """Clips that were encoded."""
    bad_files: tuple[BadFile, ...]
    """Clips left out."""
    seconds: float
    """Wall-clock time of encoding and ranking."""


def print_report(report: RetrievalReport) -> None:
    """Both tables on standard output, the consistency over languages, and what was left out."""
    columns = ["", "R@1", "95 %", "R@5", "R@10", "R@50", "medR", "meanR", "mAP@10", "queries", "among"]
    for title, direction in DIRECTIONS.items():
        rows = [_table_row(code, direction(each)) for code, each in report.languages.items()]
        if len(rows) > 1:  # sums of queries over languages would mislead
            rows.append([*_table_row("average", direction(report.average))[:-2], "", ""])
        print_table(title, columns, rows)
    if report.consistency is not None:
        each = report.consistency
        print(
            f"The same caption in {each.num_languages} languages: the same first hit for "
            f"{each.same_top1:.1f} % of {each.num_queries:,}, ranks vary by {each.rank_std:.1f} (std)"
        )
    shared = max(report.languages.values(), key=lambda each: each.num_shared)
    if shared.num_shared:
        print(
            f"{shared.num_shared:,} of {shared.text_to_audio.num_queries:,} captions are another clip's too, "
            "word for word, and count as wrong for it: audio to text is underrated"
        )
    print(f"{report.num_clips:,} clips in {report.seconds:.1f} s; guessing among n clips has R@1 100 / n")
    print_bad_files(report.bad_files)


def plot_report(report: RetrievalReport) -> Figure:
    """Bars of R@1 and R@10 for every language, a panel for each direction."""
    panels: dict[str, dict[str, list[float]]] = {}
    intervals: dict[str, dict[str, list[Interval]]] = {}
    for title, direction in DIRECTIONS.items():
        metrics = [direction(result) for result in report.languages.values()]
        series = {"R@1": "r1", "R@10": "r10"}
        panels[title] = {label: [getattr(each, name) for each in metrics] for label, name in series.items()}
        if metrics[0].intervals:
            intervals[title] = {
                label: [each.intervals[name] for each in metrics] for label, name in series.items()
            }
    ylabel = f"% of queries ({report.num_clips:,} clips)"
    return plot_bars(panels, list(report.languages), intervals, ylabel)


def _table_row(name: str, metrics: RetrievalMetrics) -> list[str]:
    values = [f"{getattr(metrics, each):.1f}" for each in METRICS]
    low, high = metrics.intervals.get("r1", (None, None))
    values.insert(1, "" if low is None else f"{low:.1f}-{high:.1f}")
    return [name, *values, f"{metrics.num_queries:,}", f"{metrics.num_candidates:,}"]
