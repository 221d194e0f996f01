"""What was translated and judged so far, a line for each batch: a kill loses the batch that was in work.

The first line holds the settings that decide the texts; a command with others is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_common.strict_json import read_records

from ml_clap.files import append_line
from ml_clap.output import Progress

Key = str | tuple[str, ...]
"""A text, or a source and its translation."""


@dataclass(frozen=True)
class Stage:
    """A kind of work on the texts of a language, whose results a journal keeps."""

    name: str
    language: str
    """FLORES code."""
    keys: Sequence[Any]
    """What the work is done for; none twice."""
    lengths: Sequence[int]
    """Of the keys: those of like length are done together."""
    work: Callable[[list[Any]], Sequence[Any]]
    """Gives the results of a batch of keys, as JSON knows them."""
    description: str
    """What the progress says."""


class Journal:
    """Results by stage of the work, language and text, in memory and in a file.

    Args:
        path: the file; made with the first line that is written. To be used by its only writer.
        settings: what decides the results.

    Raises:
        ValueError: the file is of a command with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = dict(settings)
        self._done: dict[tuple[str, str], dict[Key, Any]] = {}
        _drop_cut_line(path)
        records = read_records(path)
        if not records:
            append_line(path, {"stage": "settings", **settings})
            return
        _compare(records[0], settings, path)
        for record in records[1:]:
            self._keep(record["stage"], record["language"], record["keys"], record["values"])

    def results(self, stage: str, language: str) -> Mapping[Key, Any]:
        """Return what is done of a stage of a language."""
        return self._done.setdefault((stage, language), {})

    def list_left(self, stage: Stage, batch_size: int) -> list[list[Any]]:
        """Return the batches of a stage that are not done, or the rest of them."""
        done = self.results(stage.name, stage.language)
        # Batches of all keys, done or not: a command that goes on makes those of one that was not stopped.
        order = sorted(range(len(stage.keys)), key=lambda number: stage.lengths[number])
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        left = [
            [stage.keys[number] for number in batch if stage.keys[number] not in done] for batch in batches
        ]
        return [batch for batch in left if batch]

    def fill(self, stage: Stage, batch_size: int) -> Mapping[Key, Any]:
        """Do what is not done of a stage, in batches of like length, each written when it is done."""
        left = self.list_left(stage, batch_size)
        with Progress(
            stage.description, len(stage.keys), start=len(stage.keys) - sum(map(len, left))
        ) as shown:
            for batch in left:
                self.add(stage.name, stage.language, batch, list(stage.work(batch)))
                shown.advance(len(batch))
        return self.results(stage.name, stage.language)

    def add(self, stage: str, language: str, keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Write the results of a batch."""
        record = {"stage": stage, "language": language, "keys": keys, "values": values}
        append_line(self.path, record)
        self._keep(stage, language, keys, values)

    def _keep(self, stage: str, language: str, keys: Sequence[Any], values: Sequence[Any]) -> None:
        done = self._done.setdefault((stage, language), {})
        done.update(
            (tuple(key) if isinstance(key, list) else key, value)
            for key, value in zip(keys, values, strict=True)
        )


def _drop_cut_line(path: Path) -> None:
    """Take away a last line that a kill cut: the next one would be appended to it."""
    content = path.read_bytes() if path.is_file() else b""
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _compare(found: Mapping[str, Any], settings: Mapping[str, Any], path: Path) -> None:
    differing = [name for name, value in settings.items() if found.get(name) != value]
    if found.get("stage") != "settings" or differing:
        what = "; ".join(f"{name} was {found.get(name)!r} and is {settings[name]!r}" for name in differing)
        raise ValueError(
            f"{path} was begun with other settings ({what or 'it names none'}): give another --out, or "
            "remove that folder"
        )
