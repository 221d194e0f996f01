"""Catch what the libraries below print by themselves, whatever Python's logging is set to.

libmpg123 writes lines on tags and frames of mp3 files that it finds odd to file descriptor 2. Descriptors
belong to the process and not to a thread, so one is redirected only for the moments in which such a file is
opened or read (a redirection for the whole of a job would swallow the last words of a crash and take the
terminal from progress bars). What other threads print in such a moment is passed on; nothing is lost.

libsndfile prints nothing; but where it reads a file object, an error in there (damaged files make it seek
to before the beginning) would be printed as a traceback, which `QuietFile` prevents. Below PyAV, FFmpeg is
silent.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_STDERR = 2
_LIBMPG123 = re.compile(
    rb"(?:\[[^\]\n]*libmpg123[^\]\n]*\] (?:error|warning)"
    rb"|Note: (?:Illegal Audio-MPEG-Header|Trying to resync|Skipped \d+ bytes|Hit end of)"
    rb"|Warning: (?:Xing stream size|Big change|Real sample count|Encountered more data))[^\n]*\n"
)
_LARGEST = 1 << 20
"""Bytes after which the file begins anew."""


class _Catcher:
    """Redirect descriptor 2 to a file as long as anyone asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_users = 0
        self._real = -1
        self._file = -1
        self._position = 0  # in the file: what is before has been dealt with

    def enter(self) -> None:
        """Redirect, unless it is done already."""
        with self._lock:
            if self._num_users == 0:
                if self._file < 0:
                    with tempfile.TemporaryFile() as file:
                        self._file = os.dup(file.fileno())
                self._real = os.dup(_STDERR)
                os.dup2(self._file, _STDERR)
            self._num_users += 1

    def leave(self) -> list[str]:
        """Return the library's new lines and print what else is new; the last user ends the redirection."""
        with self._lock:
            self._num_users -= 1
            if self._num_users == 0:
                os.dup2(self._real, _STDERR)
            size = os.fstat(self._file).st_size
            text = os.pread(self._file, size - self._position, self._position)
            if self._num_users:  # others may be in the midst of a line, which a page's end cuts in two
                text = text[: text.rfind(b"\n") + 1]
            self._position += len(text)
            if others := _LIBMPG123.sub(b"", text):
                os.write(self._real, others)
            if self._num_users == 0:
                os.close(self._real)
                if self._position > _LARGEST:  # only now, when nobody is writing
                    os.ftruncate(self._file, 0)
                    self._position = os.lseek(self._file, 0, os.SEEK_SET)
        return [line.decode(errors="replace").strip() for line in _LIBMPG123.findall(text)]

    def after_fork(self) -> None:
        """Give a child, which has none of the threads that would do it, its own descriptor 2 back."""
        if self._num_users:
            os.dup2(self._real, _STDERR)
        self.__init__()  # type: ignore[misc]


_catcher = _Catcher()
os.register_at_fork(after_in_child=_catcher.after_fork)


@contextmanager
def caught_lines() -> Iterator[list[str]]:
    """Keep libmpg123 from printing; afterwards the list holds its lines (and those of threads meanwhile)."""
    lines: list[str] = []
    # A process without it may have another file open as number 2.
    is_caught = sys.__stderr__ is not None
    if is_caught:
        try:
            _catcher.enter()
        except OSError:  # no descriptor to spare: then it prints where it can
            is_caught = False
    try:
        yield lines
    finally:
        if is_caught:
            lines += _catcher.leave()


class QuietFile:
    """A binary file for libsndfile, which is told of an error in it as of the file's end.

    Args:
        file: any seekable file.
        lines: gets errors of reading; a seek to nowhere just fails, as in a file that is opened by path.
    """

    def __init__(self, file: BinaryIO, lines: list[str]) -> None:
        self._file = file
        self._lines = lines

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, or stay in place."""
        try:
            return self._file.seek(offset, whence)
        except Exception:  # a caller's file object raises what it likes
            return self.tell()

    def tell(self) -> int:
        """The position."""
        try:
            return self._file.tell()
        except Exception as error:
            self._lines.append(f"reading failed: {error}")
            return -1

    def read(self, count: int) -> bytes:
        """Read at most `count` bytes."""
        try:
            return self._file.read(max(0, count))
        except Exception as error:
            self._lines.append(f"reading failed: {error}")
            return b""

    def readinto(self, buffer: bytearray) -> int:
        """Fill `buffer` as far as the file goes; soundfile takes `read` where a file has no such method."""
        try:
            return int(self._file.readinto(buffer) or 0)  # type: ignore[attr-defined]
        except AttributeError:
            raise
        except Exception as error:
            self._lines.append(f"reading failed: {error}")
            return 0
