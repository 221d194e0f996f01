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


ROW = Kind("row", "the row is no question", "mend the line", is_bad=True)
MISSING = Kind(
    "missing", "the sound is not there", "check the path, or give its folder with --audio", is_bad=True
)
CORRUPT = Kind("corrupt", "the sound cannot be decoded", "fetch it again, or convert it", is_bad=True)
SILENT = Kind("silent", "the sound is silent", "export or fetch the file again", is_bad=True)
TOO_LONG = Kind("long", "the sound is longer than max_seconds", "cut it, or keep it: --too_long keep")
OVERLAP = Kind(
    "overlap", "the recording is in a benchmark (--against)", "leave it out, or the score says nothing"
)
DUPLICATE = Kind("duplicate", "the same question about the same sound", "nothing: one of them is kept")
RELATION = Kind("visual", "the question is about what is seen", "keep it with --relations")
VISUAL = Kind("visual", "the question is about what is seen", "keep it with --visual_words none")
LENGTH = Kind("length", "the sound is not as long as its metadata says", "fetch it again, or mend `duration`")
DAMAGED = Kind("damaged", "a part of the sound could not be decoded", "the rest is used; fetch it again")
LOUD = Kind("loud", "the sound goes beyond full scale", "divide its samples; integers stored as floats?")
CANCELS = Kind("cancels", "the channels cancel each other", "nothing: the louder one is heard (--channel)")
LONG = Kind("long", "longer than max_seconds", "nothing: sound.too_long says which part is heard")
ID = Kind("id", "the id is that of an earlier row", "give ids of their own, if answers are matched by id")
LETTERS = Kind(
    "letters", "the options have letters, as in (A) Man", "nothing: answers are compared without them"
)

INDEPENDENT = Kind(
    "independent",
    "probes answer the question without its sound",
    "nothing, or keep it: without --only_dependent",
)
UNPROBED = Kind(
    "unprobed", "no probe can be asked the question", "give it options and an answer, or leave it as it is"
)


@dataclass(frozen=True)
class Reason:
    """Why a row is not used, or what is odd about one that is."""

    kind: Kind
    text: str
    """What is said of this row; up to a colon it is the same for all such rows."""


@dataclass(frozen=True)
class Problem:
    """Something that a user should know about one row."""

    kind: Kind
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
    audio_dependence: dict[str, Any] | None = None
    """Shares of questions that depend on their audio, where they were probed."""

    def skip(self, where: str, reason: Reason) -> None:
        """Record a row that is not used."""
        self.problems.append(Problem(reason.kind, where, reason.text, is_left_out=True))

    def remark(self, where: str, reason: Reason) -> None:
        """Record what is odd about a row that is used."""
        self.problems.append(Problem(reason.kind, where, reason.text, is_left_out=False))

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
        return any(problem.kind.is_bad for problem in self.skipped)

    def kinds(self) -> list[FoundKind]:
        """Return each kind that was found, skipped rows first."""
        return [
            FoundKind(kind.name, kind.what, len(where), is_left_out, kind.advice, where[:SHOWN])
            for (kind, is_left_out), where in self._places().items()
        ]

    def lines(self) -> list[tuple[bool, str]]:
        """Return, for each kind, whether it is bad, and a line for the screen."""
        found = []
        for (kind, is_left_out), where in self._places().items():
            fate = "skipped" if is_left_out else "kept"
            places = ", ".join(where[:SHOWN]) + (", ..." if len(where) > SHOWN else "")
            found.append((kind.is_bad, f"{len(where)} {fate}, {kind.what}: {places}; {kind.advice}"))
        return found

    def _places(self) -> dict[tuple[Kind, bool], list[str]]:
        """Return where each kind was found, by kind and whether the rows are left out, these first."""
        places: dict[tuple[Kind, bool], list[str]] = {}
        for problem in sorted(self.problems, key=lambda problem: not problem.is_left_out):
            places.setdefault((problem.kind, problem.is_left_out), []).append(problem.where)
        return places

    def summary(self, out: str, max_seconds: float) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "out": out,
            "kept": self.kept,
            "validation": self.validation,
            f"kept_but_longer_than_{max_seconds:g}_s": self.longer,
            "skipped": dict(self.reasons),
            "kinds": [asdict(kind) for kind in self.kinds()],
            "problems": [asdict(problem) | {"kind": problem.kind.name} for problem in self.problems],
            **({"audio_dependence": self.audio_dependence} if self.audio_dependence else {}),
        }

    def counts(self) -> str:
        """Return how many were skipped for each reason, in words."""
        return ", ".join(f"{count} {why}" for why, count in self.reasons.most_common()) or "none"


def _start(reason: str) -> str:
    return reason.partition(":")[0]
