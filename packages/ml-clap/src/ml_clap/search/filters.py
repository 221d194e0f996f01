"""Narrow a search to some clips: conditions on what the manifest says of them, and folders.

A condition is `KEY OPERATOR VALUE`: `label=dog`, `licence!=CC-BY-NC-4.0`, `duration<=10`. All conditions of
a filter must hold. What a key's values are in the whole index decides how they are compared: as numbers where
all of them are numbers; in lists, of which one must be equal; else as texts (`true` and `false` are texts,
and dates as 2026-11-27 order as texts do). A clip without the key fulfils `!=` and nothing else.

The same filter is a set of clips for exact search, and an SQL condition on a LanceDB table or a Parquet file
of the index, which has the same columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ml_clap.files import to_json
from ml_clap.search.lines import Entries
from ml_clap.search.store import Entry

OWN_KEYS = ("id", "file", "duration", "label", "licence")
"""Keys that every clip of an index has, or may have; the manifest's further ones follow."""
PREFIX = "meta_"
"""Before the name of a column of a manifest's further key, which may be called as a column of ours."""

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": lambda one, other: one <= other,
    ">=": lambda one, other: one >= other,
    "!=": lambda one, other: one != other,
    "=": lambda one, other: one == other,
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
}
_CONDITION = re.compile(
    r"\s*(?P<key>[^=<>!]+?)\s*(?P<operator><=|>=|!=|=|<|>)\s*(?P<value>.*?)\s*", re.DOTALL
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)

Kind = Literal["number", "list", "text"]
KINDS: tuple[Kind, ...] = ("list", "text", "number")


@dataclass(frozen=True)
class Condition:
    """What a clip's key must be like."""

    key: str
    operator: str
    """One of `OPERATORS`."""
    value: str


def parse_condition(text: str) -> Condition:
    """Return the condition that a text such as `label=dog` states.

    Raises:
        ValueError: it states none.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"where: {text!r} is no condition; write label=dog, duration<=10, licence!=...")
    return Condition(match["key"], match["operator"], match["value"])


@dataclass(frozen=True)
class Column:
    """A key of the clips, and how its values are compared."""

    name: str
    """Of the column in a table."""
    kind: Kind

    def plain(self, value: Any) -> Any:
        """Return a clip's value as the column holds it: a float, a list of texts, a text, or None."""
        if value is None or isinstance(value, Mapping):
            return None
        if self.kind == "number":
            return float(value)
        if self.kind == "list":
            values = value if isinstance(value, list) else [value]
            return [_written(one) for one in values if not isinstance(one, Mapping | list)]
        return _written(value)


def find_columns(entries: Iterable[Entry]) -> dict[str, Column]:
    """Return key -> column, of all keys of some clips: `OWN_KEYS`, then the manifest's in order."""
    return name_columns(find_kinds(entries))


def find_kinds(entries: Iterable[Entry]) -> dict[str, Kind]:
    """Return how the values of the manifest's keys are compared, looking at all of them."""
    kinds: dict[str, set[Kind]] = {}
    for entry in entries:
        for key, value in entry.metadata.items():
            if value is not None and not isinstance(value, Mapping):
                kinds.setdefault(key, set()).add(_kind(value))
    # A list among them makes all of them lists, a text makes all numbers texts.
    return {key: next(kind for kind in KINDS if kind in found) for key, found in kinds.items()}


def name_columns(kinds: Mapping[str, Kind]) -> dict[str, Column]:
    """Return key -> column, of `OWN_KEYS` and of the manifest's keys of these kinds."""
    columns = {key: Column(key, "number" if key == "duration" else "text") for key in OWN_KEYS}
    names = set(columns)
    for key in sorted(kinds.keys() - columns.keys()):
        name = PREFIX + re.sub(r"\W", "_", key, flags=re.ASCII)
        while name in names:  # two keys that differ in signs alone
            name += "_"
        names.add(name)
        columns[key] = Column(name, kinds[key])
    return columns


def value_of(entry: Entry, key: str) -> Any:
    """Return what a clip has under a key, or None."""
    return getattr(entry, key) if key in OWN_KEYS else entry.metadata.get(key)


