"""The command line is the same in every package: whoever knows one knows all."""

from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / "packages"


@pytest.mark.parametrize("other", ["aac-llm/src/aac_llm", "ml-clap/src/ml_clap"])
def test_the_files_are_equal_but_for_the_packages_name(other: str) -> None:
    ours = PACKAGES / "r1-aqa" / "src" / "r1_aqa"
    files = [*sorted((ours / "command_line").glob("*.py")), ours / "output.py"]
    assert len(files) == 5
    for file in files:
        theirs = (PACKAGES / other / file.relative_to(ours)).read_text(encoding="utf-8")
        named = file.read_text(encoding="utf-8").replace("r1_aqa", Path(other).name)
        assert named == theirs, file.name
