"""The report of `r1-aqa prepare`: what was found, how often, where, and what to do about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

SHOWN = 3
"""Places of a kind that are named on the screen; the report has all."""


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    name: str
    """Its name in the JSON, the same in ml-clap and aac-llm where they know it."""
    what: str
    advice: str
    """What to do."""
    is_bad: bool = False
    """Whether it makes the exit code 1; other questions are skipped by settings, or kept."""


KINDS = {
    "cannot be read": Kind("row", "the row is no question", "mend the line", is_bad=True),
    "missing": Kind(
        "missing", "the sound is not there", "check the path, or give its folder with --audio", is_bad=True
    ),
    "unreadable": Kind(
        "corrupt", "the sound cannot be decoded", "fetch it again, or convert it", is_bad=True
    ),
    "silent": Kind("silent", "the sound is silent", "export or fetch the file again", is_bad=True),
    "longer": Kind("long", "the sound is longer than max_seconds", "cut it, or keep it: --too_long keep"),
    "in a benchmark": Kind(
        "overlap", "the recording is in a benchmark (--against)", "leave it out, or the score says nothing"
    ),
    "the same question twice": Kind(
        "duplicate", "the same question about the same sound", "nothing: one of them is kept"
    ),
    "relation": Kind("visual", "the question is about what is seen", "keep it with --relations"),
    "about what is seen": Kind(
        "visual", "the question is about what is seen", "keep it with --visual_words none"
    ),
    "length": Kind(
        "length", "the sound is not as long as its metadata says", "fetch it again, or mend `duration`"
    ),
    "damaged": Kind(
        "damaged", "a part of the sound could not be decoded", "the rest is used; fetch it again"
    ),
    "loud": Kind(
        "loud", "the sound goes beyond full scale", "divide its samples; integers stored as floats?"
    ),
    "cancels": Kind(
        "cancels", "the channels cancel each other", "nothing: the louder one is heard (--channel)"
    ),
    "long": Kind("long", "longer than max_seconds", "nothing: sound.too_long says which part is heard"),
    "id twice": Kind(
        "id", "the id is that of an earlier row", "give ids of their own, if answers are matched by id"
    ),
    "letters": Kind(
        "letters", "the options have letters, as in (A) Man", "nothing: answers are compared without them"
    ),
}
"""Beginning of a reason or remark -> what kind it is."""


@dataclass(frozen=True)
class Problem:
    """Something that a user should know about one row."""

    kind: str
    """Name of a `Kind`."""
    where: str
    """`file:line`."""
    message: str
    is_left_out: bool
    """Whether the question is not in the file."""


@dataclass(frozen=True)
class FoundKind:
    """A kind of problem that was found: what it is, how often, where first, and what to do."""

    kind: str
    what: str
    count: int
    is_left_out: bool
    advice: str
    first: list[str]
    """The first places."""


@dataclass
class Report:
    """Counts of kept questions, and what is wrong with these and with the skipped ones."""

    kept: int = 0
    longer: int = 0
    validation: int = 0
    problems: list[Problem] = field(default_factory=list)

    def skip(self, where: str, why: str) -> None:
        """Record a row that is not used."""
        self.problems.append(Problem(_kind(why).name, where, why, is_left_out=True))

    def remark(self, where: str, what: str) -> None:
        """Record what is odd about a row that is used."""
        self.problems.append(Problem(_kind(what).name, where, what, is_left_out=False))

    @property
    def skipped(self) -> list[Problem]:
        """Return what was wrong with the rows that are not used."""
        return [problem for problem in self.problems if problem.is_left_out]

    @property
    def reasons(self) -> Counter[str]:
        """Return how many were skipped for each reason."""
        return Counter(_start(problem.message) for problem in self.skipped)

    @property
    def is_bad(self) -> bool:
        """Return whether a row was skipped that is damaged, or whose sound is."""
        return any(_kind(problem.message).is_bad for problem in self.skipped)

    def kinds(self) -> list[FoundKind]:
        """Return each kind that was found, skipped rows first."""
        places: dict[tuple[Kind, bool], list[str]] = {}
        for problem in sorted(self.problems, key=lambda problem: not problem.is_left_out):
            places.setdefault((_kind(problem.message), problem.is_left_out), []).append(problem.where)
        return [
            FoundKind(kind.name, kind.what, len(where), is_left_out, kind.advice, where[:SHOWN])
            for (kind, is_left_out), where in places.items()
        ]

    def lines(self) -> list[tuple[bool, str]]:
        """Return, for each kind, whether it is bad, and a line for the screen."""
        bad = {kind.name for kind in KINDS.values() if kind.is_bad}
        found = []
        for kind in self.kinds():
            fate = "skipped" if kind.is_left_out else "kept"
            places = ", ".join(kind.first) + (", ..." if kind.count > SHOWN else "")
            remedy = f"; {kind.advice}" if kind.advice else ""
            found.append((kind.kind in bad, f"{kind.count} {fate}, {kind.what}: {places}{remedy}"))
        return found

    def summary(self, out: str, max_seconds: float) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "out": out,
            "kept": self.kept,
            "validation": self.validation,
            f"kept_but_longer_than_{max_seconds:g}_s": self.longer,
            "skipped": dict(self.reasons),
            "kinds": [asdict(kind) for kind in self.kinds()],
            "problems": [asdict(problem) for problem in self.problems],
        }

    def counts(self) -> str:
        """Return how many were skipped for each reason, in words."""
        return ", ".join(f"{count} {why}" for why, count in self.reasons.most_common()) or "none"


def _start(reason: str) -> str:
    return reason.partition(":")[0]


def _kind(reason: str) -> Kind:
    known = (kind for start, kind in KINDS.items() if reason.startswith(start))
    return next(known, Kind("other", _start(reason), ""))