@dataclass(frozen=True)
class Filter:
    """The clips that a search looks at."""

    conditions: tuple[Condition, ...] = ()
    """All of them must hold."""
    folders: tuple[str, ...] = ()
    """The file must be in one of them, or below it; relative to the index's root, or absolute."""

    @classmethod
    def parse(cls, where: Sequence[str] = (), folders: Sequence[str | Path] = ()) -> Filter:
        """Read conditions and folders as they are written on a command line."""
        return cls(tuple(map(parse_condition, where)), tuple(str(folder) for folder in folders))

    def __bool__(self) -> bool:
        """Tell whether it leaves out anything."""
        return bool(self.conditions or self.folders)

    def select(
        self, entries: Sequence[Entry], root: str, columns: Mapping[str, Column] | None = None
    ) -> list[int]:
        """Return the numbers of the clips that it lets through, in order.

        Args:
            entries: the clips.
            root: the index's, to which the clips' paths are relative.
            columns: of the clips; default: they are found.

        Raises:
            ValueError: no clip has a key, or a number is compared with a text.
        """
        columns = find_columns(entries) if columns is None else columns
        tests = [self._test(condition, columns) for condition in self.conditions]
        prefixes = [_below_root(folder, root) for folder in self.folders]
        numbered: Iterable[tuple[int, Entry]] = enumerate(entries)
        if isinstance(entries, Entries):
            numbered = entries.holding(self.parts(columns, root))
        return [
            number
            for number, entry in numbered
            if all(test(entry) for test in tests)
            and (not prefixes or any(_is_in(entry.file, prefix) for prefix in prefixes))
        ]

    def parts(self, columns: Mapping[str, Column], root: str) -> list[list[bytes]]:
        """Return groups of parts, of each of which one stands in the record of every clip that passes."""
        groups = [
            _json_parts(condition.value)
            for condition in self.conditions
            # A number may be written in several ways: 3, 3.0.
            if condition.operator == "=" and _find(condition, columns)[0].kind != "number"
        ]
        prefixes = [_below_root(folder, root) for folder in self.folders]
        if all(prefixes) and prefixes:
            groups.append([part for prefix in prefixes for part in _json_parts(_prefix(prefix))])
        return groups

    def sql(self, columns: Mapping[str, Column], root: str) -> str:
        """Return the same as a condition of LanceDB's SQL, on the columns of `search.table`."""
        parts = [_condition_sql(condition, *_find(condition, columns)) for condition in self.conditions]
        if self.folders:
            prefixes = [_below_root(folder, root) for folder in self.folders]
            inside = [
                f"starts_with(file, {_quoted(_prefix(prefix))})" if prefix else "true" for prefix in prefixes
            ]
            parts.append(f"({' OR '.join(inside)})")
        return " AND ".join(parts)

    def _test(self, condition: Condition, columns: Mapping[str, Column]) -> Callable[[Entry], bool]:
        column, wanted = _find(condition, columns)
        compare = OPERATORS[condition.operator]

        def holds(entry: Entry) -> bool:
            value = column.plain(value_of(entry, condition.key))
            if value is None:
                return condition.operator == "!="
            if column.kind == "list":
                return (wanted in value) == (condition.operator == "=")
            return compare(value, wanted)

        return holds


def _find(condition: Condition, columns: Mapping[str, Column]) -> tuple[Column, Any]:
    """Return the column that a condition is about, and the value to compare with."""
    column = columns.get(condition.key)
    if column is None:
        raise ValueError(
            f"where: no clip of the index has the key {condition.key!r}; there are {', '.join(columns)} "
            "(an index made before there were metadata gets them at the next `ml-clap index`)"
        )
    if column.kind == "list" and condition.operator not in ("=", "!="):
        raise ValueError(f"where: {condition.key} holds lists: they are compared with = and != alone")
    if column.kind != "number":
        return column, condition.value
    if not _NUMBER.fullmatch(condition.value):
        raise ValueError(f"where: {condition.key} holds numbers, got {condition.value!r}")
    return column, float(condition.value)


def _condition_sql(condition: Condition, column: Column, wanted: Any) -> str:
    value = repr(wanted) if column.kind == "number" else _quoted(wanted)
    if column.kind == "list":
        there = f"coalesce(array_has({column.name}, {value}), false)"
        return there if condition.operator == "=" else f"NOT {there}"
    if condition.operator == "!=":
        return f"({column.name} IS NULL OR {column.name} != {value})"
    return f"{column.name} {condition.operator} {value}"


def _json_parts(text: str) -> list[bytes]:
    """Return a text as it stands within a record, which is in ASCII where a part of it is not Unicode."""
    return [to_json(text)[1:-1], json.dumps(text)[1:-1].encode()]


def _kind(value: Any) -> Kind:
    if isinstance(value, list):
        return "list"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else "text"


def _written(value: Any) -> str:
    """Return a value as a condition would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _below_root(folder: str, root: str) -> str:
    """Return a folder as the clips' paths are written: relative to the root, "" for the root itself."""
    path = PurePosixPath(folder)
    path = path.relative_to(root) if path.is_relative_to(root) else path
    return "" if str(path) == "." else str(path)


def _is_in(file: str, folder: str) -> bool:
    return not folder or file.startswith(_prefix(folder))


def _prefix(folder: str) -> str:
    return folder.rstrip("/") + "/"


def _quoted(text: str) -> str:
    return "'" + as_utf8(text).replace("'", "''") + "'"


def as_utf8(text: str) -> str:
    """Return a text that may hold a file name's odd bytes as a table can have it: they become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
