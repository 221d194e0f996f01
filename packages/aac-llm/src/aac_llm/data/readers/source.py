"""Shared by the readers: tables, and the result of a reading."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aac_llm.data.manifest import Clip, ManifestError


@dataclass(frozen=True)
class Problem:
    """Something that a user should know about one clip or row."""

    kind: str
    """One of `aac_llm.data.prepare.KINDS`."""
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


def read_csv(
    path: Path, needed: Iterable[str], *, encoding: str = "utf-8-sig"
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row by column) for each row of a CSV file; missing cells are empty.

    Raises:
        ManifestError: a needed column is missing, or the file is not in that encoding or not CSV.
    """
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.DictReader(file, restval="")
        try:
            columns = reader.fieldnames or []
            missing = [name for name in needed if name not in columns]
            if missing:
                raise ManifestError(
                    f"{path}:1: no column {', '.join(missing)}; there are {', '.join(columns)}"
                )
            for row in reader:
                row.pop(None, None)  # type: ignore[call-overload]  # cells beyond the last column
                yield reader.line_num, row
        except (UnicodeDecodeError, csv.Error) as e:
            raise ManifestError(f"{path}:{reader.line_num + 1}: not CSV in {encoding} ({e})") from e


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        ManifestError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise ManifestError(f"{path}: not UTF-8 text ({e})") from e


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
