"""What there is to index, and what of it an index already has.

A clip is the same as before when its file has the size and time of last change noted in the index, or else
the same content. A clip that is gone but whose content turns up elsewhere has moved: its vectors are kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_common.files import find_audio

from ml_clap.bulk.places import is_url, written
from ml_clap.data.statuses import Status, find_statuses
from ml_clap.search.store import Entry

if TYPE_CHECKING:
    from ml_clap.data.manifest import Clip
    from ml_clap.data.shards.reading import Place


@dataclass(frozen=True)
class Found:
    """A clip to index, before its file is opened."""

    id: str
    path: Path
    """Absolute, or an fsspec URL; of a sound in a shard the shard's with the member's name."""
    file: str
    """As `Entry.file`."""
    size: int
    mtime_ns: int
    captions: dict[str, list[str]] = field(default_factory=dict)
    label: str | None = None
    licence: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    """As `Entry.metadata`."""
    duration: float | None = None
    """Seconds, where a manifest or shard says it; it is measured again."""
    place: Place | None = None
    """Where the sound is in a shard; None: it is a file."""

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine, which can be opened as it is."""
        return self.place is None and not is_url(self.path)


@dataclass(frozen=True)
class Missing:
    """A clip of a manifest whose file is not there, or a line that is none."""

    path: Path
    """The file, or `MANIFEST:LINE`."""
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run has to do."""

    kept: list[tuple[int, Entry]]
    """Line numbers of the clips that stay, with their records brought up to date."""
    new: list[Found]
    """Clips to encode: new ones and changed ones."""
    changed: frozenset[str]
    """Ids of those of `new` that replace a clip of the same name."""
    moved: int
    """Number of clips of `kept` that have another name than before."""
    vanished: list[Entry]
    """Clips whose file is gone; they stay only where the caller puts them into `kept`."""


def scan(source: Path, language: str = "eng_Latn") -> tuple[list[Found], list[Missing]]:
    """Return the clips of a folder (read recursively, without hidden files) or of a manifest, in order.

    Raises:
        FileNotFoundError: there is no such folder or file.
    """
    source = source.absolute()
    if source.is_dir():
        return _scan_folder(source)
    if source.is_file():
        return scan_manifest(source, language)
    raise FileNotFoundError(f"{source} is neither a folder nor a manifest: check the path")


def _scan_folder(folder: Path) -> tuple[list[Found], list[Missing]]:
    found, missing = [], []
    for path in find_audio(folder):
        name = path.relative_to(folder).as_posix()
        try:
            status = path.stat()
        except OSError as e:
            missing.append(Missing(path, _say_unreachable(path, e)))
        else:
            found.append(Found(name, path, name, status.st_size, status.st_mtime_ns))
    return found, missing


def _say_unreachable(path: Path, error: OSError) -> str:
    return f"{path} cannot be opened: {error.strerror}; check the path and its permissions"


def scan_manifest(manifest: Path, language: str) -> tuple[list[Found], list[Missing]]:
    """Return the clips of a manifest, which may be behind a URL, as may its sounds."""
    from ml_clap.data.manifest import BadRow, read_manifest

    bad_rows: list[BadRow] = []
    clips = read_manifest(manifest, language=language, bad_rows=bad_rows)
    found, missing = [], [Missing(Path(row.where), row.message) for row in bad_rows]
    remote = [written(clip.audio) for clip in clips if is_url(clip.audio)]
    statuses = find_statuses(remote) if remote else {}
    for clip in clips:
        status = statuses.get(written(clip.audio)) if is_url(clip.audio) else _status_of(clip.audio)
        if isinstance(status, Status):
            found.append(found_of(clip, _file_of(clip.audio, manifest.parent), status))
        else:
            missing.append(Missing(clip.audio, status or f"{written(clip.audio)} is not there"))
    return found, missing


def _status_of(path: Path) -> Status | str:
    try:
        status = path.stat()
    except OSError as e:
        return _say_unreachable(path, e)
    return Status(status.st_size, status.st_mtime_ns)


def _file_of(audio: Path, folder: Path) -> str:
    below = not is_url(audio) and audio.is_relative_to(folder)
    return audio.relative_to(folder).as_posix() if below else written(audio)


def found_of(clip: Clip, file: str, status: Status, place: Place | None = None, name: str = "") -> Found:
    """Return a clip of a manifest or shard as a clip to index.

    Args:
        clip: what the manifest says.
        file: as `Entry.file`.
        status: of the sound's file, or of its bytes in a shard.
        place: where it is in a shard.
        name: its id, where the clip's own will not do.
    """
    return Found(
        id=name or clip.id,
        path=clip.audio,
        file=file,
        size=status.size,
        mtime_ns=status.mtime_ns,
        captions={language: list(texts) for language, texts in clip.captions.items()},
        label=clip.label,
        licence=clip.licence,
        metadata=_metadata(clip),
        duration=clip.duration,
        place=place,
    )


def _metadata(clip: Clip) -> dict[str, Any]:
    """Return the manifest's further keys, and its split."""
    return {**({} if clip.split is None else {"split": clip.split}), **clip.extra}


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plan_update(
    entries: Sequence[Entry], found: Sequence[Found], digest: Callable[[Path], str] = sha256
) -> Plan:
    """Compare an index with what is there now.

    Args:
        entries: the index's clips, by line number.
        found: the clips that are there now.
        digest: content hash of a file; asked only where size and time of change do not decide.
    """
    known = {entry.id: number for number, entry in enumerate(entries)}
    kept: list[tuple[int, Entry]] = []
    unplaced, changed = [], set()
    for clip in found:
        number = known.pop(clip.id, None)
        # A clip of the same name and content is kept; its hash is computed only where its time differs.
        if number is not None and _is_same(entries[number], clip, digest):
            kept.append((number, _renewed(entries[number], clip)))
        else:
            unplaced.append(clip)
            if number is not None:
                changed.add(clip.id)
    moved, new = _find_moved({number: entries[number] for number in known.values()}, unplaced, digest)
    taken = {number for number, _ in moved}
    vanished = [entries[number] for number in sorted(known.values()) if number not in taken]
    return Plan(sorted(kept + moved, key=lambda pair: pair[0]), new, frozenset(changed), len(moved), vanished)


def _find_moved(
    gone: dict[int, Entry], unplaced: Sequence[Found], digest: Callable[[Path], str]
) -> tuple[list[tuple[int, Entry]], list[Found]]:
    sizes = {entry.size for entry in gone.values()}
    numbers = {entry.sha256: number for number, entry in gone.items()}
    moved, new = [], []
    for clip in unplaced:
        number = numbers.pop(_digest_or_none(clip.path, digest) or "", None) if clip.size in sizes else None
        if number is None:
            new.append(clip)
        else:
            moved.append((number, _renewed(gone[number], clip)))
    return moved, new


def _is_same(entry: Entry, clip: Found, digest: Callable[[Path], str]) -> bool:
    if entry.size != clip.size:
        return False
    return entry.mtime_ns == clip.mtime_ns or entry.sha256 == _digest_or_none(clip.path, digest)


def _digest_or_none(path: Path, digest: Callable[[Path], str]) -> str | None:
    try:
        return digest(path)
    except OSError:  # encoding it will fail too, and say so
        return None


def _renewed(entry: Entry, clip: Found) -> Entry:
    return dataclasses.replace(
        entry,
        id=clip.id,
        file=clip.file,
        mtime_ns=clip.mtime_ns,
        captions=clip.captions,
        label=clip.label,
        licence=clip.licence,
        metadata=clip.metadata,
    )
