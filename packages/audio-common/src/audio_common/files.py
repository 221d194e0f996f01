"""Find sound files: which files of a folder are sound, and which of them has a given name.

    >>> is_audio("rain.WAV"), is_audio(".rain.wav"), is_audio("rain.txt")
    (True, False, False)

Only names are looked at here; whether a file really holds sound is for `audio_common.check` to find out.
"""

from __future__ import annotations

import os
import unicodedata
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".aif", ".aiff", ".au", ".caf", ".rf64", ".w64"),
    *(".mp3", ".ogg", ".oga", ".opus", ".aac", ".m4a", ".mka", ".mp4", ".webm", ".wma"),
)
"""Endings, in any case, of the files that are taken for sound."""


def is_audio(path: str | PurePath) -> bool:
    """Tell by its name whether a file is sound: one of `AUDIO_SUFFIXES`, and not hidden."""
    path = PurePath(path)
    return not path.name.startswith(".") and path.suffix.lower() in AUDIO_SUFFIXES


def walk_files(folder: str | Path) -> list[Path]:
    """List the files below a folder, sorted by path; hidden files and folders are left out.

    Links to folders are followed, and each folder is read once, however many links lead to it: a link back to
    a folder above it ends there. Where a folder is found both itself and through a link, its own path counts.
    """
    files: list[Path] = []
    visited: set[tuple[int, int]] = set()
    # Links wait until all real folders are read, so that a link never takes the place of the folder itself.
    waiting = deque([Path(folder)])
    while waiting:
        for parent, folders, names in os.walk(waiting.popleft()):
            if not _is_first_visit(parent, visited):
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [Path(parent, name) for name in folders if os.path.islink(os.path.join(parent, name))]
            files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(files)


def _is_first_visit(folder: str, visited: set[tuple[int, int]]) -> bool:
    try:
        status = os.stat(folder)
    except OSError:  # removed since it was listed
        return False
    identity = (status.st_dev, status.st_ino)
    is_first = identity not in visited
    visited.add(identity)
    return is_first


def find_audio(folder: str | Path) -> list[Path]:
    """List the sounds below a folder, sorted by path; see `walk_files` and `is_audio`."""
    return [path for path in walk_files(folder) if is_audio(path)]


class AudioFolder:
    """The files below a folder, found by name whatever sub-folder they lie in.

    Names are compared without regard to case, Unicode composition and the number of spaces, in which
    published lists and unpacked archives differ; names without suffix exactly, as they are identifiers.

    Args:
        folder: read once, when this is made; see `walk_files`.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not os.path.isdir(folder):  # unlike Path, also for a name that no folder can have
            raise FileNotFoundError(f"there is no folder of sounds {folder}; check its path")
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in walk_files(self.folder):
            self._by_name.setdefault(_plain(path.name), []).append(path)
            if is_audio(path):
                self._by_stem.setdefault(path.stem, []).append(path)

    def find(self, name: str) -> Path:
        """Return the file with this path below the folder, or else with this name.

        Raises:
            LookupError: there is none, or there are several in different folders.
        """
        direct = self.folder / name
        return direct if os.path.isfile(direct) else self._only(self._by_name, [_plain(PurePath(name).name)])

    def find_stem(self, stems: Iterable[str]) -> Path:
        """Return the sound whose name without suffix is the first of these that any sound has.

        Raises:
            LookupError: there is none, or there are several in different folders.
        """
        return self._only(self._by_stem, list(stems))

    def _only(self, table: Mapping[str, list[Path]], names: list[str]) -> Path:
        for name in names:
            found = table.get(name, [])
            if len(found) > 1:
                raise LookupError(
                    f"several files below {self.folder} are named {name}: {found[0]}, {found[1]}"
                )
            if found:
                return found[0]
        listed = " or ".join(name if len(name) < 300 else f"{name[:300]}…" for name in names[:3])
        raise LookupError(f"no file below {self.folder} is named {listed}")


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())
