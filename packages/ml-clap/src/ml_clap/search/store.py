"""An index on disk: an open format, written so that a kill at any moment loses at most one batch.

A folder of
- `index.json`: the settings, the model's fingerprint and the generation N of the files below;
- `entries-N.jsonl`: one line per clip (file, size, content hash, duration, captions);
- `vectors-N.npy`: (windows, dim) L2-normalized embeddings, float32 or float16;
- `spans-N.npy`: (windows,) of which clip (line of the entries, from 0) a vector is, from and to which second;
- `silent-N.npy`: the windows in which there is no sound, which therefore have no vector (from format 2 on);
- `bad_files.jsonl`: what could not be read at the last run, and why;
- `left_out.jsonl`: what has no sound, or too little of it, and is not indexed for that reason.

A batch's vectors are written before its spans, so the spans say which vectors count. Clips leave an index
only by a copy into generation N + 1, to which index.json then points: no reader sees a half-removed clip.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from audio_common.config import CHANNELS, Channel
from audio_common.strict_json import parse_object, read_object

from ml_clap.bulk.places import is_url
from ml_clap.data.shards.places import ENDINGS
from ml_clap.files import TEMPORARY, to_json, write_atomically, write_json
from ml_clap.lock import sole_writer
from ml_clap.search.vectors import BLOCK_ROWS, NpyLog, open_rows

Record = TypeVar("Record")

FORMAT = 2
READABLE = (1, 2)
"""Formats that are read; 1 has no metadata and no silent windows, and becomes 2 when clips are added."""
ENDS_SUFFIX = ".ends.npy"
"""Ending of a file beside a large entries file that says where its lines end (`search.lines`)."""
KINDS_SUFFIX = ".kinds.json"
"""Ending of a file beside it that says how the values of the manifest's keys are compared (`AudioIndex`)."""
SPAN = np.dtype([("entry", "<u4"), ("start", "<f8"), ("end", "<f8")])
"""A window: the clip's line number in the entries, start and end in seconds."""

OWN_NAMES = (
    "index.json",
    ".lock",
    "entries-",
    "vectors-",
    "spans-",
    "silent-",
    "bad_files.jsonl",
    "left_out.jsonl",
    "faiss-",
    "lance",
)


class AudioIndexError(ValueError):
    """An index that is missing, of another model or other settings, or being written by someone else."""


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What `index.json` holds."""

    format: int = FORMAT
    """Version of this layout."""
    model: str
    """Folder or hub id of the model, as it was given."""
    fingerprint: str
    """The model's fingerprint: vectors of different models cannot be compared."""
    dim: int
    """Width of a vector."""
    dtype: Literal["float32", "float16"]
    """How vectors are stored."""
    window_seconds: float
    hop_seconds: float
    source: str
    """Absolute path of the folder or manifest of the last run."""
    channel: Channel = "mean"
    """What was made of several channels."""
    root: str
    """The clips' paths are relative to this folder."""
    generation: int = 0
    """N of the files' names."""
    complete: bool = False
    """Whether the last run reached its end."""
    independence: float | None = None
    """Largest difference between some clips' embeddings alone and beside others; None: not measured yet."""

    def __post_init__(self) -> None:
        _check_kind(self, str, "model", "fingerprint", "source", "root")
        _check_kind(self, int, "dim", "generation")
        _check_kind(self, (int, float), "window_seconds", "hop_seconds")
        if self.independence is not None:
            _check_kind(self, (int, float), "independence")
        if self.dtype not in ("float32", "float16") or self.channel not in CHANNELS:
            raise ValueError(f"dtype is {self.dtype!r}, channel {self.channel!r}")


@dataclass(frozen=True)
class Entry:
    """A clip of an index: one line of the entries."""

    id: str
    """The manifest's id, or the path relative to the folder."""
    file: str
    """Path relative to the index's root, or absolute if outside it, or an fsspec URL."""
    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str
    duration: float
    """Seconds."""
    captions: dict[str, list[str]] = field(default_factory=dict)
    label: str | None = None
    licence: str | None = None
    problem: str | None = None
    """Why only a part of the file, of the given duration, could be read."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Further keys of the manifest, by which a search can be narrowed."""

    def __post_init__(self) -> None:
        _check_kind(self, str, "id", "file", "sha256")
        _check_kind(self, int, "size", "mtime_ns")
        _check_kind(self, (int, float), "duration")
        _check_kind(self, dict, "captions", "metadata")


def json_line(record: Any) -> bytes:
    """Return a record as a line of a JSON Lines file."""
    return to_json(record) + b"\n"


