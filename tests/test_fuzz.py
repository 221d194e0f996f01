"""Readers of files and of models' answers raise what they promise, whatever they read.

In CI each target is fed with some hundred changed examples of a fixed seed; in the nightly session atheris
feeds it for a fixed number of executions (FUZZ_RUNS=N takes another, FUZZ_SEED=N repeats a session).
"""

import os
import random
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz_targets import MAKERS, Target, mutations, run, targets_of

SCRIPT = Path(__file__).with_name("fuzz_targets.py")
COUNT = 400
RUNS = 100_000
INSTALLED = [package for package in MAKERS if find_spec(package.replace("-", "_"))]
TARGETS = [
    pytest.param(package, target, id=f"{package}-{target.name}")
    for package in INSTALLED
    for target in targets_of(package).values()
]


@pytest.mark.parametrize(("package", "target"), TARGETS)
def test_changed_examples_raise_what_is_promised(package: str, target: Target) -> None:
    for data in mutations(12, COUNT):
        try:
            run(target, data)
        except Exception as error:
            raise AssertionError(f"{target.name} of {data[:300]!r}") from error


@pytest.mark.nightly
@pytest.mark.parametrize(("package", "target"), TARGETS)
def test_atheris_finds_nothing(
    package: str, target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: the nightly session does")
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(1, 1 << 31))
    runs = int(os.environ.get("FUZZ_RUNS", RUNS))
    flags = [f"-runs={runs}", f"-seed={seed}"]
    result = subprocess.run(
        [sys.executable, str(SCRIPT), package, target.name, *flags],
        cwd=tmp_path,  # where a crash's input is written
        capture_output=True,
        text=True,
        errors="replace",
        timeout=3600,
    )
    done = re.search(r"Done (\d+) runs", result.stderr)
    with capsys.disabled():
        print(f"\n{package} {target.name}: FUZZ_SEED={seed}, {done[1] if done else 0} runs", flush=True)
    found = [path.read_bytes()[:500] for path in tmp_path.glob("*-*") if path.is_file()]
    assert result.returncode == 0, f"FUZZ_SEED={seed} input {found!r}:\n{result.stdout[-3000:]}"
    assert done
    assert int(done[1]) >= runs
