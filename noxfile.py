"""Every check of the repository: `uvx nox` runs them all, `uvx nox -s ml-clap` one of them.

Each package is tested alone, in an environment that holds it, its dependencies and nothing else. What takes
hours is no part of that: `uvx nox -s nightly`.
"""

import json
import re
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False  # not every machine has the newest Python

PACKAGES = ["audio-common", "ml-clap", "aac-llm", "r1-aqa"]
NEWEST_PYTHONS = ["3.13", "3.14"]

# One OpenMP thread a process: two on a busy two-core machine are many times slower than one.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

# Licences that do not go with ours, Apache 2.0. The LGPL (soxr, libsndfile) does.
STRONG_COPYLEFT = re.compile(r"(?<!L)GPL|AGPL|GNU (Affero )?General Public")

# For each package what its tests need beside its group `dev`.
TESTED_WITH = {
    "audio-common": ("--group", "current"),
    # `ml-clap-sonar` tests it without the extras of today's torch.
    "ml-clap": tuple(
        word
        for extra in ("av", "lancedb", "lora", "mteb", "onnx", "ray", "serve", "webdataset")
        for word in ("--extra", extra)
    ),
    "aac-llm": ("--group", "transformers-5", "--extra", "av", "--extra", "ray", "--extra", "serve"),
    "r1-aqa": ("--group", "transformers-5", "--extra", "ray", "--extra", "serve"),
}

# Of a package's tests, those that the other line of transformers could fail.
USES_TRANSFORMERS = {
    "aac-llm": ("models", "trainers", "captioning/test_captioner.py", "test_quickstart.py"),
    "ml-clap": ("golden", "models", "trainers", "evaluators", "search", "translate", "test_quickstart.py"),
    "r1-aqa": ("models", "trainers", "answering", "evaluators", "test_quickstart.py", "test_border.py"),
}

# Of these, and of audio-common, what is the same on every torch: kills, decoding, files.
SAME_ON_EVERY_TORCH = (
    *(f"packages/ml-clap/tests/trainers/test_{name}.py" for name in ("nodes", "resume", "stopped_runs")),
    *(f"packages/ml-clap/tests/search/test_{name}.py" for name in ("lines", "page", "scan", "store")),
    *(
        f"packages/audio-common/tests/test_{name}.py"
        for name in (
            "any_source", "audio_formats", "audio_robustness", "check", "files", "identify", "measurement",
            "prefetch", "raw_lines", "sizes", "small_benchmarks", "strict_json", "workers",
        )
    ),
    "packages/audio-common/tests/scenes",
)  # fmt: skip


def sync(session: nox.Session, *arguments: str) -> None:
    """Make the session's environment hold exactly what the committed lock says for `arguments`."""
    environment = {"UV_PROJECT_ENVIRONMENT": session.virtualenv.location}
    session.run_install("uv", "sync", "--locked", "--exact", *arguments, env=environment)


def sync_tests(session: nox.Session, package: str) -> None:
    """Make the session's environment that of a package's tests."""
    sync(session, "--package", package, "--group", "dev", *TESTED_WITH[package])


def run_tests(session: nox.Session, *paths: str) -> None:
    # Two processes, for two cores; a file's tests stay together, since they share what is slow to make.
    # A process that ends is not replaced: with --dist=loadfile its test would end every one that comes after.
    parallel = ("--numprocesses=2", "--dist=loadfile", "--max-worker-restart=0")
    session.run("pytest", "--durations=5", *parallel, *(session.posargs or paths), env=ENVIRONMENT)


