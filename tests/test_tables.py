"""Tables of captions are read by the same rules in every package that reads them."""

from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / "packages"


def test_the_table_readers_are_equal_but_for_the_packages_name() -> None:
    ours = PACKAGES / "aac-llm" / "src" / "aac_llm" / "data" / "table.py"
    theirs = PACKAGES / "ml-clap" / "src" / "ml_clap" / "data" / "table.py"
    if not theirs.is_file():
        pytest.skip("ml-clap has no table reader of its own")
    named = ours.read_text(encoding="utf-8").replace("aac_llm", "ml_clap")
    assert named == theirs.read_text(encoding="utf-8")
