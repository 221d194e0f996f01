"""The kit's command line; `kill_kit/__init__.py` says how it is called."""

from __future__ import annotations

import argparse
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from kill_kit.operations import MODES, Fault
from kill_kit.stage import Stage
from kill_kit.trial import Bench

JOBS = {"ml_clap": "clap_jobs", "aac_llm": "aac_jobs", "r1_aqa": "aqa_jobs"}
"""Package -> module of its jobs."""


def main() -> int:
    """Run the command line; return 1 if something was lost."""
    arguments = read_arguments()
    package = next(name for name in JOBS if find_spec(name))
    jobs = import_module(f"kill_kit.{JOBS[package]}")
    scratch = Path(arguments.scratch or tempfile.mkdtemp(prefix="kill-kit-")).resolve()
    chosen = [job for job in jobs.JOBS if arguments.job in (None, job.name)]
    inputs = scratch / "inputs"
    with Stage(package, scratch) as stage:
        inputs.mkdir(parents=True, exist_ok=True)
        stage.call(f"{jobs.__name__}:make_inputs", inputs)
        if arguments.task == "all":
            benches = (Bench(stage, job, inputs, scratch / job.name) for job in chosen)
            return int(sum(try_all(bench, arguments) for bench in benches) > 0)
        bench = Bench(stage, chosen[0], inputs, scratch / chosen[0].name)
        if arguments.task == "list":
            list_operations(bench)
            return 0
        trial = bench.attempt(Fault(arguments.how, arguments.number))
    print(
        trial,
        f"disturbed:\n{trial.disturbed.errors}",
        f"again:\n{trial.again.errors}",
        bench.folder,
        sep="\n\n",
    )
    return int(bool(trial.lost))


def read_arguments() -> argparse.Namespace:
    """Read the words of the command line."""
    parser = argparse.ArgumentParser(prog="kill_kit")
    tasks = parser.add_subparsers(dest="task", required=True)
    for name in ("all", "list", "try"):
        task = tasks.add_parser(name)
        task.add_argument("job", nargs="?" if name == "all" else None)
        task.add_argument("--scratch", help="folder for the runs, kept")
        if name == "all":
            task.add_argument("--mode", dest="modes", choices=MODES, action="append")
        if name == "try":
            task.add_argument("number", type=int)
            task.add_argument("how", choices=MODES)
    return parser.parse_args()


def try_all(bench: Bench, arguments: argparse.Namespace) -> bool:
    """Try every disturbance of a job, and print the numbers; return whether something was lost."""
    tally = bench.attempt_all(arguments.modes or MODES)
    print(tally, flush=True)
    return bool(tally.losses)


def list_operations(bench: Bench) -> None:
    """Print the operations of a job."""
    for number, one in enumerate(bench.operations, 1):
        print(f"{number:4} {'torn' if one.can_tear else '    '} {one.kind:8} {one.path}")


if __name__ == "__main__":
    raise SystemExit(main())
