"""The file `config.json` of a captioner: its configuration, how it is used (`USE`), its version.

A foreign one is read strictly: what is unknown, of another kind or of an absurd size is refused by its name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from audio_common.config import CEDConfig
from audio_common.strict_json import JSONError, read_json, read_object

from aac_llm.config.model import BridgeConfig, LoRAConfig, ModelConfig, WhisperConfig
from aac_llm.config.sound import check_channel
from aac_llm.data.manifest import is_seconds
from aac_llm.files import write_json
from aac_llm.models.confidence import calibrations_from
from aac_llm.models.run_folder import CONFIG_FILE
from aac_llm.models.tensors import CheckpointError

FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""In version 1 adapters were single files; see `adapter_folder.py`."""
MODEL_TYPE = "aac_llm"
USE = ("channel", "trained_seconds", "confidence")
"""Keys beside the configuration, each only where it is needed: what is heard of several channels, the longest
sound of the training in seconds, the calibration of scores."""


def read_use(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint knows of its use, by the attributes of the model that hold it.

    Raises:
        CheckpointError: it is of another kind.
    """
    path = folder / CONFIG_FILE
    settings = read_settings(path)
    channel, seconds = settings.get("channel", "mean"), settings.get("trained_seconds")
    try:
        check_channel(channel)
        if seconds is not None and (not is_seconds(seconds) or not seconds):
            raise ValueError(f"trained_seconds must be seconds above 0, got {seconds!r}")
        calibrations = calibrations_from(settings.get("confidence", {}))
    except ValueError as e:
        raise CheckpointError(f"{path}: {e}") from e
    return {"channel": channel, "trained_seconds": seconds, "calibrations": calibrations}


def read_settings(path: Path) -> dict[str, Any]:
    """Return what the file holds, but for its kind and version.

    Raises:
        CheckpointError: unreadable, of something else, or of a newer version.
    """
    try:
        settings = read_json(path)
    except (OSError, JSONError) as e:
        raise CheckpointError(f"{path} cannot be read: {e}") from e
    # A folder with a decoder has a config.json too, of another model_type.
    if not isinstance(settings, dict) or settings.pop("model_type", None) != MODEL_TYPE:
        raise CheckpointError(f"{path} does not describe a captioner (model_type {MODEL_TYPE!r})")
    version = settings.pop("format_version", None)
    if version not in READABLE_VERSIONS:
        raise CheckpointError(
            f"{path}: expected format_version {FORMAT_VERSION}, got {version!r}; written by a newer aac-llm?"
        )
    return settings


def config_from_dict(settings: Mapping[str, Any]) -> ModelConfig:
    """Make a configuration of what `dataclasses.asdict` made of one and JSON made of that.

    Raises:
        ValueError: a setting is unknown or not of its kind; it is named.
    """
    parts: dict[str, Any] = {"encoder": CEDConfig, "whisper": WhisperConfig}
    parts |= {"bridge": BridgeConfig, "lora": LoRAConfig}
    converted = dict(settings)
    for name, kind in parts.items():
        if name in converted:
            converted[name] = _make(kind, converted[name], name)
    made: ModelConfig = _make(ModelConfig, converted)
    return made


def _make(kind: Any, settings: Any, part: str = "") -> Any:
    if not isinstance(settings, Mapping):
        raise ValueError(f"{part} must be an object, got {settings!r}")
    given, kinds = {name: _tuple(value) for name, value in settings.items()}, get_type_hints(kind)
    # A setting that is passed over in silence would change what the model computes.
    if unknown := sorted(set(given) - set(kinds)):
        raise ValueError(f"unknown settings{f' of {part}' if part else ''}: {', '.join(unknown)}")
    for name, value in given.items():
        if not _fits(value, kinds[name]):
            wanted = getattr(kinds[name], "__name__", None) or str(kinds[name])
            raise ValueError(f"{part and f'{part}.'}{name} must be {wanted}, got {value!r}")
    return kind(**given)


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of the kind that an annotation names."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return value in arguments
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if arguments:  # one of several
        return any(_fits(value, one) for one in arguments)
    # bool is an int for Python, not for us; JSON writes 1.0 as 1.
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def write_config(config: ModelConfig, use: Mapping[str, Any], folder: Path) -> None:
    """Write the configuration, whose folders are named relative to the checkpoint already, and `USE`."""
    settings = {"model_type": MODEL_TYPE, "format_version": FORMAT_VERSION, **asdict(config)}
    # Only where they are needed: versions that do not know them then read all others.
    if not config.timestamps:
        del settings["timestamps"]
    if config.encoder_kind == "ced":
        del settings["encoder_kind"], settings["whisper"]
    write_json(folder / CONFIG_FILE, settings | dict(use))


def write_use(use: Mapping[str, Any], folder: Path) -> None:
    """Change what a whole checkpoint says of its use, and nothing else."""
    path = folder / CONFIG_FILE
    kept = {name: value for name, value in read_object(path).items() if name not in USE}
    write_json(path, kept | dict(use))


def beside(name: str, folder: Path) -> str:
    """Return a path relative to the checkpoint, if there is something; else the name as it is."""
    return str(folder / name) if (folder / name).exists() else name


def named_from(name: str, folder: Path) -> str:
    """Name a folder relative to the checkpoint if it is near, else in full; a hub id stays."""
    if not Path(name).exists():
        return name
    # Two levels up are siblings of the run folder; what is farther is unlikely to move along.
    relative = os.path.relpath(Path(name).resolve(), folder.resolve())
    return relative if relative.count("..") <= 2 else str(Path(name).resolve())


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
