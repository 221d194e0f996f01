"""Sounds that come from a browser or a request: limited, decoded apart, and deleted.

What is uploaded lies in a folder of its own below the system's temporary one, and nowhere else; requests of
the API delete theirs when they are answered, the page's own are deleted after some minutes, and the folder
goes when the server ends.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from audio_common.config import Channel
from audio_common.reader import AudioError
from audio_common.workers import DecodeLimits, DecodePool
from torch import Tensor

KEPT_SECONDS = 600
"""A page's upload is kept for so long, to be asked about again."""
MOST_UPLOADS = 20
"""The folder holds at most so many times the largest upload."""


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound that was sent."""

    name: str
    """Its file's name as the sender calls it."""
    waveform: Tensor
    """Mono samples (samples,) at 16 kHz."""
    path: Path
    """Where it lies until the request has been answered."""
    complaints: tuple[str, ...] = ()
    """What is odd about the file, in words."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.waveform) / 16_000


class Uploads:
    """The folder of uploads and the processes that decode them.

    Args:
        max_bytes: of one upload.
        max_seconds: of one sound.
        limits: of decoding one.
    """

    def __init__(self, max_bytes: int, max_seconds: float, limits: DecodeLimits) -> None:
        self.max_bytes = max_bytes
        self.max_seconds = max_seconds
        self.channel: Channel = "mean"
        """What is made of a sound's channels; a model may want another."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"{__name__.partition('.')[0]}-uploads-")).resolve()
        self._pool = DecodePool(limits, num_workers=2)

    def new_folder(self) -> Path:
        """Make an empty folder in the uploads' one, for one request."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def hear(self, path: str | Path, name: str | None = None) -> Sound:
        """Decode an upload.

        Args:
            path: of the file, in the uploads' folder.
            name: what its sender calls it (default: the file's name).

        Raises:
            AudioError: it is no sound, or too long; the message calls it by the sender's name.
        """
        path = Path(path).resolve()
        if self.folder not in path.parents:
            raise AudioError(f"{path.name} is no upload")
        name = plain_name(name or path.name)
        complaints: list[str] = []
        try:
            waveform = self._pool.load_audio(
                path, channel=self.channel, max_seconds=self.max_seconds, complaints=complaints
            )
        except AudioError as error:
            raise AudioError(str(error).replace(str(path), name)) from None
        told = tuple(line.replace(str(path), name) for line in complaints)
        return Sound(name, waveform, path, told)

    def is_full(self) -> bool:
        """Tell whether the folder holds as much as it may, after deleting what is old."""
        self.delete_old()
        return sum(file.size for file in self._files()) > MOST_UPLOADS * self.max_bytes

    def delete_old(self, seconds: float = KEPT_SECONDS) -> None:
        """Delete what was sent more than this ago."""
        for file in self._files():
            if file.age > seconds:
                Path(file.path).unlink(missing_ok=True)

    def close(self) -> None:
        """End the processes and delete the folder."""
        self._pool.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[_File]:
        now = time.time()
        found = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                try:
                    status = os.stat(os.path.join(folder, name))
                except OSError:  # deleted meanwhile
                    continue
                found.append(_File(os.path.join(folder, name), status.st_size, now - status.st_mtime))
        return found


@dataclass(frozen=True)
class _File:
    path: str
    size: int
    age: float
    """Seconds since it was written."""


def plain_name(name: str) -> str:
    """Return a sender's file name as one that leads nowhere and keeps its ending.

    >>> plain_name("../../etc/rain 1.wav")
    'rain 1.wav'
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r"[^\w .()+-]", "_", last).strip(". ")[-100:] or "upload"
