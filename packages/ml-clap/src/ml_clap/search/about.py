"""What an archive holds and what searches it, for the foot of a page: size, model, licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_clap.search.answers import clock
from ml_clap.tables import count_of

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.search.audio_index import AudioIndex

LICENCES_SHOWN = 4
"""Licences of the sounds that are named; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What an archive holds and what searches it."""

    name: str
    """Of the index's folder."""
    num_clips: int
    num_windows: int
    seconds: float
    """Sound in the archive."""
    window_seconds: float
    model: str
    """Where it is, shortened; or its name on the hub."""
    kind: str
    model_licence: str
    sound_licences: tuple[tuple[str, int], ...]
    """(licence, clips) as far as the manifest names them, the most frequent first."""

    def lines(self) -> list[str]:
        """Say it in three lines."""
        minutes = clock(self.seconds).rpartition(".")[0]
        hop = f"windows of {self.window_seconds:g} s"
        return [
            f"{count_of(self.num_clips, 'clip')} in {self.name}, {minutes} of sound, "
            f"{count_of(self.num_windows, 'vector')} ({hop})",
            f"Model {self.model} ({self.kind}); licence of its weights: {self.model_licence}",
            f"Licences of the sounds: {self._say_licences()}",
        ]

    def _say_licences(self) -> str:
        if not self.sound_licences:
            return "not named by the index"
        named = [f"{name} ({many:,})" for name, many in self.sound_licences[:LICENCES_SHOWN]]
        more = len(self.sound_licences) - LICENCES_SHOWN
        return ", ".join([*named, *([f"{more} more"] if more > 0 else [])])


def describe_archive(index: AudioIndex, model: DualEncoder) -> About:
    """Return what an index holds and what model searches it."""
    licences = Counter(entry.licence for entry in index.entries if entry.licence)
    return About(
        name=index.folder.absolute().name,
        num_clips=index.num_clips,
        num_windows=index.num_windows,
        seconds=sum(entry.duration for entry in index.entries),
        window_seconds=index.settings.window_seconds,
        model=short_model(index.settings.model),
        kind=model.kind,
        model_licence=model.licence,
        sound_licences=tuple(licences.most_common()),
    )


def short_model(name: str) -> str:
    """Return a hub's name as it is, and of a path the end: a page is no place for a machine's folders.

    >>> short_model("/home/me/runs/clotho/best"), short_model("laion/clap-htsat-unfused")
    ('runs/clotho/best', 'laion/clap-htsat-unfused')
    """
    parts: Sequence[str] = Path(name).parts
    return "/".join(parts[-3:]) if Path(name).is_absolute() else name


def folders_of(index: AudioIndex) -> list[str]:
    """Return the folders of the clips below the index's root, and those above them, sorted."""
    folders = {
        parent.as_posix()
        for entry in index.entries
        if not Path(entry.file).is_absolute()
        for parent in Path(entry.file).parents
    }
    return sorted(folders - {"."})
