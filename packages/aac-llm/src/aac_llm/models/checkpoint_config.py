"""`config.json` of a checkpoint: a captioner's settings, and where those parts are that it does not hold."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from audio_common.config import CEDConfig

from aac_llm.config.model import BridgeConfig, LoRASettings, ModelConfig

FORMAT_VERSION = 1
MODEL_TYPE = "aac_llm"
CONFIG_FILE = "config.json"


class CheckpointError(ValueError):
    """A folder that is not a captioner, is damaged, or does not fit the decoder."""


def read_config(folder: Path) -> ModelConfig:
    """The configuration of a checkpoint.

    Raises:
        CheckpointError: unreadable, of something else, or of a newer version.
    """
    path = folder / CONFIG_FILE
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{path} cannot be read as JSON: {e}") from e
    if not isinstance(settings, dict) or settings.pop("model_type", None) != MODEL_TYPE:
        raise CheckpointError(f"{path} does not describe a captioner (model_type {MODEL_TYPE!r})")
    version = settings.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: expected format_version {FORMAT_VERSION}, got {version!r}; written by a newer aac-llm?"
        )
    try:
        return config_from_dict(settings)
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: {e}") from e


def config_from_dict(settings: Mapping[str, Any]) -> ModelConfig:
    """A configuration from what `dataclasses.asdict` made of one and JSON made of that."""
    parts: dict[str, Any] = {"encoder": CEDConfig, "bridge": BridgeConfig, "lora": LoRASettings}
    converted = dict(settings)
    for name, kind in parts.items():
        if name in converted:
            known = {field.name for field in fields(kind)}
            given = {key: _tuple(value) for key, value in converted[name].items()}
            if set(given) - known:
                raise ValueError(f"unknown settings of {name}: {', '.join(sorted(set(given) - known))}")
            converted[name] = kind(**given)
    unknown = set(converted) - {field.name for field in fields(ModelConfig)}
    if unknown:
        raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
    return ModelConfig(**converted)


def write_config(config: ModelConfig, folder: Path) -> None:
    """Write the configuration of a checkpoint; folders that it names are relative to it already."""
    settings = {"model_type": MODEL_TYPE, "format_version": FORMAT_VERSION, **asdict(config)}
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def beside(name: str, folder: Path) -> str:
    """A path that is relative to the checkpoint, if there is something; else as it is."""
    return str(folder / name) if (folder / name).exists() else name


def named_from(config: ModelConfig, folder: Path) -> ModelConfig:
    """With folders named from `folder` if they are near, else in full."""
    weights = config.encoder_weights
    return replace(
        config,
        decoder=_name_from(config.decoder, folder),
        encoder_weights=None if weights is None else _name_from(weights, folder),
    )


def _name_from(name: str, folder: Path) -> str:
    if not Path(name).exists():
        return name  # a hub id
    relative = os.path.relpath(Path(name).resolve(), folder.resolve())
    return relative if relative.count("..") <= 2 else str(Path(name).resolve())


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
