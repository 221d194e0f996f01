"""Number the file operations of this process below a folder, and disturb one of them.

To be used in a child process that ends afterwards: an audit hook cannot be taken off again.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Mode = Literal["kill", "torn", "full", "interrupt"]
MODES: tuple[Mode, ...] = ("kill", "torn", "full", "interrupt")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
Files = dict[int, tuple[str, os.stat_result]]
"""Inode -> path, status."""
NEEDS_SPACE = ("open", "mkdir", "rename", "truncate", "link", "symlink")
"""Kinds of operations that a full disk refuses; files can still be removed from it."""


@dataclass(frozen=True)
class Operation:
    """A file operation that is about to be done."""

    kind: str
    """open (for writing), rename, remove, mkdir, rmdir, truncate, link or symlink."""
    path: str
    """Relative to the folder; of a rename `OLD -> NEW`. The process's number is written PID."""
    can_tear: bool
    """Whether something was written since the operation before, half of which can be missing."""


@dataclass(frozen=True)
class Fault:
    """What is to happen just before an operation."""

    mode: Mode
    number: int
    """The operation's, from 1."""


class Watch:
    """The audit hook.

    Args:
        folder: whose files are watched.
        report: JSON file for the operations seen, outside the folder.
        fault: what is to happen, if anything.
    """

    def __init__(self, folder: Path, report: Path, fault: Fault | None = None) -> None:
        self.folder = str(folder.resolve())
        self.report = report
        self.fault = fault
        self.operations: list[Operation] = []
        self._process = os.getpid()
        self._files = _list_files(self.folder)
        self._is_busy = False

    def start(self) -> None:
        """Watch from now on."""
        sys.addaudithook(self._hook)

    def save(self) -> None:
        """Write the operations seen so far."""
        self.report.write_text(json.dumps([asdict(one) for one in self.operations]))

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        changed_paths = EVENTS.get(event)
        # Forked workers inherit the hook; and what is done in here must not be counted.
        if changed_paths is None or self._is_busy or os.getpid() != self._process:
            return
        self._is_busy = True
        try:
            paths = changed_paths(*arguments)
            if any(f"{path}{os.sep}".startswith(f"{self.folder}{os.sep}") for path in paths):
                self._see(event.removeprefix("os."), paths)
        finally:
            self._is_busy = False

    def _see(self, kind: str, paths: list[str]) -> None:
        """Count an operation; if it is the one, disturb it."""
        before, self._files = self._files, _list_files(self.folder)
        written = _last_written(before, self._files)
        shown = " -> ".join(os.path.relpath(path, self.folder) for path in paths)
        shown = shown.replace(str(self._process), "PID")
        self.operations.append(Operation(kind, shown, can_tear=written is not None))
        if self.fault is not None and len(self.operations) >= self.fault.number:
            self._disturb(self.fault, kind, paths[-1], written)

    def _disturb(self, fault: Fault, kind: str, path: str, written: tuple[str, int] | None) -> None:
        is_first = len(self.operations) == fault.number
        if fault.mode == "full":
            if kind in NEEDS_SPACE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        elif is_first and fault.mode == "interrupt":
            os.kill(self._process, signal.SIGINT)
        elif is_first:
            if fault.mode == "torn" and written is not None:
                os.truncate(*written)
            self.save()
            os.kill(self._process, signal.SIGKILL)


def _list_files(folder: str) -> Files:
    """Return every file below a folder by its inode, which stays the same when it is renamed."""
    found = {}
    for path in (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names):
        with suppress(FileNotFoundError):  # another thread has just removed it
            status = os.lstat(path)
            found[status.st_ino] = (path, status)
    return found


def _last_written(before: Files, now: Files) -> tuple[str, int] | None:
    """Return the file that has grown and was written last, and its size without half of what is new.

    Only that one: what was written before it may have been flushed to disk before it.
    """
    old = {node: status.st_size for node, (_, status) in before.items()}
    grown = [one for node, one in now.items() if one[1].st_size > old.get(node, 0)]
    if not grown:
        return None
    path, status = max(grown, key=lambda one: one[1].st_mtime_ns)
    return path, (old.get(status.st_ino, 0) + status.st_size) // 2


# -- Python's audit events: which paths each is about to change; none where it changes nothing ------------


def _opened(path: Any, _mode: Any, flags: int) -> list[str]:
    # A number is a file that is open already.
    return [] if isinstance(path, int) or not flags & WRITING else [_full(path)]


def _made(path: Any, _mode: int, folder: int) -> list[str]:
    return [one for one in [_full(path, folder)] if not os.path.lexists(one)]


def _removed(path: Any, folder: int) -> list[str]:
    return [one for one in [_full(path, folder)] if os.path.lexists(one)]


def _truncated(path: Any, _length: int) -> list[str]:
    return [os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else _full(path)]


def _renamed(old: Any, new: Any, old_folder: int, new_folder: int) -> list[str]:
    return [_full(old, old_folder), _full(new, new_folder)]


def _symlinked(_target: Any, path: Any, folder: int) -> list[str]:
    return [_full(path, folder)]


def _full(path: Any, folder: int = -1) -> str:
    """Return a whole path; `folder` is an open one that it is relative to, or -1."""
    place = os.getcwd() if folder == -1 else os.readlink(f"/proc/self/fd/{folder}")
    return os.path.normpath(os.path.join(place, os.fsdecode(path)))


EVENTS: dict[str, Callable[..., list[str]]] = {
    "open": _opened,
    "os.mkdir": _made,
    "os.remove": _removed,
    "os.rmdir": _removed,
    "os.rename": _renamed,
    "os.link": _renamed,
    "os.symlink": _symlinked,
    "os.truncate": _truncated,
}
