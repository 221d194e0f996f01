"""One tar file: its samples, in order, with limits, whatever is wrong with it."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from audio_common.files import is_audio

MAX_MEMBER = 1 << 30
"""Bytes of a member that is read; a larger one is a fault, whatever its header says."""
TAR_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError)
"""What a damaged or vanished tar raises as it is read."""


@dataclass(frozen=True)
class Sample:
    """The members of one key."""

    key: str
    member: str
    """Name of the sound; empty where there is none."""
    offset: int
    """Where its bytes begin in the tar, unpacked."""
    audio: bytes
    json: bytes | None
    fault: str | None = None
    """Why it cannot be used."""


class _StrictInfo(tarfile.TarInfo):
    """A header that must be whole: tarfile takes a damaged one for the end of the archive, without a word."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictInfo:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as e:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the mark of the end
            what = f"a damaged header ({e})" if buf else "the end without its mark: it is cut off"
            raise tarfile.ReadError(what) from e


@dataclass
class _Group:
    """The members of a key as they arrive."""

    key: str
    sounds: list[tuple[str, int, bytes]] = field(default_factory=list)
    json: bytes | None = None
    fault: str | None = None

    def sample(self) -> Sample:
        member, offset, audio = self.sounds[0] if self.sounds else ("", 0, b"")
        fault = self.fault
        if fault is None and len(self.sounds) != 1:
            names = ", ".join(name for name, _, _ in self.sounds) or "none"
            fault = f"a sample needs one sound, and {self.key} has {names}"
        return Sample(self.key, member, offset, audio, self.json, fault)


def iterate_samples(file: IO[bytes]) -> Iterator[Sample]:
    """Give the samples of an open tar, tar.gz or other compressed tar, read once from its beginning.

    Keys are WebDataset's: a member's name up to the first dot after its folder. Members that are neither
    sound nor JSON are passed over.

    Raises:
        tarfile.TarError, OSError, EOFError, zlib.error: the archive is damaged from there on.
    """
    from webdataset.tariterators import base_plus_ext

    group: _Group | None = None
    try:
        with tarfile.open(fileobj=file, mode="r|*", tarinfo=_StrictInfo) as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all: memory that grows
                key, ending = base_plus_ext(member.name)
                if not member.isreg() or key is None:
                    continue
                if group is not None and key != group.key:
                    yield group.sample()
                    group = None
                group = group or _Group(key)
                _add(group, tar, member, ending.lower())
    except TAR_ERRORS:
        if group is not None and group.sounds and group.json is not None:  # whole before the damage
            yield group.sample()
        raise
    if group is not None:
        yield group.sample()


def _add(group: _Group, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> None:
    is_sound = is_audio(f"x.{ending}")
    if not is_sound and ending != "json":
        return
    if member.size > MAX_MEMBER:
        group.fault = f"{member.name} has {member.size:,} bytes; at most {MAX_MEMBER:,} are read"
        return
    content: Any = tar.extractfile(member)
    data = content.read()
    if len(data) < member.size:
        raise tarfile.ReadError(f"{member.name} is cut off after {len(data):,} of {member.size:,} bytes")
    if is_sound:
        group.sounds.append((member.name, member.offset_data, data))
    else:
        group.json = data


def is_compressed(file: IO[bytes]) -> bool:
    """Tell whether an open file is a compressed tar: one in which nothing can be found without unpacking."""
    head = file.read(512)
    file.seek(0)
    return head[257:262] != b"ustar" and bool(head)
