"""What `aac-llm prepare` found: what, how many, which, and what to do, on the screen and as JSON."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from aac_llm.data.manifest import Clip
from aac_llm.data.readers.source import Problem
from aac_llm.files import is_stream, write_json
from aac_llm.output import console, printable

SHOWN = 3
"""Examples of each kind of problem that are printed."""


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    what: str
    """What the table calls it."""
    advice: str
    """What to do."""
    is_left_out: bool = False
    """Whether such clips are not in the manifest."""


KINDS = {
    "row": Kind("rows that cannot be read", "mend these lines, and run again", True),
    "missing": Kind("sound files missing", "fetch them, or name their folder with --audio", True),
    "corrupt": Kind("sound files damaged", "fetch them again, or export them as wav or flac", True),
    "language": Kind("without captions in the language", "nothing, or choose another --language", True),
    "blacklisted": Kind("left out by the blacklist", "nothing: they are in test sets", True),
    "long": Kind("left out as too long", "nothing, or raise --max_seconds", True),
    "damaged": Kind("damaged in part", "the rest is kept; fetch them again"),
    "cut off": Kind("shorter than their header says", "what is there is kept; fetch them again"),
    "length": Kind(
        "of another length than their metadata say", "listen whether the captions fit, or cut again"
    ),
    "short": Kind("very short", "kept; take them out if nothing can be heard (--min_seconds sets the limit)"),
    "silent": Kind("silent", "kept; take them out, or set another --silence_db"),
    "loud": Kind("beyond full scale", "kept as they are; scale them to -1 to 1 (integers: by full scale)"),
    "cancels": Kind("with channels that cancel out", "the louder one is taken; --channel chooses another"),
    "duplicate": Kind("copies of one another", "kept; take out all but one if their captions say the same"),
    "overlap": Kind("in two splits or manifests", "--drop_overlap takes them out of training"),
}
"""Kind of problem, in the order of the report -> what it is and what to do."""
BAD_KINDS = ("row", "missing", "corrupt")
"""Of these, the ones that make the exit code 1: the others are asked for, or are in the manifest."""


@dataclass(frozen=True)
class FoundKind:
    """A kind of problem that was found: what it is, how often, and what to do."""

    kind: str
    what: str
    count: int
    is_left_out: bool
    """Whether those clips are not in the manifest."""
    advice: str


@dataclass(frozen=True)
class PrepareReport:
    """The manifest that was made, and problems of its clips."""

    manifest: Path
    clips: int
    """Clips in the manifest."""
    captions: int
    hours: float
    """Hours of sound in it."""
    splits: dict[str, int]
    """Split -> clips; clips without one are under `(none)`."""
    dropped: int
    """Clips left out because of `--drop_overlap`."""
    kinds: tuple[FoundKind, ...]
    """What was found, in sum."""
    problems: tuple[Problem, ...]


def make_report(
    manifest: Path, clips: Sequence[Clip], dropped: int, problems: Sequence[Problem]
) -> PrepareReport:
    """Count the clips that are kept, and the problems by kind."""
    counts = Counter(problem.kind for problem in problems)
    return PrepareReport(
        manifest=manifest,
        clips=len(clips),
        captions=sum(len(clip.captions) for clip in clips),
        hours=sum(clip.duration or 0.0 for clip in clips) / 3600,
        splits=dict(Counter(clip.split or "(none)" for clip in clips)),
        dropped=dropped,
        kinds=tuple(
            FoundKind(name, kind.what, counts[name], kind.is_left_out, kind.advice)
            for name, kind in KINDS.items()
            if counts[name]
        ),
        problems=tuple(problems),
    )


def report_path(manifest: Path) -> Path:
    """Return where the report of a manifest is."""
    return manifest.with_suffix(".report.json")


def show_report(report: PrepareReport, json: Path | None = None) -> None:
    """Write the report beside the manifest and to `json`, and print a summary of it."""
    beside = None if is_stream(report.manifest) else report_path(report.manifest)
    for path in (beside, json):
        if path is not None:
            write_json(path, report)
    # The standard output is for the JSON or the manifest alone.
    taken = is_stream(report.manifest) or (json is not None and is_stream(json))
    screen = sys.stderr if taken else sys.stdout
    # As Text: names in [brackets] are no markup.
    table = Table("", "number", "what to do", title=Text(printable(report.manifest)))
    for row in _rows(report):
        table.add_row(*(Text(printable(cell)) for cell in row))
    console(file=screen).print(table)
    for found in report.kinds:
        kind, those = found.kind, [problem for problem in report.problems if problem.kind == found.kind]
        for problem in those[:SHOWN]:
            print(printable(f"{kind}: {problem.where}: {problem.message}"), file=screen)
        if len(those) > SHOWN:
            more = len(those) - SHOWN
            print(f"{kind}: {more:,} more" + (f" in {printable(beside)}" if beside else ""), file=screen)


def _rows(report: PrepareReport) -> list[tuple[str, str, str]]:
    rows = [
        ("clips", f"{report.clips:,}", ""),
        ("captions", f"{report.captions:,}", ""),
        ("hours", f"{report.hours:.2f}", ""),
    ]
    rows += [(f"split {split}", f"{count:,}", "") for split, count in report.splits.items()]
    rows += [(found.what, f"{found.count:,}", found.advice) for found in report.kinds]
    rows += [("left out as overlapping", f"{report.dropped:,}", "")] if report.dropped else []
    return rows