@nox.session
def lint(session: nox.Session) -> None:
    """Format and rules of style."""
    sync(session, "--only-group", "lint")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def docs(session: nox.Session) -> None:
    """The site builds, and every link and anchor in it leads somewhere."""
    sync(session, "--only-group", "docs")
    # Not `--quiet`: it hides the warnings, and `--strict` counts what is not hidden.
    site = Path(session.create_tmp(), "site")
    session.run("mkdocs", "build", "--strict", "--site-dir", str(site), env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(name="audio-common")
def audio_common(session: nox.Session) -> None:
    """audio-common alone, on current torch; `ml-clap-sonar` tests what of it could fail on the oldest."""
    sync_tests(session, "audio-common")
    run_tests(session, "packages/audio-common/tests", "tests")


@nox.session(name="ml-clap")
def ml_clap(session: nox.Session) -> None:
    """ml-clap alone, on current torch and transformers, and its types."""
    sync_tests(session, "ml-clap")
    session.run("mypy", "packages/audio-common/src", "packages/ml-clap/src")
    run_tests(session, "packages/ml-clap/tests", "tests")


@nox.session(name="ml-clap-sonar")
def ml_clap_sonar(session: nox.Session) -> None:
    """What of ml-clap uses torch and transformers, and audio-common, on those that SONAR's library holds."""
    extras = ("--extra", "av", "--extra", "lora", "--extra", "sonar")
    sync(session, "--package", "ml-clap", "--group", "dev", *extras)
    ours = (f"packages/ml-clap/tests/{name}" for name in USES_TRANSFORMERS["ml-clap"])
    left_out = (f"--ignore={path}" for path in SAME_ON_EVERY_TORCH)
    run_tests(session, *ours, "packages/audio-common/tests", "tests/test_isolation.py", *left_out)


@nox.session(name="aac-llm")
def aac_llm(session: nox.Session) -> None:
    """aac-llm alone, on the newest transformers, and its types."""
    sync_tests(session, "aac-llm")
    session.run("mypy", "packages/audio-common/src", "packages/aac-llm/src")
    run_tests(session, "packages/aac-llm/tests", "tests")


@nox.session(name="aac-llm-transformers-4")
def aac_llm_transformers_4(session: nox.Session) -> None:
    """What of aac-llm uses transformers, on the oldest line that is supported."""
    sync(session, "--package", "aac-llm", "--group", "dev", "--group", "transformers-4")
    run_tests(session, *(f"packages/aac-llm/tests/{name}" for name in USES_TRANSFORMERS["aac-llm"]))


@nox.session(name="r1-aqa")
def r1_aqa(session: nox.Session) -> None:
    """r1-aqa alone, on the newest transformers, and its types."""
    sync_tests(session, "r1-aqa")
    session.run("mypy", "packages/audio-common/src", "packages/r1-aqa/src")
    run_tests(session, "packages/r1-aqa/tests", "tests")


@nox.session(name="r1-aqa-transformers-4")
def r1_aqa_transformers_4(session: nox.Session) -> None:
    """r1-aqa on the oldest lines of transformers and TRL that are supported."""
    sync(session, "--package", "r1-aqa", "--group", "dev", "--group", "transformers-4")
    run_tests(session, *(f"packages/r1-aqa/tests/{name}" for name in USES_TRANSFORMERS["r1-aqa"]))


@nox.session
@nox.parametrize("package", PACKAGES)
def wheel(session: nox.Session, package: str) -> None:
    """The built wheel works outside the repository, beside its declared dependencies alone."""
    try_wheel(session, package)


@nox.session(name="wheel-newest-python", python=NEWEST_PYTHONS)
@nox.parametrize("package", PACKAGES)
def wheel_newest_python(session: nox.Session, package: str) -> None:
    """The same on the newest Pythons that the packages claim; skipped where they are not installed."""
    try_wheel(session, package)


def try_wheel(session: nox.Session, package: str) -> None:
    dist = Path(session.create_tmp()).resolve()
    for member in dict.fromkeys(("audio-common", package)):
        session.run_install("uv", "build", "--quiet", "--package", member, "--wheel", "--out-dir", str(dist))
    constraints = (
        dist / "constraints.txt"
    )  # the locked versions, so that the outcome does not change by itself
    export = ["uv", "export", "--quiet", "--locked", "--package", package, "--no-dev", "--no-emit-workspace"]
    session.run_install(*export, "--no-hashes", "--output-file", str(constraints))
    # By path: uv would take an older wheel of the same version out of its cache for a name in --find-links.
    wheels = sorted(str(path) for path in dist.glob("*.whl"))
    session.install(*wheels, "--constraints", str(constraints))
    script = Path("tests", "smoke_wheel.py").resolve()
    session.chdir("/")
    session.run("python", "-I", str(script), package, env=ENVIRONMENT)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Every benchmark, small, in one table; `-- --record` writes it into packages/*/benchmarks/RESULTS.md."""
    rows = Path(session.create_tmp(), "rows.jsonl").resolve()
    rows.unlink(missing_ok=True)
    run = ("python", "docs/tools/small_benchmarks.py", "--rows", str(rows))
    for package in PACKAGES:
        # aac-llm's metrics are compared with the original, which is a program of Java.
        more = {"aac-llm": ("--extra", "java"), "audio-common": ("--group", "bench")}.get(package, ())
        sync(session, "--package", package, "--group", "dev", *TESTED_WITH[package], *more)
        session.run(*run, package, env=ENVIRONMENT)
    session.run(*run, *session.posargs)


@nox.session(default=False)
@nox.parametrize("package", PACKAGES)
@nox.parametrize("check", ["endurance", "lowest", "newest", "supply"])
def nightly(session: nox.Session, check: str, package: str) -> None:
    """What takes long, or changes by itself: see docs/reliability.md."""
    checks = {"endurance": endure, "lowest": try_lowest, "newest": try_newest, "supply": list_supply}
    checks[check](session, package)


def endure(session: nox.Session, package: str) -> None:
    """Run the tests marked `nightly`: damaged sounds of a new seed, fuzzing, every kill."""
    sync_tests(session, package)
    session.run_install("uv", "pip", "install", "--quiet", "atheris")
    paths = session.posargs or (f"packages/{package}/tests", "tests")
    # One process: memory and time are measured. Each test may take as long as it does. Code 5: there is none.
    patient = ("--timeout=0", "-o", "faulthandler_timeout=0")
    session.run("pytest", "-m", "nightly", "-rA", *patient, *paths, env=ENVIRONMENT, success_codes=[0, 5])


def try_lowest(session: nox.Session, package: str) -> None:
    """Test with the oldest direct dependencies that pyproject.toml admits."""
    _try_versions(session, package, "--resolution", "lowest-direct")


def try_newest(session: nox.Session, package: str) -> None:
    """Test with the newest versions there are today, whatever the lock says."""
    _try_versions(session, package, "--upgrade")


def _try_versions(session: nox.Session, package: str, *arguments: str) -> None:
    members = [f"./packages/{member}" for member in dict.fromkeys(("audio-common", package))]
    groups = ["--group", f"packages/{package}/pyproject.toml:dev"]
    session.install(*members, *groups, *arguments)
    session.run("uv", "pip", "list", external=True)
    run_tests(session, f"packages/{package}/tests")


def list_supply(session: nox.Session, package: str) -> None:
    """Write what a package is made of (CycloneDX), and refuse a licence that its own does not go with."""
    folder = Path("supply")
    folder.mkdir(exist_ok=True)
    sync(session, "--package", package, "--no-dev", *TESTED_WITH[package])
    export = ["uv", "export", "--quiet", "--locked", "--package", package, "--no-dev"]
    session.run_install(*export, "--format", "cyclonedx1.5", "--output-file", f"{folder}/{package}.cdx.json")
    licences = folder / f"{package}.licences.json"
    python = f"{session.virtualenv.location}/bin/python"
    session.run_install(
        "uvx", "pip-licenses", "--python", python, "--format=json", f"--output-file={licences}"
    )
    found = json.loads(licences.read_text(encoding="utf-8"))
    refused = [row for row in found if STRONG_COPYLEFT.search(row["License"])]
    if refused:
        session.error(f"licences that do not go with ours: {refused}")
