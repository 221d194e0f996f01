"""What a model is saved as: model folders, the authors' checkpoints, and the folders of training runs.

A model folder holds `config.json`, `model.safetensors` (see `MLCLAP.export_state` for the names), the model
card `README.md`, and `text_encoder/` with its configuration and tokenizer. The authors' three `.pt` files
hold the weights alone, under `audio_encoder.model.*` (CED), `text_encoder.model.*` (SONAR, fairseq2's
names), `audio_proj.*`, `text_proj.*` and `temperature`. Nothing here knows the model's class:
`MLCLAP.from_pretrained` builds one of what is read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from audio_common.checkpoint import check_sizes, convert_state_dict, read_tensors, safetensors_shapes
from audio_common.config import CHANNELS, CEDConfig, Channel
from audio_common.sizes import Shapes
from audio_common.strict_json import read_object
from safetensors.torch import save_file
from torch import Tensor

from ml_clap.config.model import ModelConfig
from ml_clap.files import write_atomically, write_json
from ml_clap.models.adapter_folder import ADAPTER_FILES, has_adapter, read_adapter, save_adapter
from ml_clap.models.licence import CARD_FILE
from ml_clap.models.model_folder import CONFIG_FILE, TEXT_FOLDER, WEIGHTS_FILE, find_model
from ml_clap.models.sonar import has_sonar, sonar_config, to_our_layout
from ml_clap.models.text_encoder import TextEncoder
from ml_clap.models.text_source import (
    TOKENIZER_FILES,
    TextSource,
    fetch_folder,
    load_pt,
    read_text_source,
)
from ml_clap.models.tokenizer import SonarTokenizer, find_sentencepiece

logger = logging.getLogger(__name__)

MODULES_FILE = "modules.json"
MODULES = [
    {
        "idx": 0,
        "name": "0",
        "path": "",
        "type": "ml_clap.models.embedding_module.EmbeddingModule",
        "kwargs": [],
    }
]
"""What sentence-transformers reads to load a model folder."""
ADAPTERS = "text_adapter."
"""What the names of the text encoder's adapters begin with; its own weights are then omitted."""
FORMAT = "ml-clap"
FORMAT_VERSION = 1
HUB_FILES = (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    *(f"{TEXT_FOLDER}/{name}" for name in (CONFIG_FILE, *TOKENIZER_FILES)),
    *ADAPTER_FILES,
)
"""Patterns of the files of a model."""
HEAD_WIDTH = 64
"""Width of an attention head in CED and in SONAR, which no tensor's shape tells."""

SHOWN = 5
"""Weights that an error names of those that do not fit."""

Mode = Literal["masked", "reference"]
Settings = TypeVar("Settings")
_ENCODERS = ("audio_encoder", "text_encoder")


@dataclass(frozen=True)
class SavedModel:
    """A model as it is on disk."""

    path: Path
    """The folder or file that it was read from."""
    config: ModelConfig
    state: dict[str, Tensor]
    """Weights under the names of `MLCLAP.export_state`."""
    text: TextSource | None
    """What the text encoder is built of; None if it is omitted."""
    channel: Channel = "mean"
    """What was made of several channels in training."""
    omitted: tuple[str, ...] = ()
    """Encoders whose weights are read again from where `config` says they come from."""


# Which model is meant


def read_model(
    source: str | Path, *, mode: Mode | None = None, text_tokenizer: str | Path | None = None
) -> SavedModel:
    """Read a model folder, a training run, a hub id or a checkpoint of the authors.

    Args:
        source: what to read.
        mode: of the audio encoder, see `MLCLAP.from_pretrained`.
        text_tokenizer: see `read_published`.

    Raises:
        ValueError: it is no model, is incomplete, or its text tokenizer is missing.
    """
    source = find_model(source)
    if Path(source).suffix == ".pt":
        return read_published(Path(source), mode=mode or "masked", text_tokenizer=text_tokenizer)
    folder = fetch_folder(
        source, wanted="a folder of `save_pretrained`, a hub id or a .pt of the authors", patterns=HUB_FILES
    )
    return read_folder(folder, mode=mode)


