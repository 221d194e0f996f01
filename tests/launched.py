"""Run a program of several processes in a test. One that hangs is asked where it stands, ended, and fails."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress

import psutil

ASKED_SECONDS = 10.0
"""How long a process has to tell where it stands."""


def run_launched(words: Sequence[str], *, seconds: float = 300.0, **environment: str) -> str:
    """Run a command with one OpenMP thread a process.

    Args:
        words: The command.
        seconds: After these it hangs. Its processes print their threads' stacks, then they are killed.
        environment: Variables beside those of this process.

    Returns:
        What it and its processes wrote to the standard error.

    Raises:
        AssertionError: It failed or hung; says what it wrote last.
    """
    # Not pipes: a process that outlives the launcher would hold them open, and reading would not end.
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as output:
        program = subprocess.Popen(
            list(words),
            stdout=output,
            stderr=errors,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"} | environment,
        )
        try:
            end = f"ended with {program.wait(seconds)}"
        except subprocess.TimeoutExpired:
            end = f"hung for {seconds:g} s"
            end_all(program.pid)
            program.wait()
        errors.seek(0)
        written = errors.read().decode(errors="replace")
    assert end == "ended with 0", f"{end}:\n{written[-20_000:]}"
    return written


def end_all(pid: int) -> None:
    """End a process and those below it, after each has printed its stacks (PYTHONFAULTHANDLER)."""
    top = psutil.Process(pid)
    # The launcher last, for it would end the others; one after another, or their lines would be mixed.
    for process in (*reversed(top.children(recursive=True)), top):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGABRT)
            psutil.wait_procs([process], ASKED_SECONDS)
            process.kill()
