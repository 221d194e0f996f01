"""What every package needs alike is the same file in each: whoever knows one knows all."""

from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / "packages"
EQUAL = (
    "figures.mplstyle",
    "figures.py",
    "files.py",
    "lock.py",
    "output.py",
    "bulk/__init__.py",
    "bulk/blocks.py",
    "bulk/parts.py",
    "bulk/places.py",
    "bulk/run.py",
    "bulk/seconds.py",
    "bulk/work.py",
    "config/doctor.py",
    "config/ray.py",
    "config/server.py",
    "data/licences.py",
    "models/card_parts.py",
    "models/licence.py",
    "models/push.py",
    "doctor/__init__.py",
    "doctor/decoders.py",
    "doctor/doctor.py",
    "doctor/finding.py",
    "doctor/hub.py",
    "doctor/installation.py",
    "doctor/installing.py",
    "doctor/machine.py",
    "doctor/runs.py",
    "doctor/sounds.py",
    "doctor/weights.py",
    "serving/guard.py",
    "serving/request.py",
    "serving/server.py",
    "serving/uploads.py",
    "serving/work.py",
)


@pytest.mark.parametrize("other", ["aac-llm/src/aac_llm", "ml-clap/src/ml_clap"])
def test_the_files_are_equal_but_for_the_packages_name(other: str) -> None:
    ours = PACKAGES / "r1-aqa" / "src" / "r1_aqa"
    files = [*sorted((ours / "command_line").glob("*.py")), *(ours / name for name in EQUAL)]
    assert len(files) == 5 + len(EQUAL)
    for file in files:
        theirs = (PACKAGES / other / file.relative_to(ours)).read_text(encoding="utf-8")
        named = file.read_text(encoding="utf-8").replace("r1_aqa", Path(other).name)
        assert named == theirs, file.name


def test_settings_are_compared_alike() -> None:
    ours, theirs = (
        PACKAGES / name / "config" / "changes.py" for name in ("r1-aqa/src/r1_aqa", "aac-llm/src/aac_llm")
    )
    assert ours.read_bytes() == theirs.read_bytes()


def test_the_endpoints_client_is_one_file() -> None:
    ours, theirs = (
        PACKAGES / name / "models" / "endpoint.py" for name in ("r1-aqa/src/r1_aqa", "aac-llm/src/aac_llm")
    )
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("file", ["checkpoint.py", "sharding.py"])
def test_training_by_several_processes_is_one_file(file: str) -> None:
    ours, theirs = (
        PACKAGES / name / "trainers" / file for name in ("r1-aqa/src/r1_aqa", "aac-llm/src/aac_llm")
    )
    named = ours.read_text(encoding="utf-8").replace("r1_aqa", "aac_llm")
    assert named == theirs.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["shard_names", "shards", "tar_headers", "members"])
def test_shards_are_read_by_the_same_files(name: str) -> None:
    ours, theirs = (
        PACKAGES / place / "data" / f"{name}.py" for place in ("r1-aqa/src/r1_aqa", "aac-llm/src/aac_llm")
    )
    named = ours.read_text(encoding="utf-8").replace("r1_aqa", "aac_llm")
    assert named == theirs.read_text(encoding="utf-8")
