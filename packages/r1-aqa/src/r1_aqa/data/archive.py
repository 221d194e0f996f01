"""Unpack the sounds of a downloaded archive: only sounds, only below the folder, whole or not at all.

An archive comes from elsewhere. A path that leads out of the folder, a link, a device, and more data than
sound compresses into make the whole archive refused; what is no sound is left in it. A killed unpacking goes
on: sounds that are there with their full length are kept, and only a mark at the end says that all are there.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from audio_common.files import is_audio
from audio_common.strict_json import JSONError, read_object

from r1_aqa.files import TEMPORARY, remove_leftovers, write_json
from r1_aqa.output import Progress

logger = logging.getLogger(__name__)

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
"""Endings of the archives that can be unpacked."""
MAX_SOUNDS = 200_000
MAX_SOUND_BYTES = 4 << 30
MAX_RATIO = 100
"""Unpacked bytes for each byte of the archive: but for silence, sound is hardly made smaller by zip."""
MIN_TOTAL_BYTES = 1 << 30
"""Unpacked bytes that a small archive may hold at any ratio: a few clips may be silent."""
MARK = ".unpacked-{name}.json"
"""Written when all of an archive is there."""


class ArchiveError(ValueError):
    """An archive that is damaged, or that is not unpacked for safety; the message says what to do."""


@dataclass(frozen=True)
class _Sound:
    name: PurePosixPath
    size: int
    """Bytes, as the archive says; never more are written."""
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that `unpack` reads."""
    return path.name.lower().endswith(SUFFIXES)


def is_unpacked(archive: Path, folder: Path) -> bool:
    """Tell whether all of an archive's sounds were unpacked into a folder."""
    try:
        return read_object(_mark(archive, folder)).get("bytes") == archive.stat().st_size
    except (OSError, JSONError):
        return False


def is_any_unpacked(folder: Path) -> bool:
    """Tell whether an archive was unpacked into a folder whole, though it may be gone since."""
    return any(folder.glob(MARK.format(name="*")))


def unpack(archive: Path, folder: Path) -> None:
    """Write the sounds of an archive below a folder, of which the caller is the only writer; once.

    Args:
        archive: `.zip`, `.tar`, `.tar.gz`.
        folder: made if it is missing.

    Raises:
        ArchiveError: it is damaged, or one of its members is not safe.
        OSError: it cannot be read, or the disk is full.
    """
    if is_unpacked(archive, folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        remove_leftovers(place)
    reader = _zip_sounds if archive.name.lower().endswith(".zip") else _tar_sounds
    count = 0
    with (
        _damage_is_told(archive),
        reader(archive, folder) as (sounds, total),
        Progress(f"Unpacking {archive.name}", total) as progress,
    ):
        for sound in sounds:
            _write(sound, folder)
            count += 1
            progress.advance()
    os.sync()
    write_json(_mark(archive, folder), {"bytes": archive.stat().st_size, "sounds": count})
    logger.info("%d sounds of %s are in %s", count, archive.name, folder)


def write_sound(path: Path, write: Callable[[Path], object]) -> None:
    """Write a sound whole or not at all; flushed by nobody but the caller, once for thousands of them."""
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}{TEMPORARY}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _mark(archive: Path, folder: Path) -> Path:
    return folder / MARK.format(name=archive.name)


def _write(sound: _Sound, folder: Path) -> None:
    path = folder / sound.name
    if path.is_file() and path.stat().st_size == sound.size:
        return
    # Links that somebody put there are not followed out of the folder.
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise ArchiveError(f"{path.parent} leads out of {folder}; remove the link, and try again")
    with sound.open() as content:
        write_sound(path, lambda place: _copy(content, place, sound.size))


def _copy(content: IO[bytes], place: Path, size: int) -> None:
    with place.open("wb") as file:
        left = size
        while left and (piece := content.read(min(left, 1 << 20))):
            left -= file.write(piece)
    if left:
        raise EOFError(f"{left} bytes are missing")


