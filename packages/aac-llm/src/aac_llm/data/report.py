"""What `aac-llm prepare` found: what, how many, which, and what to do, on the screen and as JSON."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from aac_llm.data.manifest import Clip
from aac_llm.data.readers.source import Problem
from aac_llm.files import is_stream, write_json
from aac_llm.output import console

SHOWN = 3
"""Examples of each kind of problem that are printed."""


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    what: str
    """What the table calls it."""
    what_to_do: str
    is_left_out: bool = False
    """Whether such clips are not in the manifest."""


KINDS = {
    "row": Kind("rows that cannot be read", "mend these lines, then run the same command again", True),
    "missing": Kind("sound files missing", "fetch them, or name their folder with --audio", True),
    "corrupt": Kind("sound files that cannot be read", "fetch or convert them again", True),
    "language": Kind("without captions in the language", "choose the captions with --language", True),
    "blacklisted": Kind("left out by the blacklist", "nothing: they are in test sets", True),
    "long": Kind("left out as too long", "nothing, or raise --max_seconds", True),
    "length": Kind(
        "of another length than their metadata says", "fetch them again, or leave them out: they may be cut"
    ),
    "cut off": Kind("shorter than their header says", "fetch them again: the end is missing"),
    "damaged": Kind("damaged in places", "fetch them again: what cannot be decoded is left out of them"),
    "short": Kind("very short", "leave them out, or lower --min_seconds"),
    "silent": Kind("silent", "leave them out, or lower --silence_db"),
    "loud": Kind("louder than full scale", "convert them again, with samples from -1 to 1"),
    "cancels": Kind(
        "with channels that cancel each other", "nothing, their louder channel is used; --channel chooses"
    ),
    "duplicate": Kind("copies of one another", "keep one of each"),
    "overlap": Kind("in two splits or manifests", "--drop_overlap leaves the training clips out"),
}
"""Kind of problem, as in the report -> what it is. Such that are not left out are kept in the manifest."""
BAD_KINDS = ("row", "missing", "corrupt")
"""Of these, the ones that make the exit code 1: the others are asked for, or are in the manifest."""


@dataclass(frozen=True)
class Found:
    """All problems of one kind."""

    what: str
    number: int
    what_to_do: str
    is_left_out: bool


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
    kinds: dict[str, Found]
    """Kind -> how many there are, and what to do about them."""
    problems: tuple[Problem, ...]


def make_report(
    manifest: Path, clips: Sequence[Clip], dropped: int, problems: Sequence[Problem]
) -> PrepareReport:
    """Count the clips that are kept, and the problems by kind."""
    numbers = Counter(problem.kind for problem in problems)
    return PrepareReport(
        manifest=manifest,
        clips=len(clips),
        captions=sum(len(clip.captions) for clip in clips),
        hours=sum(clip.duration or 0.0 for clip in clips) / 3600,
        splits=dict(Counter(clip.split or "(none)" for clip in clips)),
        dropped=dropped,
        kinds={
            name: Found(number=numbers[name], **asdict(kind)) for name, kind in KINDS.items() if numbers[name]
        },
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
    table = Table("", "number", "what to do", title=str(report.manifest))
    for row in _rows(report):
        table.add_row(*row)
    console(file=screen).print(table)
    for kind in report.kinds:
        those = [problem for problem in report.problems if problem.kind == kind]
        for problem in those[:SHOWN]:
            print(_printable(f"{kind}: {problem.where}: {problem.message}"), file=screen)
        if len(those) > SHOWN:
            more = len(those) - SHOWN
            print(f"{kind}: {more:,} more" + (f" in {beside}" if beside else ""), file=screen)


def _rows(report: PrepareReport) -> list[tuple[str, str, str]]:
    rows = [
        ("clips", f"{report.clips:,}", ""),
        ("captions", f"{report.captions:,}", ""),
        ("hours", f"{report.hours:.2f}", ""),
    ]
    rows += [(f"split {split}", f"{count:,}", "") for split, count in report.splits.items()]
    rows += [(found.what, f"{found.number:,}", found.what_to_do) for found in report.kinds.values()]
    rows += [("left out as overlapping", f"{report.dropped:,}", "")] if report.dropped else []
    return rows


def _printable(text: str) -> str:
    """Replace bytes of file names that are not valid Unicode, which cannot be printed as they are."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
