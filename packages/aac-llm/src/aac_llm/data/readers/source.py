"""Shared by the readers: tables, and the result of a reading."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aac_llm.data.manifest import Clip
from aac_llm.data.table import Table, read_table


@dataclass(frozen=True)
class Problem:
    """Something that a user should know about one clip or row."""

    kind: str
    """One of `aac_llm.data.report.KINDS`."""
    where: str
    """Ids of the clips, or `file:line`."""
    message: str


@dataclass
class Reading:
    """Clips and problems that a reader found."""

    clips: list[Clip] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add_problem(self, kind: str, where: str, message: object) -> None:
        """Add a problem."""
        self.problems.append(Problem(kind, where, str(message)))


def read_rows(
    path: Path, needed: Sequence[str], reading: Reading, *, encoding: str = "utf-8"
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, cells by column) for each whole row of a table; the others become problems.

    Raises:
        ManifestError: see `aac_llm.data.table.read_table`.
    """
    yield from whole_rows(read_table(path, needed, encoding=encoding), reading)


def whole_rows(table: Table, reading: Reading) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, cells by column) for each whole row; the others become problems."""
    for problem in table.problems:
        reading.add_problem("row", problem.where, problem.message)
    for row in table.rows:
        yield row.line, row.cells


def find_tables(folder: Path, names: Mapping[str, str], split: str | None) -> Iterator[tuple[Path, str]]:
    """Yield the tables of a published set that are in a folder, with our name of their split.

    Raises:
        ValueError: a split was named for all of them.
        FileNotFoundError: there is none.
    """
    # One name for three tables would mix test clips into training.
    if split is not None:
        raise ValueError(f"split: {folder} is a folder of tables that are splits already; leave --split out")
    found = [(folder / name, ours) for name, ours in names.items() if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has none of {', '.join(names)}; name a CSV file instead")
    yield from found


def numbered_captions(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return the texts of caption_1, caption_2, ... that are not empty."""
    return tuple(text for key, text in row.items() if key.startswith("caption_") and (text or "").strip())


def metadata_seconds(value: object) -> float | None:
    """Return a length that metadata name, as a number or as text; None where they do not or it is nonsense.

    >>> metadata_seconds("26.16"), metadata_seconds(None), metadata_seconds("long")
    (26.16, None, None)
    """
    if isinstance(value, bool):  # an int for Python, not for us
        return None
    try:
        seconds = float(value)  # type: ignore[arg-type]  # whatever JSON may hold
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < math.inf else None
