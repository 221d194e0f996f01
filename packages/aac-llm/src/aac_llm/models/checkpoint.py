"""Checkpoints of captioners: what was trained, and the names of what was not.

| file | holds |
|---|---|
| `config.json` | `ModelConfig`, `channel` unless it is mean, and the format's version; written last |
| `bridge.safetensors` | query, Q-Former, projection |
| `encoder_adapter.safetensors` | LoRA weights of the encoder (strategy lora) |
| `encoder.safetensors` | the encoder, if it was trained in full or started from random weights |
| `decoder_adapter.safetensors` | LoRA weights of the decoder (strategy lora) |
| `decoder/` | the decoder, if it was trained in full |
| `tokenizer.json`, ... | the decoder's tokenizer |

A frozen part is named in `config.json` (`decoder`, `encoder_weights`); a folder is named relative to the
checkpoint where it is near, so that both can be moved together. Files are written beside their place and then
renamed, `config.json` last: a folder that has one is whole. Everything is read strictly and without pickle.

Nothing here knows the class of the model, which loads and saves itself with these functions.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from audio_common.ced import CED
from audio_common.config import CEDConfig
from torch import Tensor, nn

from aac_llm.config.model import BridgeConfig, LoRAConfig, ModelConfig
from aac_llm.config.sound import Channel, check_channel
from aac_llm.files import write_json
from aac_llm.models.decoder import DTYPES, DecoderError, load_decoder
from aac_llm.models.entries import replace_entries
from aac_llm.models.lora import adapter_tensors, base_tensors, merged_tensors, name_in_module
from aac_llm.models.run_folder import CONFIG_FILE, first_sentence, resolve_model
from aac_llm.models.tensors import CheckpointError, load_part, read_tensors, select_part, write_tensors

FORMAT_VERSION = 1
MODEL_TYPE = "aac_llm"
BRIDGE_FILE = "bridge.safetensors"
ENCODER_FILE = "encoder.safetensors"
ADAPTER_FILES = {"encoder": "encoder_adapter.safetensors", "decoder": "decoder_adapter.safetensors"}
DECODER_FOLDER, ENCODER_FOLDER = "decoder", "encoder"


def find_model(source: str | Path) -> Path:
    """Find the folder of a captioner.

    Args:
        source: the folder, the run folder of a training, or a hub id, which is fetched.

    Raises:
        CheckpointError: there is no captioner.
    """
    path = Path(resolve_model(source))
    # A folder here wins over a model of that name on the hub.
    if path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise CheckpointError(
                f"{path} is no captioner: it has no {CONFIG_FILE} (an unfinished checkpoint?)"
            )
        return path
    # Anything else cannot be a hub id, and asking the hub for a mistyped path helps nobody.
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise CheckpointError(f"expected the folder of a captioner or a hub id, got {str(source)!r}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(source)))
    except Exception as e:  # offline, no such model, no access: huggingface_hub has a class for each
        raise CheckpointError(
            f"no folder {str(source)!r} here, and it could not be fetched from the Hugging Face hub "
            f"({first_sentence(e)})"
        ) from e


# config.json


def read_config(folder: Path) -> ModelConfig:
    """Read the configuration of a checkpoint.

    Raises:
        CheckpointError: unreadable, of something else, or of a newer version.
    """
    path = folder / CONFIG_FILE
    settings = _read_settings(path)
    settings.pop("channel", None)
    try:
        return config_from_dict(settings)
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: {e}") from e


def read_channel(folder: Path) -> Channel:
    """Return what of several channels the checkpoint's model was trained to hear."""
    channel = _read_settings(folder / CONFIG_FILE).get("channel", "mean")
    try:
        check_channel(channel)
    except ValueError as e:
        raise CheckpointError(f"{folder / CONFIG_FILE}: {e}") from e
    return channel


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{path} cannot be read as JSON: {e}") from e
    # A folder with a decoder has a config.json too, of another model_type.
    if not isinstance(settings, dict) or settings.pop("model_type", None) != MODEL_TYPE:
        raise CheckpointError(f"{path} does not describe a captioner (model_type {MODEL_TYPE!r})")
    version = settings.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: expected format_version {FORMAT_VERSION}, got {version!r}; written by a newer aac-llm?"
        )
    return settings


