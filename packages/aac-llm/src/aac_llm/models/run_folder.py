"""The model that is meant where the run folder of a training is named; imports nothing heavy."""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
"""File of a checkpoint that is written last."""


def resolve_model(source: str | Path) -> str:
    """Return the model that is meant: of a run folder its `best`, else its `last`, which is logged."""
    for name in ("best", "last"):
        # It is written last: a folder that has it is whole.
        if (Path(source) / name / CONFIG_FILE).is_file():
            logger.info("%s is a training run: using %s", source, Path(source) / name)
            return str(Path(source) / name)
    return str(source)


def first_sentence(error: Exception) -> str:
    """Return what a library says of a model that cannot be had, without its advice of several lines."""
    lines = str(error).strip().split(". ")[0].splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
