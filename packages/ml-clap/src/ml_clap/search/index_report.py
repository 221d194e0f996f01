"""What a run of `ml-clap index` did, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_common.prefetch import BadFile

from ml_clap.output import printable
from ml_clap.search.filling import Problem
from ml_clap.tables import count_of


@dataclass(frozen=True)
class IndexReport:
    """What a run did."""

    num_clips: int
    """Clips that can be found now."""
    num_windows: int
    """Vectors of the index."""
    num_encoded: int
    """Windows encoded in this run."""
    new: int
    changed: int
    moved: int
    dropped: int
    """Clips taken out because their file is gone."""
    problems: list[Problem]
    left_out: list[Problem]
    """What has no sound, or less than 0.1 s of it, and is therefore not indexed."""
    seconds: float
    """Wall-clock time of the run."""
    audio_seconds: float
    """Sound encoded in this run."""
    notices: tuple[str, ...] = ()
    """What was not looked at, and what changes that."""
    independence: float | None = None
    """Largest difference between some clips' embeddings alone and beside others; None: not measured."""
    complaints: tuple[BadFile, ...] = ()
    """What is odd about sounds that were encoded in this run nevertheless."""
    engine: str | None = None
    """What searches it now, and how exact, where the run brought another engine than numpy up to date."""


def print_report(report: IndexReport, out: Path) -> None:
    """Print what a run did and which files it could not read."""
    from ml_clap.models.independence import LARGEST, describe_independence

    speed = report.audio_seconds / max(report.seconds, 1e-9)
    print(
        f"{printable(out)}: {report.num_clips:,} clips, {report.num_windows:,} windows ({report.new:,} new, "
        f"{report.changed:,} changed, {report.moved:,} moved, {report.dropped:,} gone)\n"
        f"{report.audio_seconds / 60:,.1f} minutes of sound encoded in {report.seconds:,.1f} s "
        f"({speed:,.0f} x real time)"
    )
    if report.engine:
        print(f"searched by {report.engine}")
    if report.independence is not None and report.independence <= LARGEST:
        print(describe_independence(report.independence))
    if report.left_out:
        print(
            f"without sound: {count_of(len(report.left_out), 'file')}, or parts of them, not indexed "
            f"(--index_silence does), listed in {printable(out / 'left_out.jsonl')}"
        )
    if report.problems:
        print(f"bad files: {len(report.problems):,}, listed in {out / 'bad_files.jsonl'}:")
        for problem in report.problems[:5]:
            # Most reasons name the file themselves.
            named = problem.reason if problem.file in problem.reason else f"{problem.file}: {problem.reason}"
            print(f"  {printable(named)}")