def config_from_dict(settings: Mapping[str, Any]) -> ModelConfig:
    """Make a configuration of what `dataclasses.asdict` made of one and JSON made of that."""
    parts: dict[str, Any] = {"encoder": CEDConfig, "bridge": BridgeConfig, "lora": LoRAConfig}
    converted = dict(settings)
    for name, kind in parts.items():
        if name in converted:
            known = {field.name for field in fields(kind)}
            given = {key: _tuple(value) for key, value in converted[name].items()}
            # A setting that is passed over in silence would change what the model computes.
            if set(given) - known:
                raise ValueError(f"unknown settings of {name}: {', '.join(sorted(set(given) - known))}")
            converted[name] = kind(**given)
    unknown = set(converted) - {field.name for field in fields(ModelConfig)}
    if unknown:
        raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
    return ModelConfig(**converted)


def _write_config(config: ModelConfig, channel: Channel, folder: Path) -> None:
    """Write the configuration, whose folders are named relative to the checkpoint already."""
    settings = {"model_type": MODEL_TYPE, "format_version": FORMAT_VERSION, **asdict(config)}
    # Only where it is needed: versions that do not know it then read all others.
    settings |= {} if channel == "mean" else {"channel": channel}
    write_json(folder / CONFIG_FILE, settings)


def _beside(name: str, folder: Path) -> str:
    """Return a path relative to the checkpoint, if there is something; else the name as it is."""
    return str(folder / name) if (folder / name).exists() else name


def _named_from(name: str, folder: Path) -> str:
    """Name a folder relative to the checkpoint if it is near, else in full; a hub id stays."""
    if not Path(name).exists():
        return name
    # Two levels up are siblings of the run folder; what is farther is unlikely to move along.
    relative = os.path.relpath(Path(name).resolve(), folder.resolve())
    return relative if relative.count("..") <= 2 else str(Path(name).resolve())


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# Saving


def save(
    folder: Path,
    config: ModelConfig,
    decoder: Any,
    tokenizer: Any,
    tensors: Mapping[str, Tensor],
    channel: Channel = "mean",
) -> None:
    """Write a checkpoint; see the module's docstring.

    Args:
        folder: created if need be; other files in it are left alone.
        config: of the model.
        decoder: its language model.
        tokenizer: the language model's.
        tensors: all of the model's, by their names in it.
        channel: what of several channels the model hears.
    """
    parts = {part: select_part(tensors, part) for part in ("encoder", "bridge", "decoder")}
    # Names are rewritten for the new place; weights themselves are not touched.
    weights = config.encoder_weights
    named = replace(
        config,
        decoder=_named_from(config.decoder, folder),
        encoder_weights=None if weights is None else _named_from(weights, folder),
    )
    with replace_entries(folder, last=CONFIG_FILE) as new:
        write_tensors(parts["bridge"], new / BRIDGE_FILE)
        for part, strategy in (("encoder", config.encoder_strategy), ("decoder", config.decoder_strategy)):
            if strategy == "lora":
                write_tensors(adapter_tensors(parts[part]), new / ADAPTER_FILES[part])
        # An encoder that began from random weights has no name under which it could be found again.
        if config.encoder_strategy == "full" or config.encoder_weights is None:
            write_tensors(base_tensors(parts["encoder"]), new / ENCODER_FILE)
        if config.decoder_strategy == "full":
            decoder.save_pretrained(new / DECODER_FOLDER, state_dict=parts["decoder"])
            tokenizer.save_pretrained(new / DECODER_FOLDER)
        tokenizer.save_pretrained(new)
        _write_config(named, channel, new)


def save_merged(
    folder: Path,
    config: ModelConfig,
    encoder: nn.Module,
    bridge: nn.Module,
    decoder: Any,
    tokenizer: Any,
    channel: Channel = "mean",
) -> None:
    """Write plain models in `decoder/` and `encoder/` of `folder`, with the bridge beside them.

    Raises:
        ValueError: the decoder is quantized.
    """
    merged = replace(
        config,
        decoder=DECODER_FOLDER,
        encoder_weights=ENCODER_FOLDER,
        decoder_strategy="frozen",
        encoder_strategy="frozen",
        quantization="none",
    )
    # Of a plain class, so that CED.from_pretrained reads it without knowing of adapters.
    plain_encoder = CED(config.encoder)
    plain_encoder.load_state_dict(merged_tensors(encoder))
    with replace_entries(folder, last=CONFIG_FILE) as new:
        write_tensors(bridge.state_dict(), new / BRIDGE_FILE)
        plain_encoder.save_pretrained(new / ENCODER_FOLDER)
        decoder.save_pretrained(new / DECODER_FOLDER, state_dict=merged_tensors(decoder))
        tokenizer.save_pretrained(new / DECODER_FOLDER)
        tokenizer.save_pretrained(new)
        _write_config(merged, channel, new)