# Model folders


def read_folder(folder: Path, *, mode: Mode | None = None) -> SavedModel:
    """Read what `write_folder` wrote; ValueError if it is not that, or not complete."""
    if not (folder / WEIGHTS_FILE).is_file():
        read_config(folder)  # which says so of what is no model
        raise ValueError(f"{folder} has no {WEIGHTS_FILE}: the model was not saved completely")
    shapes = safetensors_shapes(folder / WEIGHTS_FILE)
    config, channel, omitted = read_config(folder, shapes)
    text = None
    if "text_encoder" not in omitted:
        config = _with_installed_backend(config)
        own = {name: shape for name, shape in shapes.items() if name.startswith("text_encoder.")}
        text = read_text_source(folder / TEXT_FOLDER, max_tokens=config.max_text_tokens, shapes=own)
    state = read_tensors(folder / WEIGHTS_FILE)
    if "text_encoder" in omitted and has_adapter(folder):
        state |= {ADAPTERS + name: tensor for name, tensor in read_adapter(folder).items()}
    return SavedModel(
        folder, config if mode is None else _in_mode(config, mode), state, text, channel, omitted
    )


def write_folder(
    folder: Path,
    config: ModelConfig,
    state: Mapping[str, Tensor],
    text_encoder: TextEncoder,
    *,
    channel: Channel = "mean",
    save_frozen: bool = True,
    changed_text: Mapping[str, Tensor] | None = None,
    card: str = "",
) -> None:
    """Write a model folder; see `MLCLAP.save_pretrained`.

    `changed_text` is what to write of a text encoder that is omitted otherwise.
    """
    omitted = [] if save_frozen else _reloadable_encoders(config)
    if changed_text is not None:
        omitted.append("text_encoder")
    # Contiguous copies: safetensors refuses views and tensors that share memory.
    kept = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in state.items()
        if name.split(".")[0] not in omitted
    }
    changed = dict(changed_text or {})
    adapters = {name: changed.pop(name) for name in [*changed] if name.startswith(ADAPTERS)}
    kept |= {name: tensor.detach().cpu().contiguous() for name, tensor in changed.items()}
    named = {name.removeprefix(ADAPTERS): tensor for name, tensor in adapters.items()}
    save_adapter(folder, named, config.text_encoder)
    write_atomically(folder / WEIGHTS_FILE, lambda path: save_file(kept, path, metadata={"format": "pt"}))
    text_encoder.save_config(folder / TEXT_FOLDER)
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "omitted": omitted,
        "channel": channel,
        "model": asdict(_without_local_paths(config, omitted)),
    }
    write_json(folder / MODULES_FILE, MODULES)
    write_atomically(folder / CARD_FILE, card)
    # Last: a folder without it is no model.
    write_json(folder / CONFIG_FILE, description)


def read_config(folder: Path, shapes: Shapes | None = None) -> tuple[ModelConfig, Channel, tuple[str, ...]]:
    """Return a model folder's configuration, its choice of channel, and the encoders that it omits.

    Args:
        folder: of the model.
        shapes: of its weights, which bound the sizes that the configuration may ask for.

    Raises:
        ValueError: it is not a model folder, or one that another version wrote; names the file and the key.
    """
    path = folder / CONFIG_FILE
    description = read_object(path) if path.is_file() else {}
    if description.get("format") != FORMAT:
        raise ValueError(f"{folder} is not a model folder of ml-clap (no {CONFIG_FILE} that says so)")
    version, settings = description.get("format_version"), description.get("model")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ValueError(
            f"{path}: format_version is {version!r}, and this ml-clap reads {FORMAT_VERSION}: update ml-clap"
        )
    config = parse_model_config(settings, path, shapes)
    channel, omitted = description.get("channel", "mean"), description.get("omitted")
    if channel not in CHANNELS:
        raise ValueError(f"{path}: channel must be one of {', '.join(CHANNELS)}, got {channel!r}")
    if not isinstance(omitted, list) or any(name not in _ENCODERS for name in omitted):
        raise ValueError(f"{path}: omitted must be a list of {', '.join(_ENCODERS)}, got {omitted!r}")
    return config, channel, tuple(omitted)


