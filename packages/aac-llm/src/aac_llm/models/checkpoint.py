"""Checkpoints of captioners: what was trained, and the names of what was not.

| file | holds |
|---|---|
| `config.json` | `ModelConfig`, the model's use (`config_file.USE`), the format's version; written last |
| `bridge.safetensors` | query, Q-Former, projection |
| `encoder_adapter/` | adapters of the encoder (strategy lora), as peft writes them |
| `encoder.safetensors` | the encoder, if it was trained in full or started from random weights |
| `decoder_adapter/` | adapters of the decoder (strategy lora), as peft writes them |
| `decoder/` | the decoder, if it was trained in full |
| `tokenizer.json`, ... | the decoder's tokenizer |
| `README.md` | the model card |

A frozen part is named in `config.json` (`decoder`, `encoder_weights`); a folder is named relative to the
checkpoint where it is near, so that both can be moved together. Files are written beside their place and then
renamed, `config.json` last: a folder that has one is whole. Everything is read strictly and without pickle.

Nothing here knows the class of the model, which loads and saves itself with these functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from audio_common.hub import fetch, split_revision
from torch import Tensor, nn

from aac_llm.config.model import ModelConfig
from aac_llm.models.adapter_folder import Part, find_weights, read_adapter, save_adapter
from aac_llm.models.config_file import (
    USE,
    beside,
    config_from_dict,
    named_from,
    read_settings,
    write_config,
)
from aac_llm.models.decoder import DTYPES, DecoderError, load_decoder
from aac_llm.models.encoder import Encoder, build_encoder, create_encoder
from aac_llm.models.entries import replace_entries
from aac_llm.models.licence import CARD_FILE
from aac_llm.models.lora import base_tensors, merged_tensors
from aac_llm.models.run_folder import CONFIG_FILE, first_sentence, resolve_model
from aac_llm.models.sizes import check_parts, check_settings
from aac_llm.models.tensors import CheckpointError, load_part, read_tensors, select_part, write_tensors

BRIDGE_FILE = "bridge.safetensors"
ENCODER_FILE = "encoder.safetensors"
DECODER_FOLDER, ENCODER_FOLDER = "decoder", "encoder"
PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", CARD_FILE)
"""Files of a captioner on the hub; no code and no pickle is fetched."""


def find_model(source: str | Path) -> Path:
    """Find the folder of a captioner.

    Args:
        source: the folder, the run folder of a training, or a hub id (`owner/name` or
            `owner/name@revision`), which is fetched.

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
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", split_revision(source)[0]):
        raise CheckpointError(f"expected the folder of a captioner or a hub id, got {str(source)!r}")
    try:
        return fetch(source, PATTERNS)
    except Exception as e:  # offline, no such model, no access: huggingface_hub has a class for each
        raise CheckpointError(
            f"no folder {str(source)!r} here, and it could not be fetched from the Hugging Face hub "
            f"({first_sentence(e)})"
        ) from e


def read_config(folder: Path) -> ModelConfig:
    """Read the configuration of a checkpoint.

    Raises:
        CheckpointError: unreadable, of something else, of a newer version, or not that of its weights.
    """
    path = folder / CONFIG_FILE
    settings = read_settings(path)
    for name in USE:
        settings.pop(name, None)
    check_settings(settings, path)
    try:
        config = config_from_dict(settings)
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: {e}") from e
    own_encoder = folder / ENCODER_FILE
    check_parts(
        config,
        folder / BRIDGE_FILE,
        own_encoder if own_encoder.exists() else None,
        [find_weights(folder, part) for part in adapted_parts(config)],
    )
    return config


def adapted_parts(config: ModelConfig) -> list[Part]:
    """Return the parts that have adapters."""
    strategies: dict[Part, str] = {"encoder": config.encoder_strategy, "decoder": config.decoder_strategy}
    return [part for part, strategy in strategies.items() if strategy == "lora"]


# Saving


