"""Find the model in the folder of a training; needs the standard library alone, for the cheap checks."""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger(__name__)

MODEL_FILES = ("config.json", "adapter_config.json")
"""A folder with one of them is a model or adapters; but a run has a config.json of settings as well."""


def find_model(source: str | Path) -> str:
    """Return a hub id or a model's folder as it is, and of a training's folder `best`, else `last`.

    Raises:
        FileNotFoundError: the training has saved no model yet.
    """
    folder = Path(source)
    for name in ("best", "last"):
        if any((folder / name / file).is_file() for file in MODEL_FILES):
            logger.info("%s is a training run: using %s", source, folder / name)
            return str(folder / name)
    if any(folder.glob("checkpoint-*/trainer_state.json")):
        raise FileNotFoundError(f"{source} is a run without a model, neither best nor last; finish it first")
    return str(source)
