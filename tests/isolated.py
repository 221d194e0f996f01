"""A function in a process of its own with limits: whatever it does, the test goes on and can tell what."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """Exit code; below 0 the signal that ended it."""
    out: str
    err: str
    seconds: float
    megabytes: float
    """The most memory that it held, above that of the process that it was forked from."""
    timed_out: bool


def run_program(
    program: Callable[[Sequence[str]], object],
    words: Sequence[str],
    folder: Path,
    *,
    seconds: float = 120.0,
    megabytes: int = 2000,
) -> Ended:
    """Run a command in a forked child, which has the modules that are imported here already.

    Args:
        program: `main` of a package.
        words: its arguments.
        folder: where its output is kept.
        seconds: after these it is killed.
        megabytes: that it may allocate beside what is held now.
    """

    def work() -> int:
        try:
            program(words)
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run_isolated(work, folder, seconds=seconds, megabytes=megabytes)


def run_isolated(
    work: Callable[[], int], folder: Path, *, seconds: float = 120.0, megabytes: int = 2000
) -> Ended:
    """Run a function in a forked child; arguments as of `run_program`."""
    folder.mkdir(parents=True, exist_ok=True)
    out, err, told = folder / "out.txt", folder / "err.txt", folder / "told.json"
    told.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_child(work, out, err, told, megabytes)
    status, timed_out = _wait(child, began + seconds)
    code = os.waitstatus_to_exitcode(status)
    peak = float(megabytes)
    if told.exists():
        kilobytes, modules = json.loads(told.read_text())
        peak = kilobytes / 1024
        _import(modules)
    texts = [path.read_text(encoding="utf-8", errors="backslashreplace") for path in (out, err)]
    return Ended(code, *texts, time.monotonic() - began, peak, timed_out)


def _import(names: Sequence[str]) -> None:
    """Import what a child had to, so that the next one need not: that takes seconds."""
    for name in names:
        if name not in sys.modules and not name.startswith("_"):
            with suppress(Exception):  # some modules can only be imported by their package
                import_module(name)


def _be_child(work: Callable[[], int], out: Path, err: Path, told: Path, megabytes: int) -> None:
    code = 70
    try:
        before = _memory("VmData")
        limit = (before + megabytes * 1024) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        files = [path.open("w", errors="backslashreplace") for path in (out, err)]
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = files
        Path("/proc/self/clear_refs").write_text("5")
        held, known = _memory("VmRSS"), set(sys.modules)
        code = work()
        new = [name for name in sys.modules if name not in known]  # packages before what is in them
        told.write_text(json.dumps([_memory("VmHWM") - held, new]))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _wait(child: int, end: float) -> tuple[int, bool]:
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, False
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1], True
        time.sleep(0.01)


def _memory(name: str) -> int:
    """Return a size of this process, kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
