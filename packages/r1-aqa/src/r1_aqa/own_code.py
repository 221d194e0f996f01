"""What a user names as `FILE.py:NAME`: a reward, a family of models.

Such a file is a program that is run: give only files, and settings that name files, that you trust.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any


def load_own(name: str, setting: str) -> Any:
    """Run a Python file and return what it has under a name.

    Args:
        name: `path/to/file.py:name`.
        setting: that asks for it, for messages.

    Raises:
        ValueError: there is no such file, it does not run, or it has nothing of that name.
    """
    path, _, wanted = name.rpartition(":")
    if not path.endswith(".py"):
        raise ValueError(f"{setting}: expected FILE.py:NAME, got {name!r}")
    if not Path(path).is_file():
        raise ValueError(f"{setting}: there is no file {path}")
    try:
        found = runpy.run_path(path)
    except Exception as error:  # whatever a user's file raises
        raise ValueError(f"{setting}: {path} cannot be run: {type(error).__name__}: {error}") from error
    if wanted not in found:
        raise ValueError(f"{setting}: {path} has nothing named {wanted!r}")
    return found[wanted]
