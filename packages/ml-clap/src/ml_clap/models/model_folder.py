"""A model's folder: its files, and which folder is meant; nothing here imports torch."""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TEXT_FOLDER = "text_encoder"


def find_model(source: str | Path) -> str | Path:
    """Return the model to use: of a training run's folder its `best`, else its `last`, and log which.

    Anything else comes back as it is.
    """
    for name in ("best", "last"):
        model = Path(source) / name
        # A run's folder has a config.json of its own, so weights tell what it is.
        if (model / WEIGHTS_FILE).is_file() and not (Path(source) / WEIGHTS_FILE).exists():
            logger.info("%s is a training run: using %s", source, model)
            return model
    return source
