"""What the kit runs: a job is a command with what has to be there before it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kill_kit.operations import Fault, Mode, Operation


@dataclass(frozen=True)
class Point:
    """A moment of a job, named so that it is found again when operations are added or taken away."""

    name: str
    mode: Mode
    path: str
    """Regular expression that is searched in the operation's path."""
    kind: str = ""
    """Only operations of this kind; "": of any."""
    which: Literal["first", "middle", "last"] = "first"

    def find(self, operations: Sequence[Operation]) -> Fault:
        """Return the disturbance of the operation that is meant.

        Raises:
            LookupError: there is none.
        """
        found = [
            number
            for number, one in enumerate(operations, 1)
            if re.search(self.path, one.path) and self.kind in ("", one.kind)
            if one.can_tear or self.mode != "torn"
        ]
        if not found:
            shown = "\n".join(f"{n:4} {one.kind:8} {one.path}" for n, one in enumerate(operations, 1))
            raise LookupError(f"{self.name}: no {self.kind or 'operation'} on {self.path} among\n{shown}")
        return Fault(self.mode, found[{"first": 0, "middle": len(found) // 2, "last": -1}[self.which]])


@dataclass(frozen=True)
class Step:
    """A command that is run before the job's own, once."""

    words: tuple[str, ...]
    point: Point | None = None
    """Where it is killed, if it is."""


@dataclass(frozen=True)
class Job:
    """A command to disturb. In its words INPUTS is the folder that the package's `make_inputs` has filled."""

    name: str
    words: tuple[str, ...]
    points: tuple[Point, ...]
    """What is tried by the tests; `python -m kill_kit all` tries every operation."""
    before: tuple[Step, ...] = ()


BEST, CHECKPOINT, LAST = r"/best\b", r"/checkpoint-4\b", r"/last\b"
TRAINING_POINTS = (
    Point("as best is written", "kill", BEST, which="middle"),
    Point("as a checkpoint is written", "kill", CHECKPOINT),
    Point("as a checkpoint gets its name or its last file", "kill", CHECKPOINT, which="middle"),
    Point("as an old checkpoint is removed", "kill", r"/checkpoint-2\b", "remove", "middle"),
    Point("between the last checkpoint and last", "kill", LAST),
    Point("as last is written", "kill", LAST, which="middle"),
    Point("at the very end", "kill", r"finished\.json", which="last"),
    Point("as a line of the log is written", "torn", r"^out/(log\.jsonl|best(\.partial)?)$"),
    Point("as best is written", "torn", BEST, which="middle"),
    Point("as best is written", "full", BEST, which="middle"),
    Point("as a checkpoint is written", "full", CHECKPOINT),
    Point("at the very end", "full", r"finished\.json"),
    Point("as best is written", "interrupt", BEST, which="middle"),
)
"""Of every package's training, whose second checkpoint is of update 4."""
RESUMED_POINTS = (
    Point("as the log is written anew", "kill", r"/\.?log\.jsonl", "rename"),
    Point("as last is written", "kill", LAST, which="middle"),
    Point("as the log is written anew", "full", r"/\.?log\.jsonl"),
)
"""Of a training that was killed once and goes on."""
PREPARE_POINTS = (
    Point("as the checks are noted", "torn", "checked|questions|clips", which="middle"),
    Point("as the manifest is written", "kill", r"^out/\.", "rename"),
    Point("between manifest and report", "kill", r"report\.json", "rename"),
    Point("in the middle", "full", "^out/", which="middle"),
)
"""Of making a manifest in the folder `out`."""
