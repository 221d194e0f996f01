"""Run a package's benchmarks small, and print what they found: `uvx nox -s bench` does it for all packages.

    python docs/tools/small_benchmarks.py ml-clap --rows rows.jsonl    # in the package's environment
    python docs/tools/small_benchmarks.py --rows rows.jsonl            # one table of all that is in there

`packages/NAME/benchmarks/small.toml` lists every script there: with arguments that make it short and a
regular expression of the line to show (`shows` says what is in it), or with the reason for which it is left
out. With `--record` the rows also go into `RESULTS.md` beside it, between two marks. Short runs show that a
benchmark runs and which way its ratio points; the figures to quote are those of the long runs in RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARKS = ("<!-- small runs -->", "<!-- end of small runs -->")
Row = dict[str, str]


def main() -> int:
    """Run the benchmarks of a package, or print the table of all; return 1 if one of the table failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("package", nargs="?", help="none: print the table")
    parser.add_argument("--rows", type=Path, required=True, help="file that rows are added to")
    parser.add_argument("--only", nargs="*", default=[], help="scripts to run")
    parser.add_argument("--limit_seconds", type=float, default=120, help="of one script")
    parser.add_argument("--record", action="store_true", help="write the table into RESULTS.md, too")
    options = parser.parse_args()
    if options.package:
        with options.rows.open("a", encoding="utf-8") as file:
            for row in run_package(ROOT / "packages" / options.package / "benchmarks", options):
                file.write(json.dumps(row) + "\n")
                file.flush()
        return 0
    rows = [json.loads(line) for line in options.rows.read_text(encoding="utf-8").splitlines()]
    print("\n".join(table(rows)))
    if options.record:
        record(rows)
    return int(any(row["found"].startswith("failed") for row in rows))


def run_package(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for every script of a folder, each as soon as it has run."""
    plan = read_plan(folder)
    runs = [run for run in plan["run"] if not options.only or run["script"] in options.only]
    with tempfile.TemporaryDirectory() as work:
        if any("{work}" in run.get("arguments", "") for run in runs):
            for command in plan.get("prepare", []):
                code, output = finish(words_of(command, work), work, options.limit_seconds)
                if code:
                    raise SystemExit(f"{folder / 'small.toml'}: {command}: {last_line(output)}")
        for run in runs:
            row = {"package": options.package} | run_script(folder, run, work, options.limit_seconds)
            print(" | ".join(row.values()), file=sys.stderr, flush=True)
            yield row


def read_plan(folder: Path) -> dict[str, list]:  # type: ignore[type-arg]
    """Read small.toml."""
    return tomllib.loads((folder / "small.toml").read_text(encoding="utf-8"))


def words_of(command: str, work: str) -> list[str]:
    """Return a command's words: `{work}` is the folder of the run, `{root}` the repository."""
    return [word.format(work=work, root=ROOT) for word in shlex.split(command)]


def run_script(folder: Path, run: dict[str, str], work: str, limit_seconds: float) -> Row:
    """Run one script, and return what it found."""
    arguments = words_of(run.get("arguments", ""), work)
    started = time.monotonic()
    code, output = finish([str(folder / run["script"]), *arguments], work, limit_seconds)
    line = re.search(run["finds"], output)
    shows = f"{run['shows']}: " if "shows" in run else ""
    found = shows + line[0] if line and code == 0 else f"failed ({code}): {last_line(output)}"
    return {
        "script": run["script"],
        "arguments": run.get("arguments", ""),
        "seconds": f"{time.monotonic() - started:.0f}",
        "found": " ".join(found.split()),
    }


def finish(words: list[str], work: str, limit_seconds: float) -> tuple[int, str]:
    """Run Python; return the exit code, and all that it printed."""
    command = [sys.executable, *words]
    try:
        done = subprocess.run(
            command,
            cwd=work,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_seconds,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
    except subprocess.TimeoutExpired:
        return 124, f"not done in {limit_seconds:g} s"
    return done.returncode, done.stdout


def last_line(text: str) -> str:
    """Return the end of what a script printed."""
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it printed nothing"


def table(rows: list[Row]) -> list[str]:
    """Return a table of Markdown."""
    lines = ["| package | benchmark | seconds | found |", "|---|---|--:|---|"]
    for row in rows:
        command = f"{row['script']} {row['arguments']}".strip()
        found = row["found"].strip("| ").replace("|", "\\|")
        lines.append(f"| {row['package']} | `{command}` | {row['seconds']} | {found} |")
    return lines


def record(rows: list[Row]) -> None:
    """Write each package's rows into its RESULTS.md, with machine and date."""
    for package in dict.fromkeys(row["package"] for row in rows):
        path = ROOT / "packages" / package / "benchmarks" / "RESULTS.md"
        text = path.read_text(encoding="utf-8")
        before, _, rest = text.partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        said = f"{time.strftime('%Y-%m-%d')}, {machine()}, load {os.getloadavg()[0]:.1f}:"
        lines = table([row for row in rows if row["package"] == package])
        path.write_text("\n".join([before + MARKS[0], said, "", *lines, MARKS[1]]) + after, encoding="utf-8")


def machine() -> str:
    """Return the processor's name and how many there are."""
    try:
        name = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        name = None
    return f"{os.cpu_count()} cores of {name[1].strip() if name else platform.machine()}"


if __name__ == "__main__":
    raise SystemExit(main())
