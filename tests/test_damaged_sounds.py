"""Every command that reads sound, over a folder of damaged sounds: none is lost, none ends the job.

A command ends with exit code 0 or 1; every sound is used or listed with its reason; memory stays bounded;
nothing but our own words reaches the standard error. The short form takes a fixed seed and some 150 sounds,
the nightly one 3,000 of a new seed, which it prints: AUDIO_FUZZ_SEED=N repeats it, AUDIO_FUZZ_COUNT=N takes
another number.
"""

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from damaged_sounds import good_sounds, make_corpus, mutate

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"ml-clap": "ml_clap", "aac-llm": "aac_llm", "r1-aqa": "r1_aqa"}
BOUNDS = {"ml-clap": 1500.0, "aac-llm": 700.0, "r1-aqa": 700.0}
"""Megabytes that a command may take at most beside its model; ml-clap encodes sounds of an hour whole."""


@pytest.fixture
def package(request: pytest.FixtureRequest) -> str:
    if find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"{request.param} is not installed here")
    return request.param


def test_the_same_seed_makes_the_same_folder(tmp_path: Path) -> None:
    first, second = (make_corpus(tmp_path / name, 7, 120, bomb_minutes=0.1) for name in ("a", "b"))
    assert len(first) == 120
    assert [damaged.path.name for damaged in first] == [damaged.path.name for damaged in second]
    for one, other in zip(first, second, strict=True):
        if one.path.is_file() and one.path.name != "bomb.ogg":
            assert one.path.read_bytes() == other.path.read_bytes(), one.what


def test_other_seeds_damage_otherwise() -> None:
    sound = good_sounds()["pcm16.wav"]
    assert len({mutate(random.Random(seed), sound)[0] for seed in range(100)}) > 80


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES, indirect=True)
def test_no_damaged_sound_is_lost_or_ends_a_command(package: str, tmp_path: Path) -> None:
    outcomes = run_commands(package, tmp_path, seed=12, count=150, minutes=4.0, limit=600, alone=12)
    check(package, outcomes)


@pytest.mark.nightly
@pytest.mark.parametrize("package", PACKAGES, indirect=True)
def test_thousands_of_damaged_sounds(
    package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("AUDIO_FUZZ_SEED") or random.SystemRandom().randrange(1 << 32))
    count = int(os.environ.get("AUDIO_FUZZ_COUNT", "3000"))
    with capsys.disabled():
        print(f"\n{package}: AUDIO_FUZZ_SEED={seed} AUDIO_FUZZ_COUNT={count}", flush=True)
    outcomes = run_commands(package, tmp_path, seed=seed, count=count, minutes=60.0, limit=4 * 3600)
    with capsys.disabled():
        print(describe(outcomes), flush=True)
    check(package, outcomes)


def run_commands(
    package: str,
    folder: Path,
    *,
    seed: int,
    count: int,
    minutes: float,
    limit: float,
    alone: int | None = None,
) -> list[dict[str, Any]]:
    """Return the outcome of each command of a package, run in one process of its own."""
    corpus, work = folder / "corpus", folder / "work"
    make_corpus(corpus, seed, count, bomb_minutes=minutes)
    script = [sys.executable, str(ROOT / "tests" / "sound_commands.py"), package, str(corpus), str(work)]
    script += [str(alone)] if alone else []
    result = subprocess.run(script, capture_output=True, text=True, errors="replace", timeout=limit)
    lines = (work / "outcomes.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = [json.loads(line) for line in lines]
    done = [outcome["name"] for outcome in outcomes[-1:]]
    assert result.returncode == 0, f"crashed after {done}: {result.stderr[-3000:]}"
    return outcomes


def check(package: str, outcomes: list[dict[str, Any]]) -> None:
    wrong = [outcome for outcome in outcomes if not outcome["is_right"]]
    shown = json.dumps(wrong[:10], indent=1, ensure_ascii=True)[:6000]
    assert not wrong, f"{len(wrong)} of {len(outcomes)} commands:\n{shown}\n{describe(outcomes)}"
    greedy = {each["name"]: each["megabytes"] for each in outcomes if each["megabytes"] > BOUNDS[package]}
    assert not greedy, f"more than {BOUNDS[package]:g} MB: {greedy}"


def describe(outcomes: list[dict[str, Any]]) -> str:
    """Return a table of what came of each command; runs of one command are counted together."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for outcome in outcomes:
        name = (
            outcome["name"].partition(" ")[0] if outcome["name"].startswith(ONE_BY_ONE) else outcome["name"]
        )
        row = sums[name]
        row["runs"] += 1
        row["right"] += outcome["is_right"]
        for key in ("given", "used", "listed", "seconds"):
            row[key] += outcome[key]
        row["megabytes"] = max(row["megabytes"], outcome["megabytes"])
        row[f"exit {outcome['code']}"] += 1
    columns = ("runs", "right", "given", "used", "listed", "lost", "seconds", "megabytes")
    lines = [f"{'command':22}" + "".join(f"{column:>10}" for column in columns) + "  exits"]
    for name, row in sums.items():
        refused = row["given"] if name == "answer" else row["used"] + row["listed"]
        row["lost"] = row["given"] - refused
        exits = ", ".join(f"{key[5:]}: {row[key]:.0f}" for key in sorted(row) if key.startswith("exit"))
        lines.append(f"{name:22}" + "".join(f"{row[column]:10,.0f}" for column in columns) + f"  {exits}")
    return "\n".join(lines)


ONE_BY_ONE = ("answer ", "similarity ", "search ")
"""Commands that are run once for each sound, or some of them."""
