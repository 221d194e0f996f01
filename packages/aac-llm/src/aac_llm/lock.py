"""One process at a time writes a run folder or an output file; a second one is refused."""

from __future__ import annotations

import errno
import fcntl
import glob
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from aac_llm.files import TEMPORARY, is_device, is_stream

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""File in a folder that is held; beside a file it is called `.NAME.lock`."""

_held: set[Path] = set()
"""Locks of this process, which the system would grant it a second time."""


class BusyError(ValueError):
    """A run folder or an output file that another process is writing."""


@contextmanager
def sole_writer(path: str | Path, *, folder: bool = False) -> Iterator[None]:
    """Hold a run folder or an output file within the block.

    The system frees it when the process ends, however it ends, whatever workers it leaves behind. A file
    system that knows no locks is warned about, and written without.

    Args:
        path: a folder or a file, which need not exist; `-`, the standard output, is nobody's,
            nor is a device.
        folder: whether it is a folder, where it does not exist yet; it is made.

    Raises:
        BusyError: another process holds it, or another part of this one.
    """
    if is_stream(path) or is_device(path):
        yield
        return
    path = Path(os.path.abspath(path))
    file = path / LOCK if folder or path.is_dir() else path.with_name(f".{path.name}{LOCK}")
    file.parent.mkdir(parents=True, exist_ok=True)
    if file in _held:
        raise BusyError(f"this process is writing {path} already")
    handle = _acquire(file, path)
    _held.add(file)
    try:
        yield
    finally:
        _held.discard(file)
        with suppress(FileNotFoundError):
            file.unlink()  # while it is held: whoever waits for it notices, see `_acquire`
        os.close(handle)


@contextmanager
def hold_outputs(*paths: Path | None) -> Iterator[None]:
    """Hold a command's output files within the block, and remove what a kill left half-written of them.

    Args:
        paths: files, of which a report `STEM.report.json` may stand beside; None and `-` are nobody's.

    Raises:
        BusyError: another process is writing one of them.
    """
    with ExitStack() as held:
        for path in dict.fromkeys(path for path in paths if path is not None and not is_stream(path)):
            held.enter_context(sole_writer(path))
            for name in (path.name, f"{path.stem}.report.json"):
                # Of these files alone: others may be written beside them.
                for leftover in path.parent.glob(f".{glob.escape(name)}.*{TEMPORARY}"):
                    leftover.unlink(missing_ok=True)
        yield


def _acquire(file: Path, path: Path) -> int:
    """Return the open, locked file."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(handle, path)
            # Its last holder may have removed it between our opening and locking: then it is nobody's lock.
            if _is_at(handle, file):
                with suppress(OSError):  # a full disk: the number is only told
                    os.ftruncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        # A POSIX lock, and no flock: forked workers do not inherit it, and cannot outlive us with it.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            number = os.read(handle, 20).decode(errors="replace")
            who = f"another process ({number})" if number.isdigit() else "another process"
            raise BusyError(f"{who} is writing {path}: wait for it to end, or give another --out") from error
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        logger.warning("%s is on a file system without locks: let no second process write it", path)


def _is_at(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False