def read_settings(folder: Path) -> IndexSettings:
    """Return the settings of an index.

    Raises:
        AudioIndexError: the folder holds no index, or one of another format.
    """
    path = folder / "index.json"
    if not path.is_file():
        raise AudioIndexError(f"{folder} is not an index (no index.json): make one with `ml-clap index`")
    record = read_object(path)
    if record.get("format") not in READABLE:
        raise AudioIndexError(
            f"{path}: this version reads format {FORMAT}, got {record.get('format')}; make the index anew"
        )
    return _record(IndexSettings, record, str(path))


def entries_path(folder: Path, generation: int) -> Path:
    """Return the path of a generation's clips."""
    return folder / f"entries-{generation:06d}.jsonl"


def vectors_path(folder: Path, generation: int) -> Path:
    """Return the path of a generation's vectors."""
    return folder / f"vectors-{generation:06d}.npy"


def is_elsewhere(file: str) -> bool:
    """Tell whether the sound of an entry is no file of this machine: behind a URL, or in a shard."""
    return is_url(file) or any(part.endswith(ENDINGS) for part in Path(file).parent.parts)


def sound_path(root: str | Path, file: str) -> Path:
    """Return where the sound of an entry is: its file below the index's root, or a URL as it is."""
    return Path(file) if is_url(file) else Path(root, file)


def spans_path(folder: Path, generation: int) -> Path:
    """Return the path of a generation's windows."""
    return folder / f"spans-{generation:06d}.npy"


def silent_path(folder: Path, generation: int) -> Path:
    """Return the path of a generation's windows without sound; an index of format 1 has none."""
    return folder / f"silent-{generation:06d}.npy"


def read_entry(line: bytes, where: str) -> Entry:
    """Return the clip of a line of the entries; `where` names it in errors."""
    return _record(Entry, parse_object(line, where), where)


def _record(kind: type[Record], values: dict[str, Any], where: str) -> Record:
    try:
        return kind(**values)
    except (TypeError, ValueError) as e:  # TypeError: other fields than it has
        raise AudioIndexError(f"{where}: {str(e).removeprefix(kind.__name__ + '.')}") from e


def _check_kind(record: Any, kind: type | tuple[type, ...], *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}")


