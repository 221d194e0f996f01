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
