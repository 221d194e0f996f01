"""An index of `ml-clap index`: whether it is whole, and still fits its sounds and its model."""

from __future__ import annotations

import shlex
from pathlib import Path

from ml_clap.doctor.finding import Finding
from ml_clap.lock import LOCK, BusyError, sole_writer
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.store import FORMAT, AudioIndexError


def index_findings(folder: Path) -> list[Finding]:
    """Look at the folder of an index."""
    name = shlex.quote(str(folder))
    try:
        index = AudioIndex.open(folder)
        entries = index.entries
    except (AudioIndexError, OSError, ValueError) as error:
        text = f"{' '.join(str(error).split())}; made anew, nothing else is lost"
        return [
            Finding(
                "fault", "index", text, f"rm -r {name} && ml-clap index SOURCE --model MODEL --out {name}"
            )
        ]
    settings = index.settings
    update = f"ml-clap index {shlex.quote(settings.source)} --out {name}"
    if busy := _busy(folder):
        return [Finding("note", "index", f"{folder}: {busy}", f"ls -l {name}")]
    found = []
    if not settings.complete:
        text = f"{folder} is not complete: its last run was stopped; the same command goes on"
        found.append(Finding("note", "index", text, update))
    model = Path(settings.model)
    is_path = settings.model.startswith((".", "/")) or settings.model.count("/") != 1
    if is_path and not model.exists():
        text = f"{folder}: its model {model} is not there (seen from {Path.cwd()}); say where it is"
        found.append(Finding("fault", "index", text, f"ml-clap search {name} QUERY --model /where/it/is"))
    if settings.format != FORMAT:
        text = f"{folder} has format {settings.format}; an update makes it {FORMAT}, with silence left out"
        found.append(Finding("note", "index", text, update))
    return [*found, *_sounds(folder, index, update), _summary(folder, index, len(entries))]


def _sounds(folder: Path, index: AudioIndex, update: str) -> list[Finding]:
    """Name what was moved, removed or changed since; such files cannot be played, or sound otherwise."""
    missing, changed = [], []
    for entry in index.entries:
        file = Path(index.settings.root) / entry.file
        try:
            is_same = file.stat().st_size == entry.size
        except OSError:
            missing.append(file)
            continue
        if not is_same:
            changed.append(file)
    found = []
    for what, files in (("are not there", missing), ("were changed since", changed)):
        if files:
            text = f"{folder}: {len(files):,} of {len(index.entries):,} sounds {what}, the first: {files[0]}"
            found.append(Finding("fault", "index", text, update))
    return found


def _summary(folder: Path, index: AudioIndex, num_entries: int) -> Finding:
    windows = f"{num_entries:,} clips, {len(index.spans):,} windows of {index.settings.window_seconds:g} s"
    return Finding("ok", "index", f"{folder}: {windows}, by {index.settings.model}")


def _busy(folder: Path) -> str:
    """Return who is writing it now, if anyone."""
    if not (folder / LOCK).exists():
        return ""
    try:
        with sole_writer(folder, folder=True):
            return ""
    except BusyError as error:
        return str(error).partition(":")[0]
    except OSError:  # of somebody else, so nobody of ours is writing
        return ""