def save(
    folder: Path,
    config: ModelConfig,
    decoder: Any,
    tokenizer: Any,
    tensors: Mapping[str, Tensor],
    use: Mapping[str, Any],
    card: str,
) -> None:
    """Write a checkpoint; see the module's docstring.

    Args:
        folder: created if need be; other files in it are left alone.
        config: of the model.
        decoder: its language model.
        tokenizer: the language model's.
        tensors: all of the model's, by their names in it.
        use: what else the configuration file holds, see `config_file.USE`.
        card: text of its model card.
    """
    parts = {part: select_part(tensors, part) for part in ("encoder", "bridge", "decoder")}
    # Names are rewritten for the new place; weights themselves are not touched.
    weights = config.encoder_weights
    named = replace(
        config,
        decoder=named_from(config.decoder, folder),
        encoder_weights=None if weights is None else named_from(weights, folder),
    )
    with replace_entries(folder, last=CONFIG_FILE) as new:
        write_tensors(parts["bridge"], new / BRIDGE_FILE)
        bases: dict[Part, str | None] = {"encoder": config.encoder_weights, "decoder": config.decoder}
        for part in adapted_parts(config):
            save_adapter(new, part, config.lora, parts[part], bases[part])
        # An encoder that began from random weights has no name under which it could be found again.
        if config.encoder_strategy == "full" or config.encoder_weights is None:
            write_tensors(base_tensors(parts["encoder"]), new / ENCODER_FILE)
        if config.decoder_strategy == "full":
            decoder.save_pretrained(new / DECODER_FOLDER, state_dict=parts["decoder"])
            tokenizer.save_pretrained(new / DECODER_FOLDER)
        tokenizer.save_pretrained(new)
        (new / CARD_FILE).write_text(card, encoding="utf-8")
        write_config(named, use, new)


def save_merged(
    folder: Path,
    config: ModelConfig,
    encoder: nn.Module,
    bridge: nn.Module,
    decoder: Any,
    tokenizer: Any,
    use: Mapping[str, Any],
    card: str,
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
    # Of a plain class, so that its from_pretrained reads it without knowing of adapters.
    plain_encoder = create_encoder(config)
    plain_encoder.load_state_dict(merged_tensors(encoder))
    with replace_entries(folder, last=CONFIG_FILE) as new:
        write_tensors(bridge.state_dict(), new / BRIDGE_FILE)
        plain_encoder.save_pretrained(new / ENCODER_FOLDER)
        decoder.save_pretrained(new / DECODER_FOLDER, state_dict=merged_tensors(decoder))
        tokenizer.save_pretrained(new / DECODER_FOLDER)
        tokenizer.save_pretrained(new)
        (new / CARD_FILE).write_text(card, encoding="utf-8")
        write_config(merged, use, new)


# Loading


def load_encoder(config: ModelConfig, folder: Path) -> tuple[ModelConfig, Encoder]:
    """Load a checkpoint's encoder, its own or the one that it names.

    Raises:
        CheckpointError: it has neither.
    """
    if (folder / ENCODER_FILE).exists():
        encoder = create_encoder(config)
        load_part(encoder, read_tensors(folder / ENCODER_FILE), str(folder / ENCODER_FILE))
        return config, encoder
    if config.encoder_weights is None:
        raise CheckpointError(f"{folder} has no {ENCODER_FILE}, and no encoder_weights in {CONFIG_FILE}")
    return build_encoder(replace(config, encoder_weights=beside(config.encoder_weights, folder)))


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
        str(folder / DECODER_FOLDER) if config.decoder_strategy == "full" else beside(config.decoder, folder)
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
    modules: dict[Part, nn.Module] = {"encoder": encoder, "decoder": decoder}
    for part in adapted_parts(config):
        adapter = read_adapter(folder, part, config.lora)
        # Base weights are not in the file; of adapters every one must be there.
        load_part(modules[part], adapter, str(find_weights(folder, part)), kept=r"^(?!.*\.lora_[AB]\.)")


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