def parse_model_config(settings: Any, path: Path, shapes: Shapes | None = None) -> ModelConfig:
    """Return the configuration of a model that a file holds.

    Args:
        settings: what the file has of it.
        path: of the file, for errors.
        shapes: of the weights, which bound the sizes that the configuration may ask for.

    Raises:
        ValueError: it is none; names the file and the key.
    """
    if not isinstance(settings, dict) or not isinstance(settings.get("audio"), dict):
        raise ValueError(f"{path}: expected an object `model` with an object `audio`")
    check_sizes(settings, f"{path}: model", shapes)
    labels = settings["audio"].get("labels") or []
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{path}: model.audio.labels must be a list of texts")
    audio = {**settings["audio"], "labels": tuple(labels)}
    return _settings(
        ModelConfig, settings | {"audio": _settings(CEDConfig, audio, path, "model.audio.")}, path, "model."
    )


def _settings(kind: type[Settings], values: Mapping[str, Any], path: Path, prefix: str) -> Settings:
    """Return a dataclass of settings with the values of a file; a ValueError names the file and the key."""
    kinds = {one.name: str(one.type) for one in fields(kind)}  # type: ignore[arg-type]
    plain = {one.name: one.default for one in fields(kind) if one.default is not MISSING}  # type: ignore[arg-type]
    unknown = values.keys() - {one.name for one in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(
            f"{path} has settings that this ml-clap does not know: {prefix}{', '.join(sorted(unknown))}"
        )
    for name, value in values.items():
        default = plain.get(name)
        wanted: Any = (int, float) if isinstance(default, float) else type(default)
        is_flag = isinstance(value, bool) and not isinstance(default, bool)
        if default is None and name in plain:
            number = (int, float) if "float" in kinds[name] else int
            wanted = (str if "str" in kinds[name] else number, type(None))
        if name in plain and (is_flag or not isinstance(value, wanted)):
            raise ValueError(f"{path}: {prefix}{name} must be like {default!r}, got {value!r}")
    try:
        return kind(**values)
    except ValueError as e:
        raise ValueError(f"{path}: {prefix}{e}") from e


def _with_installed_backend(config: ModelConfig) -> ModelConfig:
    """Return `config` with a text backend that can run here: both embed alike with the same weights."""
    if config.text_backend != "sonar" or has_sonar():
        return config
    logger.info(
        "the text encoder runs in transformers: SONAR's own library, the extra `sonar`, is not installed"
    )
    return replace(config, text_backend="transformers")


def _in_mode(config: ModelConfig, mode: Mode) -> ModelConfig:
    """Return `config` with the audio encoder in a mode; `reference` brings the authors' text rule too."""
    # Published weights have seen texts with the authors' rule only.
    rule = "reference" if mode == "reference" else config.text_normalization
    return replace(config, audio=replace(config.audio, mode=mode), text_normalization=rule)


def _reloadable_encoders(config: ModelConfig) -> list[str]:
    named = {
        "audio_encoder": config.freeze_audio and config.audio_weights is not None,
        "text_encoder": config.freeze_text,
    }
    return [name for name in _ENCODERS if named[name]]


def _without_local_paths(config: ModelConfig, omitted: list[str]) -> ModelConfig:
    """Name a folder of this machine by its last part, unless loading needs it: it means nothing elsewhere."""
    audio, text = config.audio_weights, config.text_encoder
    if audio is not None and "audio_encoder" not in omitted and Path(audio).exists():
        audio = Path(audio).name
    if "text_encoder" not in omitted and Path(text).exists():
        text = Path(text).name
    return replace(config, audio_weights=audio, text_encoder=text)


def check_fit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raise a ValueError that lists what is missing, unexpected or of another shape in `given`."""
    problems = [f"missing: {name}" for name in wanted if name not in given]
    problems += [f"unexpected: {name}" for name in given if name not in wanted]
    problems += [
        f"{name}: expected {tuple(wanted[name].shape)}, got {tuple(given[name].shape)}"
        for name in wanted
        if name in given and wanted[name].shape != given[name].shape
    ]
    if problems:
        more = f"; and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
        raise ValueError("the weights do not fit the model: " + "; ".join(problems[:SHOWN]) + more)


# Checkpoints of the authors


def read_published(
    path: Path,
    *,
    mode: Mode = "masked",
    text_tokenizer: str | Path | None = None,
    head_width: int = HEAD_WIDTH,
) -> SavedModel:
    """Read one of the authors' checkpoints.

    Args:
        path: the `.pt` file.
        mode: of the audio encoder.
        text_tokenizer: SONAR's sentencepiece file or a folder with it; default: beside `path`.
        head_width: width of an attention head.
    """
    tokenizer_file = find_tokenizer(path, text_tokenizer)
    state = convert_published(load_pt(path))
    config = published_config(state, mode=mode, head_width=head_width)
    tokenizer = SonarTokenizer(tokenizer_file, max_tokens=config.max_text_tokens)
    text_config = sonar_config(_below(state, "text_encoder."), head_width=head_width)
    return SavedModel(path, config, state, TextSource(text_config, tokenizer, None))


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a published state dict under the names of `MLCLAP.export_state`."""
    audio, text = _below(state, "audio_encoder.model."), _below(state, "text_encoder.model.")
    if not audio or not text or "temperature" not in state:
        raise ValueError(
            "not a checkpoint of ML-CLAP: expected names that start with audio_encoder.model. and "
            f"text_encoder.model., and temperature, got {', '.join(list(state)[:3])}, ..."
        )
    audio, text = convert_state_dict(audio), to_our_layout(text)
    rest = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(("audio_encoder.model.", "text_encoder.model.")) and name != "temperature"
    }
    return (
        {f"audio_encoder.{name}": tensor for name, tensor in audio.items()}
        | {f"text_encoder.{name}": tensor for name, tensor in text.items()}
        | rest
        | {"raw_temperature": state["temperature"]}
    )


