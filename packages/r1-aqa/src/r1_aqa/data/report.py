"""The report of `r1-aqa prepare`: what was found, how often, where, and what to do about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SHOWN = 3
"""Places of a kind that are named on the screen; the report has all."""

BAD = {"cannot be read", "missing", "unreadable", "silent"}
"""Kinds of reasons that make the exit code 1; for the others questions are skipped by settings."""

KINDS = {
    "cannot be read": ("the row is no question", "mend the line; the report names its fault"),
    "missing": ("the sound is not there", "check the path, or give its folder with --audio"),
    "unreadable": ("the sound cannot be decoded", "replace or convert the file"),
    "silent": ("the sound is silent", "export or download the file again"),
    "longer": ("the sound is longer than max_seconds", "cut the file, or keep it: --too_long keep"),
    "in a benchmark": (
        "the recording is in a benchmark (--against)",
        "leave it out, or the score says nothing",
    ),
    "the same question twice": ("the same question about the same sound", "nothing: one of them is kept"),
    "relation": ("the question is about what is seen", "keep it with --relations"),
    "about what is seen": ("the question is about what is seen", "keep it with --visual_words none"),
    "length": ("the sound is not as long as its metadata says", "download it again, or mend `duration`"),
    "damaged": ("a part of the sound could not be decoded", "replace the file; the rest is used"),
    "loud": ("the sound goes beyond full scale", "divide its samples; integers stored as floats?"),
    "cancels": ("the channels cancel each other", "nothing: the louder one is heard (--channel)"),
    "long": ("longer than max_seconds", "nothing: sound.too_long says which part is heard"),
    "id twice": ("the id is that of an earlier row", "give ids of their own, if answers are matched by id"),
    "letters": ("the options have letters, as in (A) Man", "nothing: answers are compared without them"),
}
"""Kind of reason or remark, by its beginning -> what it is, and what to do."""


@dataclass
class Report:
    """Counts of kept questions, the skipped ones with their reasons, and what is odd about kept ones."""

    kept: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    remarks: list[dict[str, str]] = field(default_factory=list)
    longer: int = 0
    validation: int = 0

    def skip(self, where: str, why: str) -> None:
        """Record a row that is not used."""
        self.skipped.append({"where": where, "why": why})

    def remark(self, where: str, what: str) -> None:
        """Record what is odd about a row that is used."""
        self.remarks.append({"where": where, "what": what})

    @property
    def reasons(self) -> Counter[str]:
        """Return how many were skipped for each kind of reason."""
        return Counter(_kind(row["why"]) for row in self.skipped)

    def kinds(self) -> list[dict[str, Any]]:
        """Return each kind of reason and remark: what, how many, whether used, the first, the remedy."""
        rows = [(_kind(row["why"]), False, row["where"]) for row in self.skipped]
        rows += [(_kind(row["what"]), True, row["where"]) for row in self.remarks]
        places: dict[tuple[str, bool], list[str]] = {}
        for kind, is_kept, where in rows:
            places.setdefault((kind, is_kept), []).append(where)
        found = []
        for (kind, is_kept), where_all in places.items():
            what, todo = next((v for name, v in KINDS.items() if kind.startswith(name)), (kind, ""))
            found.append(
                {
                    "kind": kind,
                    "what": what,
                    "count": len(where_all),
                    "kept": is_kept,
                    "first": where_all[:SHOWN],
                    "to_do": todo,
                }
            )
        return found

    def lines(self) -> list[tuple[bool, str]]:
        """Return, for each kind, whether it is bad, and a line for the screen."""
        found = []
        for kind in self.kinds():
            fate = "kept" if kind["kept"] else "skipped"
            places = ", ".join(kind["first"]) + (", ..." if kind["count"] > SHOWN else "")
            remedy = f"; {kind['to_do']}" if kind["to_do"] else ""
            line = f"{kind['count']} {fate}, {kind['kind']}: {kind['what']}: {places}{remedy}"
            found.append((kind["kind"] in BAD, line))
        return found

    def summary(self, out: str, max_seconds: float) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "out": out,
            "kept": self.kept,
            "validation": self.validation,
            f"kept_but_longer_than_{max_seconds:g}_s": self.longer,
            "skipped": dict(self.reasons),
            "kinds": self.kinds(),
            "rows": self.skipped,
            "remarks": self.remarks,
        }

    def counts(self) -> str:
        """Return how many were skipped for each reason, in words."""
        return ", ".join(f"{count} {why}" for why, count in self.reasons.most_common()) or "none"


def _kind(reason: str) -> str:
    return reason.partition(":")[0]
