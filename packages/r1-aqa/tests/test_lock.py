"""One process writes an output at a time, and a kill frees it at once."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from r1_aqa.lock import BusyError, sole_writer

HOLD = """
import os, sys, time
from r1_aqa.lock import sole_writer
with sole_writer(sys.argv[1], folder=sys.argv[2] == "folder"):
    if os.fork():
        print("held", flush=True)
    time.sleep(60)  # the child is a worker that outlives a killed parent
"""


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", HOLD, str(out), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with (
                pytest.raises(BusyError, match=rf"another process \({holder.pid}\) is writing {out}: wait"),
                sole_writer(out, folder=kind == "folder"),
            ):
                pass
            os.kill(holder.pid, signal.SIGKILL)
            os.waitpid(holder.pid, 0)
            with sole_writer(out, folder=kind == "folder"):
                pass
        finally:
            os.killpg(holder.pid, signal.SIGKILL)
    assert [path for path in tmp_path.rglob("*") if path.name.endswith(".lock")] == []


def test_a_second_part_of_the_same_process_is_refused(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "a.jsonl"):
        with pytest.raises(BusyError, match="this process"), sole_writer(tmp_path / "a.jsonl"):
            pass
        with sole_writer(tmp_path / "b.jsonl"):
            pass
    with sole_writer(tmp_path / "a.jsonl"):
        pass


def test_the_standard_output_is_nobodys() -> None:
    with sole_writer("-"), sole_writer("-"):
        pass


def _count(folder: Path, times: int) -> None:
    counter = folder / "counter"
    while times:
        try:
            with sole_writer(folder / "out"):
                number = int(counter.read_text())
                time.sleep(0.001)
                counter.write_text(str(number + 1))
            times -= 1
        except BusyError:
            time.sleep(0.001)


def test_of_many_processes_never_two_hold_it(tmp_path: Path) -> None:
    # Each removes the lock's file when it is done, so the others meet it gone, new, or somebody's.
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("fork")
    # Daemons: one that hangs would be waited for when the tests end.
    processes = [context.Process(target=_count, args=(tmp_path, 25), daemon=True) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert (tmp_path / "counter").read_text() == "100"
