"""Find the model in the folder of a training; needs the standard library alone, for the cheap checks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from audio_common.strict_json import read_object

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


def sound_changes(model: str | Path, sound: dict[str, Any], hears: float = float("inf")) -> list[str]:
    """Return how the reading of sound differs from that of the training whose best or last model this is.

    Args:
        model: the folder of a model.
        sound: the fields of `SoundConfig` that are used now.
        hears: the longest sound that the model takes, seconds: settings beyond it are alike.
    """
    file = Path(model).parent / "config.json"
    try:
        trained = read_object(file).get("sound", {}) if file.is_file() else {}
    except (OSError, ValueError):
        return []
    if not isinstance(trained, dict):
        return []
    return [
        f"sound.{name}: {trained[name]} in training, {value} now"
        for name, value in sound.items()
        if name in trained and _heard(trained[name], hears) != _heard(value, hears)
    ]


def _heard(value: Any, hears: float) -> Any:
    """Return what a setting comes to: of `max_seconds`, none or a number, no more than a model takes."""
    return min(value, hears) if isinstance(value, int | float) else hears if value is None else value


def say_sound_changes(model: str | Path, sound: dict[str, Any], hears: float = float("inf")) -> None:
    """Say if sound is read in another way than the model's training read it."""
    if changed := sound_changes(find_model(model), sound, hears):
        logger.warning("%s heard otherwise: %s", model, "; ".join(changed))
