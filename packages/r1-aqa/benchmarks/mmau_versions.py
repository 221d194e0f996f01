"""Make the table that tells published versions of MMAU's questions apart, from a clone of their repository.

For maintainers, after the benchmark's file has changed (this network reaches no such repository):

    git clone https://github.com/Sakshi113/MMAU clone
    python packages/r1-aqa/benchmarks/mmau_versions.py clone

Every version of `mmau-test-mini.json` and `mmau-test.json` in the clone's history is read, the fingerprint of
its questions taken, and `r1_aqa/data/versions.json` written: fingerprint -> name with the commit's date. The
first of two versions with the same questions counts. What else is in the table stays.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from audio_common.strict_json import read_object
from r1_aqa.data.readers import read_questions
from r1_aqa.data.versions import TABLE, fingerprint
from r1_aqa.files import write_json

FILES = {"mmau-test-mini.json": "MMAU test-mini", "mmau-test.json": "MMAU test"}
REVISED = "2025-05-15"
"""Date of v05.15.25, which changed more than a third of the questions; on earlier ones the paper reports."""


def git(clone: Path, *arguments: str) -> bytes:
    """Return what git prints."""
    return subprocess.run(["git", "-C", str(clone), *arguments], check=True, capture_output=True).stdout


def versions_of(clone: Path, file: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield commit, date and content of every version of a file, the oldest first."""
    log = git(clone, "log", "--reverse", "--diff-filter=AM", "--format=%H %cs", "--", file)
    for line in log.decode().splitlines():
        commit, date = line.split()
        yield commit, date, git(clone, "show", f"{commit}:{file}")


def make_table(clone: Path) -> dict[str, str]:
    """Return fingerprint -> name for all versions in a clone."""
    table: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for file, name in FILES.items():
            for commit, date, content in versions_of(clone, file):
                path = Path(folder) / file
                path.write_bytes(content)
                number = fingerprint(read_questions(path, keep_faults=True))
                kind = "v05.15.25" if date >= REVISED else "the paper's time"
                table.setdefault(number, f"{name} of {date} ({kind}, commit {commit[:7]})")
    return table


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", type=Path)
    parser.add_argument("--table", type=Path, default=TABLE)
    options = parser.parse_args()
    found = make_table(options.clone)
    before = read_object(options.table) if options.table.is_file() else {}
    write_json(options.table, before | found)
    print(f"{len(found)} versions, {len(found.keys() - before.keys())} of them new")


if __name__ == "__main__":
    main()
