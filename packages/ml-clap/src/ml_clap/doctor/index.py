"""An index of `ml-clap index`: whether it is whole, and still fits its sounds and its model."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from ml_clap.doctor.finding import Finding, set_aside
from ml_clap.lock import LOCK, BusyError, sole_writer
from ml_clap.search.approximate import read_state
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.lance import read_lance_state
from ml_clap.search.store import (
    FORMAT,
    AudioIndexError,
    is_elsewhere,
    silent_path,
    sound_path,
    spans_path,
    vectors_path,
)
from ml_clap.search.vectors import BLOCK_ROWS, declared_rows, open_rows


def index_findings(folder: Path) -> list[Finding]:
    """Look at the folder of an index."""
    name = shlex.quote(str(folder))
    if busy := _busy(folder):
        return [Finding("note", "index", f"{folder}: {busy}", f"ls -l {name}")]
    try:
        index = AudioIndex.open(folder)
        num_entries = sum(1 for _ in index.entries)  # each of them is read
        damage = _damage(index)
    except (AudioIndexError, OSError, ValueError) as error:
        text = f"{' '.join(str(error).split())}; put it aside, and `ml-clap index` makes it anew"
        return [Finding("fault", "index", text, set_aside(folder))]
    settings = index.settings
    update = f"ml-clap index {shlex.quote(settings.source)} --out {name}"
    if damage:
        anew = f"{update} --model {shlex.quote(settings.model)}"
        text = f"{folder} is damaged: {damage}; put it aside, and `{anew}` makes it anew"
        return [Finding("fault", "index", text, set_aside(folder))]
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
    found += [*_sounds(folder, index, update), *_engines(index, update)]
    return [*found, _summary(folder, index, num_entries)]


def _damage(index: AudioIndex) -> str:
    """Return what does not fit among an index's vectors, windows and clips, or nothing."""
    folder, generation = index.folder, index.settings.generation
    for path in (file(folder, generation) for file in (vectors_path, spans_path, silent_path)):
        if path.exists() and (there := len(open_rows(path))) != (declared := declared_rows(path)):
            return f"{path.name} is cut off, {there:,} of {declared:,} rows are there"
    vectors = declared_rows(vectors_path(folder, generation))
    # A run that was stopped may leave vectors without windows; they do not count.
    if vectors < index.num_windows or (index.settings.complete and vectors != index.num_windows):
        return f"it has {vectors:,} vectors for {index.num_windows:,} windows"
    silent = silent_path(folder, generation)
    for spans in [index.spans, *([open_rows(silent)] if silent.exists() else [])]:
        if len(spans) and (last := int(spans["entry"].max())) >= len(index.lines):
            return f"a window is of clip {last + 1:,}, and {len(index.lines):,} clips are there"
    for first in range(0, index.num_windows, BLOCK_ROWS):
        bad = ~np.isfinite(index.vectors[first : first + BLOCK_ROWS]).all(axis=1)
        if bad.any():
            return f"vector {first + int(bad.argmax()) + 1:,} is not finite"
    return ""


def _sounds(folder: Path, index: AudioIndex, update: str) -> list[Finding]:
    """Name what was moved, removed or changed since; such files cannot be played, or sound otherwise."""
    missing, changed = [], []
    for entry in index.entries:
        if is_elsewhere(entry.file):
            continue
        file = sound_path(index.settings.root, entry.file)
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


def _engines(index: AudioIndex, update: str) -> list[Finding]:
    """Say how exact the engines are that are kept beside the vectors, and whether they hold all of these."""
    name = vectors_path(index.folder, index.settings.generation).name
    kept: list[tuple[str, str, bool, int]] = []
    for engine, kind in (("faiss", "ivf"), ("hnsw", "hnsw")):
        if (faiss := read_state(index.folder / f"faiss-{kind}")) is not None:
            kept.append((engine, faiss.describe(), faiss.vectors == name, faiss.rows))
    if (lance := read_lance_state(index.folder)) is not None:
        is_same = lance.generation == index.settings.generation
        kept.append(("lancedb", f"{lance.describe()}, in {lance.place}", is_same, lance.rows))
    found = []
    for engine, text, is_same, rows in kept:
        if is_same and rows == index.num_windows:
            found.append(Finding("ok", "index", f"{index.folder}: {text}"))
        else:
            behind = (
                f"of {rows:,} windows, before the last change; the next search brings it up to date, or now"
            )
            found.append(
                Finding("note", "index", f"{index.folder}: {text}, {behind}", f"{update} --engine {engine}")
            )
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