@contextmanager
def _zip_sounds(archive: Path, folder: Path) -> Iterator[tuple[Iterator[_Sound], int | None]]:
    with zipfile.ZipFile(archive) as opened:
        sounds = []
        for member in opened.infolist():
            # The upper half of the attributes is the mode of the system that made it: 0o12 is a link.
            kind = member.external_attr >> 28
            if kind not in (0, 0o4, 0o10):
                raise _unsafe(archive, member.filename, "is no plain file")
            if member.flag_bits & 1:
                raise _unsafe(archive, member.filename, "needs a password")
            if member.is_dir() or not _is_sound(name := _safe_name(archive, member.filename)):
                continue
            sounds.append(_Sound(name, member.file_size, lambda member=member: opened.open(member)))  # type: ignore[misc]
        guard = _Guard(archive)
        for sound in sounds:
            guard.count(sound)
        _require_room(folder, guard.total - _size_of(sounds, folder))
        yield iter(sounds), len(sounds)


@contextmanager
def _tar_sounds(archive: Path, folder: Path) -> Iterator[tuple[Iterator[_Sound], int | None]]:
    # As a stream: looking at all names first would unzip all of it twice.
    with tarfile.open(archive, "r|*") as opened:
        yield _from_stream(opened, archive, folder), None


def _from_stream(opened: tarfile.TarFile, archive: Path, folder: Path) -> Iterator[_Sound]:
    guard = _Guard(archive)
    for member in opened:
        name = _safe_name(archive, member.name)
        if member.isdir():
            continue
        if not member.isfile() or member.issparse():
            raise _unsafe(archive, member.name, "is no plain file")
        # What is no sound is unzipped, too, and could be without end.
        sound = _Sound(name, member.size, lambda member=member: _open_member(opened, member))  # type: ignore[misc]
        guard.count(sound)
        if _is_sound(name):
            if not (folder / name).is_file():
                _require_room(folder, member.size)
            yield sound


def _open_member(opened: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = opened.extractfile(member)
    assert content is not None, "a plain file has content"
    return content


class _Guard:
    """Refuses an archive that holds more than sound can be."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.total, self.number = archive, 0, 0
        self._most = max(MIN_TOTAL_BYTES, MAX_RATIO * archive.stat().st_size)

    def count(self, sound: _Sound) -> None:
        self.total += sound.size
        self.number += 1
        if sound.size > MAX_SOUND_BYTES:
            raise _unsafe(self.archive, str(sound.name), f"is larger than {MAX_SOUND_BYTES >> 30} GiB")
        if self.number > MAX_SOUNDS:
            raise _unsafe(self.archive, str(sound.name), f"is not within the first {MAX_SOUNDS} files")
        if self.total > self._most:
            ratio = f"{MAX_RATIO} times the archive's size"
            raise _unsafe(self.archive, str(sound.name), f"makes the unpacked files more than {ratio}")


def _safe_name(archive: Path, name: str) -> PurePosixPath:
    # Of Windows, too: the same archive may be unpacked there.
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise _unsafe(archive, name, "leads out of the folder")
    return path


def _is_sound(name: PurePosixPath) -> bool:
    # macOS puts `._x.wav` and `__MACOSX` beside what it packs.
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return is_audio(name) and not hidden


def _unsafe(archive: Path, name: str, why: str) -> ArchiveError:
    return ArchiveError(
        f"{archive}: {name[:200]!r} {why}; nothing of this archive is used. If you trust it, unpack it "
        "yourself and give the folder with --audio"
    )


def _size_of(sounds: list[_Sound], folder: Path) -> int:
    return sum(sound.size for sound in sounds if (folder / sound.name).is_file())


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(errno.ENOSPC, f"{size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB free", str(folder))


@contextmanager
def _damage_is_told(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ArchiveError(
            f"{archive} is damaged or not whole ({error}); delete it, and the same command fetches it again"
        ) from error
