"""A command that is killed, torn, interrupted or out of disk, and then run again, loses nothing.

What is tried and what "nothing" is: `kill_kit/__init__.py`. Run in each package's environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from kill_kit.jobs import Job, Point
from kill_kit.stage import Stage
from kill_kit.trial import Bench

MODULES = {"ml_clap": "clap_jobs", "aac_llm": "aac_jobs", "r1_aqa": "aqa_jobs"}
PACKAGE = next((name for name in MODULES if find_spec(name)), None)
JOBS: tuple[Job, ...] = import_module(f"kill_kit.{MODULES[PACKAGE]}").JOBS if PACKAGE else ()
POINTS = [(job, point) for job in JOBS for point in job.points]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills").resolve()


@pytest.fixture(scope="module")
def stage(scratch: Path) -> Iterator[Stage]:
    assert PACKAGE
    with Stage(PACKAGE, scratch) as stage:
        (scratch / "inputs").mkdir()
        stage.call(f"kill_kit.{MODULES[PACKAGE]}:make_inputs", scratch / "inputs")
        yield stage


@pytest.fixture(scope="module")
def benches(stage: Stage, scratch: Path) -> dict[str, Bench]:
    """The jobs that have been run undisturbed."""
    return {}


@pytest.fixture
def bench(request: pytest.FixtureRequest, benches: dict[str, Bench], stage: Stage, scratch: Path) -> Bench:
    job: Job = request.param
    if job.name not in benches:
        benches[job.name] = Bench(stage, job, scratch / "inputs", scratch / job.name)
    return benches[job.name]


@pytest.mark.parametrize(
    ("bench", "point"),
    [pytest.param(job, point, id=f"{job.name}: {point.mode} {point.name}") for job, point in POINTS],
    indirect=["bench"],
)
def test_nothing_is_lost(bench: Bench, point: Point) -> None:
    trial = bench.attempt(point.find(bench.operations))
    assert not trial.lost, str(trial)


@pytest.mark.nightly
@pytest.mark.parametrize("bench", [pytest.param(job, id=job.name) for job in JOBS], indirect=True)
def test_nothing_is_lost_at_any_operation(bench: Bench) -> None:
    tried = bench.attempt_all()
    print(tried)
    assert not tried.losses, "\n".join(map(str, tried.losses))
