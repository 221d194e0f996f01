"""What evaluations found, as tables, and with what made it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ml_clap.evaluators.results import (
    DIRECTIONS,
    METRICS,
    Accuracy,
    Consistency,
    Estimate,
    MomentReport,
    MultiLabel,
    RetrievalMetrics,
    RetrievalReport,
    Rewording,
    ZeroShotReport,
)
from ml_clap.files import to_plain
from ml_clap.tables import count_of, print_skipped, print_table

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder

logger = logging.getLogger(__name__)


def describe_run(model: DualEncoder, config: Any) -> dict[str, Any]:
    """Return what made a result: package version, the model's fingerprint, and the command's settings."""
    return {
        "ml_clap": version("ml-clap"),
        "fingerprint": model.fingerprint(),
        "kind": model.kind,
        "settings": to_plain(config),
    }


def print_retrieval(report: RetrievalReport) -> None:
    """Print both tables, the consistency over languages, and what was skipped."""
    columns = ["", "R@1", "95 %", "R@5", "R@10", "R@50", "medR", "meanR", "mAP@10", "queries", "among"]
    for title, direction in DIRECTIONS.items():
        rows = [_table_row(code, direction(result)) for code, result in report.languages.items()]
        if len(rows) > 1:  # sums of queries over languages would mislead
            rows.append([*_table_row("average", direction(report.average))[:-2], "", ""])
        print_table(title, columns, rows)
    if report.consistency is not None:
        _print_consistency(report.consistency)
    for kind, by_language in report.robustness.items():
        _print_rewordings(kind, by_language)
    shared = max(report.languages.values(), key=lambda result: result.num_shared)
    if shared.num_shared:
        judged = (
            "right for it too"
            if report.equal_captions
            else "wrong for it: audio to text is underrated (--equal_captions counts them as right)"
        )
        print(
            f"{shared.num_shared:,} of {shared.text_to_audio.num_queries:,} captions are another clip's too, "
            f"word for word, and count as {judged}"
        )
    print(f"{report.num_clips:,} clips in {report.seconds:.1f} s; guessing among n clips has R@1 100 / n")
    print_left_out(report)


def _print_consistency(found: Consistency) -> None:
    """Print whether languages agree, each figure with its interval."""
    print(
        f"The same caption in {found.num_languages} languages: the same first hit for "
        f"{found.same_top1} % of {found.num_queries:,}, ranks vary by {found.rank_std} (std), "
        f"{found.rank_variance} (variance)"
    )
    overlaps = ", ".join(f"{shared} % of the first {k}" for k, shared in found.overlap.items())
    print(f"Two languages share {overlaps}")
    print(
        f"A caption's translation is at rank {found.translation_rank} among the other language's captions, "
        f"first for {found.translation_r1} %"
    )


def _print_rewordings(kind: str, by_language: Mapping[str, Rewording]) -> None:
    columns = ["", "R@1", "95 %", "R@10", "R@1 - as is", "95 %", "fits less", "ranks lower"]
    rows = [
        [
            *(code, *_with_interval(one.r1), _number(one.r10), *_with_interval(one.change)),
            *(_number(one.lower), _number(one.below)),
        ]
        for code, one in by_language.items()
    ]
    meaning = "the clip whose caption is denied: low is right" if kind == "negation" else "the caption's clip"
    print_table(f"Text to audio, captions as {kind} (%)", columns, rows, f"R@1 and R@10 are of {meaning}")


def print_moments(report: MomentReport) -> None:
    """Print where captions found their moments, and what guessing has."""
    columns = ["", "R@1 0.5", "95 %", "guess", "R@1 0.7", "95 %", "guess", "mAP", "95 %", "queries"]
    rows = [
        [
            *(code, *_with_interval(one.r1_iou50), _number(one.guess_iou50)),
            *(*_with_interval(one.r1_iou70), _number(one.guess_iou70)),
            *(*_with_interval(one.map), f"{one.num_queries:,}"),
        ]
        for code, one in report.languages.items()
    ]
    first = next(iter(report.languages.values()))
    lengths = ", ".join(f"{length:g}" for length in report.lengths)
    note = (
        f"{count_of(first.num_files, 'file')}, {count_of(first.num_windows, 'window')} of {lengths} s, "
        f"in {report.seconds:.1f} s; each caption ranks those of its file"
    )
    print_table("Moments (%): R@1 at an IoU of 0.5 and of 0.7", columns, rows, note)
    print_left_out(report)


def _number(one: Estimate) -> str:
    return f"{one.value:.1f}"


def _with_interval(one: Estimate) -> tuple[str, str]:
    """Return a figure and its interval for two columns; together they would not fit into a terminal."""
    low, high = one.interval or (None, None)
    return _number(one), "" if low is None else f"{low:.1f}-{high:.1f}"


def say_limit(number: int, limit: int | None) -> tuple[str, ...]:
    """Say how many of so many clips `--limit` leaves out, if any."""
    if limit is None or number <= limit:
        return ()
    return (f"{number - limit:,} of {count_of(number, 'clip')} are left out (--limit {limit})",)


def print_left_out(report: RetrievalReport | ZeroShotReport | MomentReport) -> None:
    """Print what was cut, to standard error, and the lines and files that were skipped."""
    for notice in report.notices:
        logger.warning(notice)
    print_skipped([f"{row.where}: {row.message}" for row in report.bad_rows], what="line")
    print_skipped([file.reason for file in report.bad_files])


def _table_row(name: str, metrics: RetrievalMetrics) -> list[str]:
    values = [f"{getattr(metrics, metric):.1f}" for metric in METRICS]
    low, high = metrics.intervals.get("r1", (None, None))
    values.insert(1, "" if low is None else f"{low:.1f}-{high:.1f}")
    return [name, *values, f"{metrics.num_queries:,}", f"{metrics.num_candidates:,}"]


def print_zero_shot(report: ZeroShotReport) -> None:
    """Print accuracies, and the best labels of sounds that have none."""
    if report.languages:
        rows = [[code, *_accuracy_cells(result, report.labels)] for code, result in report.languages.items()]
        if len(rows) > 1 and report.average is not None:
            low, high = report.average_interval or (None, None)
            interval = "" if low is None else f"{low:.1f}-{high:.1f}"
            rows.append(["average", f"{report.average:.1f}", interval, "", ""])
        count = len(report.labels)
        note = f"{report.num_clips:,} sounds, {count} classes; guessing has {100 / count:.1f} %"
        print_table("Zero-shot accuracy", ["", "%", "95 %", "weakest class", "taken for"], rows, note)
    if report.multi_label:
        rows = [[code, *_ranking_cells(result)] for code, result in report.multi_label.items()]
        some = next(iter(report.multi_label.values()))
        note = f"{some.num_clips:,} sounds with several classes; chance has about {some.chance:.1f} %"
        print_table("Zero-shot ranking", ["", "mAP %", "classes", "weakest class"], rows, note)
    rows = [
        [found.path.name, found.language, ", ".join(f"{label} {score:.3f}" for label, score in found.labels)]
        for found in report.predictions
    ]
    if rows:
        print_table("Best labels (cosine)", ["file", "in", "labels"], rows)
    print_left_out(report)


def _ranking_cells(result: MultiLabel) -> list[str]:
    of_class = result.average_precision
    weakest = min(of_class, key=lambda label: of_class[label])
    return [
        f"{result.mean_average_precision:.1f}",
        f"{len(of_class)}",
        f"{weakest} {of_class[weakest]:.0f} %",
    ]


def _accuracy_cells(result: Accuracy, labels: Sequence[str]) -> list[str]:
    """Return accuracy, its interval, the weakest class and what it was most often taken for."""
    interval = f"{result.interval[0]:.1f}-{result.interval[1]:.1f}"
    weakest = min(result.recall, key=lambda label: result.recall[label])
    own = list(labels).index(weakest)
    others = {label: n for label, n in zip(labels, result.confusion[own], strict=True) if label != weakest}
    other = max(others, key=lambda label: others[label], default="")
    taken_for = f"{other} ({others[other]})" if others.get(other) else ""
    return [f"{result.accuracy:.1f}", interval, f"{weakest} {result.recall[weakest]:.0f} %", taken_for]
