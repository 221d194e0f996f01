"""The command line is the same in every package: whoever knows one knows all."""

from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / "packages"


@pytest.mark.parametrize("other", ["aac-llm/src/aac_llm", "ml-clap/src/ml_clap"])
def test_the_files_are_equal(other: str) -> None:
    ours = PACKAGES / "r1-aqa" / "src" / "r1_aqa"
    files = [*sorted((ours / "command_line").glob("*.py")), ours / "output.py"]
    assert len(files) > 5
    for file in files:
        assert file.read_bytes() == (PACKAGES / other / file.relative_to(ours)).read_bytes(), file.name
