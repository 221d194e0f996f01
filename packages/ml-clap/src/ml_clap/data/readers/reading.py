"""What every reader makes: clips, and what is wrong with the rows that gave none."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from ml_clap.data.manifest import Clip, parse_json_lines
from ml_clap.data.table import Row, Table, read_table


@dataclass(frozen=True)
class Problem:
    """Something that a user should know about one clip or row."""

    kind: str
    """A key of `ml_clap.data.findings.KINDS`."""
    where: str
    """Ids of the clips, or `file:line`."""
    message: str


@dataclass
class Reading:
    """What a reader found."""

    clips: list[Clip] = field(default_factory=list)
    """Their `duration` is what the source says, which `prepare` compares with the sound."""
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    """What was left out as the settings say, and what changes that."""

    labels: list[str] = field(default_factory=list)
    """Classes of a set for zero-shot classification, in its order."""

    def add_problem(self, kind: str, where: str, message: object) -> None:
        """Note a problem."""
        self.problems.append(Problem(kind, where, str(message)))

    def table_rows(self, path: Path, required: tuple[str, ...]) -> list[Row]:
        """Return the whole rows of a table (see `read_table`); the others become problems."""
        table: Table = read_table(path, required)
        for problem in table.problems:
            self.add_problem("row", problem.where, problem.message)
        return table.rows

    def json_rows(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give (line, object) of each line of a JSON Lines file; lines that are none become problems."""
        for number, row in parse_json_lines(path):
            if isinstance(row, str):
                self.add_problem("row", f"{path}:{number}", row)
            else:
                yield number, row


def id_of_file(name: str) -> str:
    """Return the id of a clip that is called after its file: the path without its suffix, as valid Unicode.

    >>> id_of_file("dog/bark.wav")
    'dog/bark'
    """
    stem, _ = os.path.splitext(PurePath(name).as_posix())
    return os.fsencode(stem).decode("utf-8", "backslashreplace")


def seconds_or_none(value: Any) -> float | None:
    """Return seconds as a table or JSON has them, from 0; None where it is no such number."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 and not isinstance(value, bool) else None
