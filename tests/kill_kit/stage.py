"""Run commands of a package in forked children of one process that has everything imported.

Importing torch and transformers takes ten seconds; a forked child has them at once. The process itself only
imports and forks: it never computes or starts threads, which children would inherit half alive. What a
package imports late, the first child that does so tells; then the process imports it too.
"""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from kill_kit.operations import Fault, Operation, Watch

LONGEST = 120.0
"""Seconds after which a run is given up."""


@dataclass(frozen=True)
class Run:
    """What became of a command."""

    code: int
    """Exit code; of a process that a signal ended, minus its number."""
    operations: list[Operation]
    output: str
    errors: str
    seconds: float
    """Of processor time."""


class Stage:
    """The process that forks; a context manager.

    Args:
        package: module whose `cli.main` is run: `ml_clap`.
        scratch: folder for the children's outputs.
    """

    def __init__(self, package: str, scratch: Path) -> None:
        self.package = package
        self.scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Stage:
        settings = {
            "HF_HUB_OFFLINE": "1",
            "PYTHONDONTWRITEBYTECODE": "",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        path = os.pathsep.join(
            [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kill_kit.stage", self.package],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | settings | {"PYTHONPATH": path},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)  # no more requests: it ends

    def run(self, words: Sequence[str], folder: Path, fault: Fault | None = None) -> Run:
        """Run a command with `folder` as the current one, its file operations there watched."""
        return self._ask({"words": list(words), "folder": str(folder), "fault": fault and asdict(fault)})

    def call(self, function: str, *arguments: Path) -> None:
        """Call `module:function` in a child: what computes must not be done in the process that forks."""
        run = self._ask({"function": function, "arguments": [str(path) for path in arguments]})
        if run.code:
            raise RuntimeError(f"{function} failed:\n{run.errors}")

    def _ask(self, request: dict[str, Any]) -> Run:
        files = {name: self.scratch / name for name in ("output", "errors", "operations", "modules")}
        for name in ("operations", "modules"):
            files[name].write_text("[]")
        request |= {name: str(path) for name, path in files.items()}
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that forks has ended with {self._process.wait()}")
        found = json.loads(files["operations"].read_text())
        output, errors = (files[name].read_text(errors="replace") for name in ("output", "errors"))
        return Run(
            operations=[Operation(**one) for one in found], output=output, errors=errors, **json.loads(answer)
        )


# -- what follows is done in the process that forks -------------------------------------------------------


def serve(package: str) -> None:
    """Import, then fork a child for each request on the standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that is printed here may be taken for an answer
    import_all(package)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            os._exit(be_child(package, request))
        code, seconds = wait(child, time.monotonic() + LONGEST)
        import_modules(json.loads(Path(request["modules"]).read_text()))
        print(json.dumps({"code": code, "seconds": seconds}), file=answers, flush=True)


def import_all(package: str) -> None:
    """Import every module of a package."""
    walk = pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
    import_modules([one.name for one in walk if not one.name.endswith("__main__")])
    import torch

    torch.set_num_threads(1)


def import_modules(names: Sequence[str]) -> None:
    """Import what can be imported."""
    for name in names:
        if name not in sys.modules:
            # Of an extra that is not installed; or made by a library in the course of its work.
            with suppress(Exception):
                import_module(name)


def be_child(package: str, request: dict[str, Any]) -> int:
    """Do what is asked for in a forked child; return the exit code."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    redirect(request)
    try:
        if "function" in request:
            module, _, name = request["function"].partition(":")
            getattr(import_module(module), name)(*map(Path, request["arguments"]))
            return 0
        return run_command(package, request)
    except BaseException:
        traceback.print_exc()
        return 99
    finally:
        Path(request["modules"]).write_text(json.dumps(list(sys.modules)))
        sys.stdout.flush()
        sys.stderr.flush()


def redirect(request: dict[str, Any]) -> None:
    """Let the standard streams be an empty input and the files that were asked for."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)


def run_command(package: str, request: dict[str, Any]) -> int:
    """Run the command line as the program does, watched."""
    folder = Path(request["folder"])
    os.chdir(folder)
    main = import_module(f"{package}.cli").main
    fault = Fault(**request["fault"]) if request["fault"] else None
    watch = Watch(folder, Path(request["operations"]), fault)
    watch.start()
    try:
        main(request["words"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        watch.save()
    return 0


def wait(child: int, deadline: float) -> tuple[int, float]:
    """Wait for a child; return its exit code, or minus the signal that ended it, and its processor time."""
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    with suppress(ProcessLookupError):  # its workers, which a kill left alone
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    serve(sys.argv[1])
