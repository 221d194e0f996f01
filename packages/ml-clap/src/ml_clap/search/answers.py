"""What a search found for each query: which hits are good enough, and how they are shown.

A hit below the threshold is no answer: it is not shown, but told of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_clap.output import console, printable
from ml_clap.search.audio_index import AudioIndex, Hit
from ml_clap.search.calibration import CALIBRATION_FILE, Calibration, read_calibration
from ml_clap.search.engines import EngineName
from ml_clap.search.queries import BadQueries, Query
from ml_clap.tables import count_of


@dataclass(frozen=True)
class SearchResult:
    """What a search found for one query."""

    query: Query
    hits: list[Hit]
    """The best first; none if nothing in the archive is good enough."""
    threshold: float | None = None
    """The least score of a hit; None where every score is."""
    num_rejected: int = 0
    """Of the best ones, how many score less."""
    best_rejected: float | None = None
    """The best score below the threshold."""


def find_calibration(model: str | Path, fingerprint: str, given: Path | None = None) -> Calibration | None:
    """Return the calibration in a file, else in the model's folder; None where there is none.

    Raises:
        CalibrationError: it is of another model, or no calibration.
    """
    path = given or Path(model) / CALIBRATION_FILE
    if given is None and not path.is_file():
        return None
    return read_calibration(path, fingerprint)


def choose_thresholds(
    queries: Sequence[Query], calibration: Calibration | None, num_windows: int
) -> tuple[list[float | None], list[str]]:
    """Return each query's calibrated threshold, None where there is none for it, and what is to be said.

    Args:
        queries: texts and sounds.
        calibration: of the model.
        num_windows: windows that are searched: the more, the better the best wrong one.
    """
    if calibration is None:
        return [None] * len(queries), []
    thresholds: list[float | None] = []
    extrapolated, unjudged = set(), set()
    for query in queries:
        language = calibration.languages.get(query.language)
        if query.text is None or query.is_composed or language is None:
            what = (
                "sounds and composed queries" if query.text is None or query.is_composed else query.language
            )
            unjudged.add(what)
            thresholds.append(None)
            continue
        threshold, is_beyond = language.threshold(num_windows)
        thresholds.append(threshold)
        if is_beyond:
            extrapolated.add(language.points[-1].num_windows)
    notices = []
    if unjudged:
        notices.append(f"not calibrated, so every score is a hit: {', '.join(sorted(unjudged))}")
    if extrapolated:
        notices.append(
            f"the threshold is extrapolated from {min(extrapolated):,} windows to {num_windows:,}: "
            "calibrate with more clips to be sure of it"
        )
    return thresholds, notices


def judge(
    queries: Sequence[Query], answers: Sequence[Sequence[Hit]], thresholds: Sequence[float | None]
) -> list[SearchResult]:
    """Keep of each query's hits those that score at least its threshold."""
    results = []
    for query, hits, threshold in zip(queries, answers, thresholds, strict=True):
        kept = [hit for hit in hits if threshold is None or hit.score >= threshold]
        rejected = hits[len(kept) :]
        best = rejected[0].score if rejected else None
        results.append(SearchResult(query, kept, threshold, len(rejected), best))
    return results


def results_record(
    results: Sequence[SearchResult],
    index: AudioIndex,
    engine: EngineName,
    notices: Sequence[str] = (),
    bad: BadQueries | None = None,
) -> dict[str, Any]:
    """Return what `--json` writes."""
    bad = bad or BadQueries()
    return {
        "index": str(index.folder),
        "model": index.settings.model,
        "fingerprint": index.settings.fingerprint,
        "num_clips": index.num_clips,
        "num_windows": index.num_windows,
        "engine": index.engine(engine).description,
        "notices": list(notices),
        "bad_files": [{"path": path, "reason": reason} for path, reason in bad.files.items()],
        "bad_rows": bad.rows,
        "queries": [
            _query_record(result.query)
            | {
                "plus": [_query_record(part) for part in result.query.plus],
                "minus": [_query_record(part) for part in result.query.minus],
                "threshold": result.threshold,
                "num_rejected": result.num_rejected,
                "best_rejected": result.best_rejected,
                "hits": result.hits,
            }
            for result in results
        ],
    }


def _query_record(query: Query) -> dict[str, Any]:
    return {
        "text": query.text,
        "language": None if query.text is None else query.language,
        "audio": None if query.audio is None else str(query.audio),
    }


def print_results(
    results: Sequence[SearchResult], index: AudioIndex, engine: EngineName, num_searched: int | None = None
) -> None:
    """Print a table of each query's hits, or that there are none.

    Args:
        results: of the search.
        index: what was searched.
        engine: by what.
        num_searched: windows that a filter let through; None without a filter.
    """
    from rich.text import Text

    screen = console()
    for result in results:
        screen.print(Text(printable(str(result.query))), style="bold")
        if result.hits:
            screen.print(_table(result, index.settings.root))
        if line := say_rejected(result):
            screen.print(Text(line))
    asked = "1 query" if len(results) == 1 else f"{len(results)} queries"
    searched = f"{index.num_clips:,} clips, {index.num_windows:,} windows"
    if num_searched is not None:
        searched = f"{num_searched:,} of {index.num_windows:,} windows"
    screen.print(Text(printable(f"{asked} in {searched} ({index.engine(engine).description})")))


def say_rejected(result: SearchResult, hint: str = "--threshold none shows it") -> str:
    """Say in a line that nothing was found, or what is not shown and how to see it; nothing where all is."""
    if result.best_rejected is None or result.threshold is None:
        return "" if result.hits else "nothing found: no clip passes the filter"
    best = f"{result.best_rejected:.3f}, below {result.threshold:.3f}"
    if not result.hits:
        return f"nothing found: the best score is {best} ({hint})"
    return f"{count_of(result.num_rejected, 'more clip')} not shown: the best scores {best}"


def _table(result: SearchResult, root: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("score", "from", "to"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    described = [describe(hit, result.query.language) for hit in result.hits]
    table.add_column("description" if any(described) else "", overflow="ellipsis")
    for hit, words in zip(result.hits, described, strict=True):
        # As Text: names in [brackets] are no markup.
        file = Text(printable(short_name(hit.file, root)))
        if hit.duplicates:
            file.append(f" (and {count_of(len(hit.duplicates), 'duplicate')})")
        table.add_row(f"{hit.score:.3f}", clock(hit.start), clock(hit.end), file, Text(printable(words)))
    return table


def describe(hit: Hit, language: str) -> str:
    """Return a caption of the clip, in the query's language if there is one; else its label, else nothing."""
    captions = hit.captions.get(language) or next(iter(hit.captions.values()), [])
    return captions[0] if captions else hit.label or ""


def clock(seconds: float) -> str:
    """Return seconds as a player shows them.

    >>> clock(3725.26)
    '1:02:05.3'
    """
    tenths = round(10 * seconds)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{minutes:02d}:{tenths / 10:04.1f}" if hours else f"{minutes}:{tenths / 10:04.1f}"
    return f"{hours}:{rest}" if hours else rest


def short_name(file: Path, root: str) -> str:
    """Return a file's path below the index's root, or as it is if it is elsewhere."""
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
