"""Folders of sounds: which of their files are passed over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from audio_common.files import is_audio, walk_files


def say_not_sound(source: Path, own: Path | None = None) -> tuple[str, ...]:
    """Say which files of a folder are not taken for sound by their names; nothing if all are.

    Args:
        source: the folder; nothing is said of a file.
        own: a folder whose files do not count, such as an index in the folder that it is made of.
    """
    if not source.is_dir():
        return ()
    inside = None if own is None else own.absolute()
    others = [
        path for path in walk_files(source) if not (is_audio(path) or inside in path.absolute().parents)
    ]
    if not others:
        return ()
    kinds = Counter(path.suffix or "no ending" for path in others)
    listed = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common(5))
    files = "1 file is" if len(others) == 1 else f"{len(others):,} files are"
    names = "its name" if len(others) == 1 else "their names"
    return (f"{files} not taken for sound by {names} ({listed}): rename sounds, or list them in a manifest",)
