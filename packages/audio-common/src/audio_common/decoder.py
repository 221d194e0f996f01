"""Opening a sound: by libsndfile where it can read it, else by PyAV (`audio_common.container`).

Whatever libsndfile can read, it reads, so that the samples do not depend on what is installed. Where it
stumbles over what is around the sound, it is given a file without that: mp3 and Ogg as the rows of whole
frames or pages that they hold (`audio_common.links`), flac frame by frame where it is damaged
(`audio_common.flac`), headers that tell no length with one that does (`audio_common.headers`).
"""

from __future__ import annotations

import io
import os
import re
import stat
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import soundfile

from audio_common.flac import FlacReader, read_head
from audio_common.headers import mended
from audio_common.identify import HEAD, certain_kind, likely_kind
from audio_common.linked import Link, LinkedReader
from audio_common.links import mp3_reader, ogg_reader
from audio_common.mp3_runs import find_runs
from audio_common.ogg import find_streams
from audio_common.pieces import pieced, read_at
from audio_common.reader import (
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    AudioError,
    Reader,
    Source,
    name_of,
    reported,
    shown,
)
from audio_common.sndfile import SoundFileReader

MAX_CHANNELS = 64
NOT_MP3 = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"riff")
"""First bytes of files in which no rows of mp3's frames are looked for, nor in `CONTAINERS`."""
CONTAINERS = re.compile(rb"....ftyp|\x1aE\xdf\xa3|0&\xb2u|FLV|G|\0\0\x01\xba", re.DOTALL)
"""Beginnings of mp4, Matroska, ASF, FLV, MPEG's transport and program streams: they may hold such rows."""
REMEMBERED = 64
"""Files whose layout is kept, so that many parts of one long file do not each read all of it."""
LONG_FILE = 1 << 22
"""Bytes from which on it is."""

Found = TypeVar("Found")
_layouts: dict[tuple[object, ...], Any] = {}
_lock = threading.Lock()


def open_reader(source: Source) -> Reader:
    """Open a path, bytes or a binary file object.

    Raises:
        AudioError: there is no such file, it is no sound, or its header is not plausible.
    """
    with reported(name_of(source)):
        return _open_plausible(source)