def published_config(
    state: Mapping[str, Tensor], *, mode: Mode = "masked", head_width: int = HEAD_WIDTH
) -> ModelConfig:
    """Return the architecture of a converted checkpoint, with the authors' temperature and text rule."""
    dim = len(state["audio_encoder.norm.weight"])
    blocks = {name.split(".")[2] for name in state if name.startswith("audio_encoder.blocks.")}
    audio = CEDConfig(
        embed_dim=dim,
        depth=len(blocks),
        num_heads=max(dim // head_width, 1),
        num_classes=len(state["audio_encoder.outputlayer.1.bias"]),
        mode=mode,
    )
    return ModelConfig(
        audio=audio,
        embed_dim=len(state["audio_proj.0.bias"]),
        temperature_parameter="raw",
        text_normalization="reference",
    )


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def find_tokenizer(path: Path, given: str | Path | None) -> Path:
    """Return SONAR's sentencepiece file: the one given, in the folder given, or beside a checkpoint.

    Raises:
        ValueError: there is none.
    """
    place = path.parent if given is None else Path(given)
    if place.is_file():
        return place
    if given is not None and not place.is_dir():
        raise ValueError(f"text_tokenizer: there is no file or folder {given}")
    try:
        return find_sentencepiece(place)
    except ValueError as e:
        raise ValueError(f"{path.name} comes without its text tokenizer (text_tokenizer): {e}") from e
