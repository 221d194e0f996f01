"""Runs what docs/interoperability.md shows: the blocks of a package's section, one after the other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "interoperability.md"
LIBRARIES = re.compile(r"^(?:from|import) (\w+)", re.M)


def blocks(package: str, languages: tuple[str, ...] = ("sh", "python")) -> Iterator[tuple[str, str]]:
    """Yield language and text of each block of a package's section."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.split(f"\n## {package}\n")[1].split("\n## ")[0]
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", section, re.M | re.S):
        if language in languages:
            yield language, text


def run_blocks(package: str, main: Callable[[list[str]], int | None]) -> list[str]:
    """Run every block of a section in the current folder; return the libraries whose blocks were left out.

    Args:
        package: its section.
        main: runs the words of one of its commands, and returns its exit status.
    """
    lacking = []
    for language, text in blocks(package):
        if language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                words = shlex.split(line)
                assert words[0] == package, line
                assert not main(words[1:]), line
            continue
        missing = [name for name in LIBRARIES.findall(text) if find_spec(name) is None]
        lacking += missing
        if not missing:
            exec(compile(text, f"{PAGE.name}: {text.splitlines()[0]}", "exec"), {})
    return lacking