def _open_plausible(source: Source) -> Reader:
    readable, name = _readable(source), name_of(source)
    head = read_at(readable, 0, HEAD)
    if kind := certain_kind(head):
        raise AudioError(kind.message(name))
    try:
        reader = _open(readable, name)
    except AudioError as error:
        if kind := likely_kind(head):
            raise AudioError(kind.message(name)) from error
        raise
    rate, channels = reader.sample_rate, reader.num_channels
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        reader.close()
        allowed = f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
        raise AudioError(
            f"{name} declares a sample rate of {rate} Hz, expected {allowed}; its header is damaged"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        reader.close()
        raise AudioError(
            f"{name} declares {channels} channels, expected 1 to {MAX_CHANNELS}; its header is damaged"
        )
    return reader


def _open(source: Path | BinaryIO, name: str) -> Reader:
    head = read_at(source, 0, 12)
    if linked := _open_linked(source, name, head):
        return linked
    problem = ""
    try:
        if flac := _open_flac(source, name, head):
            return flac
        reader = SoundFileReader(source, name)
        if reader.num_frames != 0:
            return reader
        reader.close()
    except soundfile.LibsndfileError as error:
        problem = error.error_string or "no reason given"
    if reader := _open_mended(source, name):  # type: ignore[assignment]
        return reader
    if not problem:
        raise AudioError(f"{name} has no sample: its header declares none and none follow it; replace it")
    return _open_container(source, name, problem)


def _open_mended(source: Path | BinaryIO, name: str) -> Reader | None:
    """Open a sound whose header tells no length; None if that is not what is wrong with it."""
    file = source.open("rb") if isinstance(source, Path) else source
    reader: Reader | None = None
    try:
        if pieces := mended(file):
            sound = SoundFileReader(pieced(file, pieces), name)
            link = Link(lambda: pieced(file, pieces), sound.sample_rate, sound.num_channels, sound.num_frames)
            reader = LinkedReader([link], name, sound.format, None if file is source else file)
            sound.close()
    except soundfile.LibsndfileError:
        pass
    finally:
        file.seek(0)
        if reader is None and file is not source:
            file.close()
    return reader


def _open_linked(source: Path | BinaryIO, name: str, head: bytes) -> Reader | None:
    """Open mp3 and Ogg, whose sounds may be several or have damage between them; None if it is neither."""
    is_ogg = head.startswith(b"OggS")
    if not is_ogg and (head.startswith(NOT_MP3) or CONTAINERS.match(head)):
        return None
    file = source.open("rb") if isinstance(source, Path) else source
    reader: Reader | None = None
    try:
        if is_ogg:
            streams = _remembered(find_streams, source, file)
            reader = ogg_reader(source, file, name, streams) if streams else None
        else:
            runs = _remembered(find_runs, source, file)
            reader = mp3_reader(source, file, name, runs) if runs else None
    finally:
        file.seek(0)
        if reader is None and file is not source:
            file.close()
    return reader


def _open_flac(source: Path | BinaryIO, name: str, head: bytes) -> Reader | None:
    """Open flac; None if it is none, or its beginning is damaged."""
    if not head.startswith((b"fLaC", b"ID3")):
        return None
    file = source.open("rb") if isinstance(source, Path) else source
    reader: Reader | None = None
    try:
        begin = read_head(file)
        reader = FlacReader(source, file, name, begin) if begin else None
    finally:
        file.seek(0)
        if reader is None and file is not source:
            file.close()
    return reader


def _remembered(find: Callable[[BinaryIO], Found], source: Path | BinaryIO, file: BinaryIO) -> Found:
    """Find out what a file consists of, a long one once as long as it does not change."""
    if not isinstance(source, Path) or (state := os.fstat(file.fileno())).st_size < LONG_FILE:
        return find(file)
    key = (source, state.st_ino, state.st_size, state.st_mtime_ns)
    with _lock:
        if key in _layouts:
            return _layouts[key]
    found = find(file)
    with _lock:
        while len(_layouts) >= REMEMBERED:
            del _layouts[next(iter(_layouts))]
        _layouts[key] = found
    return found


def _open_container(source: Path | BinaryIO, name: str, problem: str) -> Reader:
    if find_spec("av") is None:
        raise AudioError(
            f"{name} cannot be read by libsndfile ({problem}); if it is m4a, mp4, webm, wma or aac, or was "
            "written by a stream that could not fill in its header, install PyAV (the extra `av`)"
        )
    from audio_common.container import ContainerReader  # 36 MB of FFmpeg, only when needed

    return ContainerReader(source, name, problem)


def _readable(source: Source) -> Path | BinaryIO:
    """Return a path or seekable file object, not empty."""
    if isinstance(source, str | os.PathLike):
        return _readable_path(Path(source))
    name = name_of(source)
    is_content = isinstance(source, bytes | bytearray | memoryview)
    file: BinaryIO = io.BytesIO(source) if is_content else _seekable(source, name)  # type: ignore[arg-type]
    if not read_at(file, 0, 1):
        raise AudioError(f"{name} is empty (0 bytes); fetch or record it again")
    file.seek(0)
    return file


def _readable_path(path: Path) -> Path:
    name = shown(path)
    try:
        mode = path.stat().st_mode
        # Before it is opened: to open a pipe waits for its writer.
        if not stat.S_ISREG(mode):
            kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
            kind = kinds.get(stat.S_IFMT(mode), "device")
            raise AudioError(f"{name} is not a file but a {kind}; pass the path of a sound file")
        with path.open("rb") as file:
            empty = not file.read(1)
    except AudioError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL or a lone surrogate
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name} cannot be opened: {reason}; check the path and its permissions") from error
    if empty:
        raise AudioError(f"{name} is empty (0 bytes); fetch or record it again")
    return path


def _seekable(source: BinaryIO, name: str) -> BinaryIO:
    try:
        file = source if source.seekable() else io.BytesIO(source.read())
        start = read_at(file, 0, 0)
    except AttributeError as error:
        kind = type(source).__name__
        raise AudioError(f"expected a path, bytes or a binary file object, got {kind}") from error
    if not isinstance(start, bytes):
        raise AudioError(f"{name} is open as text, expected a binary file; open it with mode 'rb'")
    return file