def entry_lines(path: Path) -> list[bytes]:
    """Return the complete lines of an entries file; one that a kill cut short is skipped."""
    return path.read_bytes().split(b"\n")[:-1]


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the index for writing; the system frees it when the process ends, however it ends.

    Raises:
        AudioIndexError: the folder is somebody else's.
        BusyError: another process holds it.
    """
    # A kill may have left a file that was being written.
    names = [path.name for path in folder.iterdir() if path.suffix != TEMPORARY] if folder.exists() else []
    strangers = [name for name in names if not name.startswith(OWN_NAMES)]
    if strangers and not (folder / "index.json").exists():
        raise AudioIndexError(
            f"{folder} is not an index but holds {sorted(strangers)[0]}: give an empty folder"
        )
    with sole_writer(folder, folder=True):
        yield


class IndexWriter:
    """Appends clips and their vectors to an index. Use within `writing`.

    Attributes:
        settings: what index.json holds.
        entries: the clips, by line number.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = read_settings(folder)
        self._remove_strays()
        self._open()

    @classmethod
    def create(cls, folder: Path, settings: IndexSettings) -> IndexWriter:
        """Make a new index without clips."""
        entries_path(folder, settings.generation).write_bytes(b"")
        NpyLog.create(spans_path(folder, settings.generation), SPAN).close()
        NpyLog.create(silent_path(folder, settings.generation), SPAN).close()
        vectors = vectors_path(folder, settings.generation)
        NpyLog.create(vectors, np.dtype(settings.dtype), (settings.dim,)).close()
        write_json(folder / "index.json", settings)
        return cls(folder)

    def update(self, **changes: Any) -> None:
        """Replace fields of the settings, on disk too."""
        self.settings = dataclasses.replace(self.settings, **changes)
        write_json(self.folder / "index.json", self.settings)

    def windows(self) -> np.ndarray:
        """Return the windows that are in the index: (windows,) of `SPAN`."""
        return np.array(open_rows(spans_path(self.folder, self.settings.generation))[: self._spans.rows])

    def silent_windows(self) -> np.ndarray:
        """Return the windows that are known to hold no sound: (windows,) of `SPAN`."""
        return np.array(open_rows(silent_path(self.folder, self.settings.generation))[: self._silent.rows])

    def add_silent(self, spans: Sequence[tuple[int, float, float]]) -> None:
        """Append windows without sound; on disk when this returns."""
        self._silent.append(np.array(list(spans), SPAN))

    def forget_silent(self) -> None:
        """Forget which windows hold no sound: they are to be encoded as any other."""
        self._silent.truncate(0)

    def add_entries(self, entries: Iterable[Entry]) -> list[int]:
        """Append clips; returns their line numbers. They become findable by `add_windows`."""
        first = len(self.entries)
        new = list(entries)
        self._entries_file.write(b"".join(json_line(entry) for entry in new))
        self._entries_file.flush()
        os.fsync(self._entries_file.fileno())
        self.entries.extend(new)
        return list(range(first, len(self.entries)))

    def add_windows(self, spans: Sequence[tuple[int, float, float]], vectors: np.ndarray) -> None:
        """Append windows (entry, start, end) and their vectors (windows, dim); on disk when this returns."""
        # In this order: a span without its vector would be a window that cannot be searched.
        self._vectors.append(vectors)
        self._spans.append(np.array(list(spans), SPAN))

    def replace_entries(self, kept: Sequence[tuple[int, Entry]]) -> None:
        """Make the index consist of these clips: (line number of before, record of now)."""
        if [number for number, _ in kept] == list(range(len(self.entries))):
            if [entry for _, entry in kept] != self.entries:
                self._rewrite_entries([entry for _, entry in kept])
            return
        generation = self.settings.generation + 1
        self._copy(kept, generation)
        self.close()
        self.update(generation=generation)
        self._remove_strays()
        self._open()

    def remove(self) -> None:
        """Delete the index, of which nothing is to be kept."""
        self.close()
        for path in self.folder.iterdir():
            if path.name.startswith(OWN_NAMES) and path.name != ".lock" and path.is_file():
                path.unlink()

    def close(self) -> None:
        """Close the files; the index is valid without it."""
        self._entries_file.close()
        self._vectors.close()
        self._spans.close()
        self._silent.close()

    def _open(self) -> None:
        generation = self.settings.generation
        path = entries_path(self.folder, generation)
        lines = entry_lines(path)
        self.entries = [read_entry(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]
        self._entries_file = path.open("r+b")
        self._entries_file.truncate(sum(len(line) + 1 for line in lines))
        self._entries_file.seek(0, os.SEEK_END)
        self._vectors = NpyLog(vectors_path(self.folder, generation))
        self._spans = NpyLog(spans_path(self.folder, generation))
        silent = silent_path(self.folder, generation)
        if not silent.exists():  # an index of format 1
            write_atomically(silent, lambda path: NpyLog.create(path, SPAN).close())
        self._silent = NpyLog(silent)
        # A kill between the two appends leaves vectors without spans: they are encoded again.
        rows = min(self._vectors.rows, self._spans.rows)
        self._vectors.truncate(rows)
        self._spans.truncate(rows)

    def _rewrite_entries(self, entries: list[Entry]) -> None:
        self._entries_file.close()
        path = entries_path(self.folder, self.settings.generation)
        write_atomically(path, b"".join(json_line(entry) for entry in entries))
        self.entries = entries
        self._entries_file = path.open("r+b")
        self._entries_file.seek(0, os.SEEK_END)

    def _copy(self, kept: Sequence[tuple[int, Entry]], generation: int) -> None:
        """Write the kept clips' rows, renumbered, as another generation."""
        lines = b"".join(json_line(entry) for _, entry in kept)
        write_atomically(entries_path(self.folder, generation), lines)
        renumber = np.full(len(self.entries), -1)
        renumber[[number for number, _ in kept]] = np.arange(len(kept))
        old = open_rows(vectors_path(self.folder, self.settings.generation))
        windows, silent_windows = self.windows(), self.silent_windows()
        vectors = NpyLog.create(vectors_path(self.folder, generation), old.dtype, old.shape[1:])
        spans = NpyLog.create(spans_path(self.folder, generation), SPAN)
        silent = NpyLog.create(silent_path(self.folder, generation), SPAN)
        numbers = renumber[silent_windows["entry"]]
        silent_windows["entry"] = numbers.clip(0)
        silent.append(silent_windows[numbers >= 0])
        silent.close()
        for first in range(0, len(windows), BLOCK_ROWS):
            block = windows[first : first + BLOCK_ROWS]
            numbers = renumber[block["entry"]]
            block["entry"] = numbers.clip(0)
            vectors.append(old[first : first + BLOCK_ROWS][numbers >= 0])
            spans.append(block[numbers >= 0])
        vectors.close()
        spans.close()

    def _remove_strays(self) -> None:
        """Delete files of other generations (the one before, a copy cut short) and half-written ones."""
        generation = self.settings.generation
        files = (entries_path, vectors_path, spans_path, silent_path)
        current = {file(self.folder, generation) for file in files}
        patterns = (
            "entries-*.jsonl",
            "vectors-*.npy",
            "spans-*.npy",
            "silent-*.npy",
            f"entries-*{ENDS_SUFFIX}",
            f"entries-*{KINDS_SUFFIX}",
        )
        for pattern in (*patterns, f".*{TEMPORARY}"):
            for path in set(self.folder.glob(pattern)) - current:
                path.unlink()