# Loading


def build_encoder(config: ModelConfig) -> tuple[ModelConfig, CED]:
    """Make the encoder with the weights that the configuration names, which then say its architecture."""
    if config.encoder_weights is None:
        return config, CED(config.encoder)
    wanted = config.encoder
    encoder = CED.from_pretrained(
        config.encoder_weights,
        mode=wanted.mode,
        drop_path=wanted.drop_path,
        time_patch_out=wanted.time_patch_out,
        freq_patch_out=wanted.freq_patch_out,
    )
    return replace(config, encoder=encoder.config), encoder


def load_encoder(config: ModelConfig, folder: Path) -> tuple[ModelConfig, CED]:
    """Load a checkpoint's encoder, its own or the one that it names.

    Raises:
        CheckpointError: it has neither.
    """
    if (folder / ENCODER_FILE).is_file():
        encoder = CED(config.encoder)
        load_part(encoder, read_tensors(folder / ENCODER_FILE), str(folder / ENCODER_FILE))
        return config, encoder
    if config.encoder_weights is None:
        raise CheckpointError(f"{folder} has no {ENCODER_FILE}, and no encoder_weights in {CONFIG_FILE}")
    return build_encoder(replace(config, encoder_weights=_beside(config.encoder_weights, folder)))


def load_language_model(
    config: ModelConfig,
    folder: Path,
    *,
    source: str | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
) -> tuple[ModelConfig, Any, Any]:
    """Load a checkpoint's decoder and tokenizer, its own, the one that it names, or `source`.

    Raises:
        DecoderError: it cannot be loaded.
    """
    own = (
        str(folder / DECODER_FOLDER) if config.decoder_strategy == "full" else _beside(config.decoder, folder)
    )
    name = source or own
    dtype = dtype or DTYPES[config.decoder_dtype]
    try:
        decoder, tokenizer = load_decoder(name, dtype=dtype, quantization=config.quantization, device=device)
    except DecoderError as e:
        raise DecoderError(
            f"{folder} is a captioner for {name!r}; give another place with decoder=: {e}"
        ) from e
    return replace(config, decoder=str(name)), decoder, tokenizer


def load_trained(
    config: ModelConfig, folder: Path, *, encoder: nn.Module, bridge: nn.Module, decoder: nn.Module
) -> None:
    """Copy a checkpoint's bridge and adapters into the parts of a model with the same settings.

    Raises:
        CheckpointError: they do not fit, for instance a decoder of another width.
    """
    # First the width: loading would fail with a list of shapes.
    tensors = read_tensors(folder / BRIDGE_FILE)
    _check_width(config, bridge, tensors, folder)
    load_part(bridge, tensors, str(folder / BRIDGE_FILE))
    strategies = {"encoder": config.encoder_strategy, "decoder": config.decoder_strategy}
    for part, module in (("encoder", encoder), ("decoder", decoder)):
        if strategies[part] == "lora":
            path = folder / ADAPTER_FILES[part]
            # Base weights are not in the file; of adapters every one must be there.
            adapter = {name_in_module(name): tensor for name, tensor in read_tensors(path).items()}
            load_part(module, adapter, str(path), kept=r"^(?!.*\.lora_[AB]\.)")


def load_whole(config: ModelConfig, folder: Path, *, encoder: nn.Module, decoder: nn.Module) -> None:
    """Copy those parts of a checkpoint that were trained in full into a model with the same settings."""
    if config.encoder_strategy == "full":
        load_part(encoder, read_tensors(folder / ENCODER_FILE), str(folder / ENCODER_FILE))
    if config.decoder_strategy == "full":
        tensors: dict[str, Tensor] = {}
        # Large models are stored in several shards.
        for path in sorted((folder / DECODER_FOLDER).glob("*.safetensors")):
            tensors |= read_tensors(path)
        decoder.load_state_dict(tensors, strict=False)  # tied weights are stored once


def _check_width(config: ModelConfig, bridge: Any, tensors: Mapping[str, Tensor], folder: Path) -> None:
    trained, width = tensors["projector.weight"].shape[0], bridge.projector.out_features
    if trained != width:
        raise CheckpointError(
            f"{folder} was trained for a decoder of width {trained}, but {config.decoder} has {width}; "
            "give one of the right width with decoder="
        )
