"""An extension of griffe: doctests of docstrings are shown as Python, not as Markdown's nested quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^(?P<indent> *)>>> .*\n?(?:(?P=indent)\S.*\n?)*", re.M)
"""From a prompt to the next empty line."""
FLAGS = re.compile(r" *# doctest: \+\w+$", re.M)


class Doctests(griffe.Extension):
    """Puts each doctest into a fence, without the flags that only a test reads."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Return a docstring with its doctests in fences."""
    return DOCTEST.sub(lambda match: f"```python\n{plain(match)}\n```\n", text)


def plain(match: re.Match[str]) -> str:
    """Return a doctest at the left margin, without flags."""
    lines = match[0].rstrip("\n").splitlines()
    return FLAGS.sub("", "\n".join(line.removeprefix(match["indent"]) for line in lines))
