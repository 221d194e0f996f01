"""Checkpoints: what was trained, as safetensors, and a config that names the rest.

    config.json                     the ModelConfig and the version of this layout
    bridge.safetensors              queries, Q-Former, projector
    encoder_adapter.safetensors     or encoder/ (in full: trained in full, or from random weights)
    decoder_adapter.safetensors     or decoder/ (in full: trained in full)
    tokenizer.json ...              the decoder's tokenizer

Beside a decoder of 7 billion parameters that is about 100 MB; the authors' training writes 27 GB an epoch.
Each file is written under another name and then renamed, so that a kill leaves a whole checkpoint or none.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from audio_common import CED
from audio_common.config import CEDConfig
from safetensors.torch import load_file, save_file

from aac_llm.bridge import Bridge
from aac_llm.config.model import BridgeConfig, LoRASettings, ModelConfig
from aac_llm.decoder import decoder_width, load_decoder
from aac_llm.lora import adapter_state, apply_strategy, load_adapter_state, merge_adapters
from aac_llm.model import CaptionModel

FORMAT = 1
ENCODER, DECODER = "encoder", "decoder"
ENCODER_ADAPTER, DECODER_ADAPTER = "encoder_adapter.safetensors", "decoder_adapter.safetensors"
BRIDGE = "bridge.safetensors"


class CheckpointError(ValueError):
    """A folder is no checkpoint of a captioning model, or not one that fits."""


def save_model(model: CaptionModel, folder: Path) -> None:
    """Write a checkpoint in `folder`, replacing one that is there."""
    _write_whole(folder, lambda temporary: _save_parts(model, temporary))


def load_model(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
    decoder: str | None = None,
    quantization: str | None = None,
) -> CaptionModel:
    """A model in evaluation mode; see `CaptionModel.from_pretrained`.

    Raises:
        CheckpointError: no checkpoint there, or a decoder of another width than the bridge's.
    """
    folder = find_checkpoint(source)
    config = read_config(folder)
    changes: dict[str, Any] = {"decoder": decoder, "quantization": quantization}
    if dtype is not None:
        changes["decoder_dtype"] = str(dtype).removeprefix("torch.")
    built = replace(config, **{name: value for name, value in changes.items() if value is not None})
    tensors = load_file(folder / BRIDGE)
    width, found = len(tensors["projector.weight"]), decoder_width(built, folder)
    if width != found:
        raise CheckpointError(
            f"{source} was trained for a decoder of width {width}; {built.decoder} has width {found}"
        )
    encoder = _load_encoder(built, folder)
    language_model, tokenizer = load_decoder(built, beside=folder, device=device)
    apply_strategy(language_model, built.decoder_strategy, built.lora, built.lora.decoder_targets)
    if built.decoder_strategy == "lora":
        load_adapter_state(language_model, load_file(folder / DECODER_ADAPTER))
    bridge = Bridge(built.bridge, built.encoder.embed_dim, width, drop_tail=built.layout == "reference")
    bridge.load_state_dict(tensors)
    model = CaptionModel(built, encoder, bridge, language_model, tokenizer)
    for part in (encoder, bridge):
        part.to(device)
    model.prompt_left, model.prompt_right = model.prompt_left.to(device), model.prompt_right.to(device)
    return model.eval()


def save_merged(model: CaptionModel, folder: Path) -> None:
    """Write a checkpoint whose encoder and decoder are whole, with the adapters folded in."""
    from copy import deepcopy

    if model.config.quantization != "none":
        raise CheckpointError(
            "adapters of a quantized decoder cannot be folded in: load with quantization none"
        )
    plain = deepcopy(model)
    merge_adapters(plain.encoder)
    merge_adapters(plain.decoder)
    plain.config = replace(model.config, encoder_strategy="full", decoder_strategy="full")
    save_model(plain, folder)


def push_model(model: CaptionModel, repo_id: str, **options: Any) -> str:
    """Upload a checkpoint to the hub; `options` are those of `huggingface_hub.create_repo` (private, ...)."""
    from huggingface_hub import create_repo, upload_folder

    create_repo(repo_id, exist_ok=True, **options)
    with TemporaryDirectory() as temporary:
        save_model(model, Path(temporary) / "model")
        return str(upload_folder(repo_id=repo_id, folder_path=Path(temporary) / "model"))


def find_checkpoint(source: str | Path) -> Path:
    """The folder of a checkpoint, downloaded when it is a hub id.

    Raises:
        CheckpointError: neither a folder with a checkpoint nor the form of a hub id.
    """
    folder = Path(source)
    if folder.is_dir():
        if not (folder / BRIDGE).is_file():
            raise CheckpointError(f"{folder} holds no captioning model: there is no {BRIDGE}")
        return folder
    if folder.exists() or str(source).count("/") != 1 or str(source).startswith((".", "/")):
        raise CheckpointError(f"expected a folder of a captioning model or a hub id, got {source}")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(source)))


def read_config(folder: Path) -> ModelConfig:
    """The ModelConfig of a checkpoint."""
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise CheckpointError(f"{path} is of a newer layout; update aac-llm")
        return build_config(values)
    except (KeyError, TypeError, json.JSONDecodeError, FileNotFoundError) as error:
        raise CheckpointError(f"{path} is not the config of a captioning model: {error}") from error


def build_config(values: dict[str, Any]) -> ModelConfig:
    """A ModelConfig of nested dictionaries, as JSON gives them."""
    parts = {"encoder": CEDConfig, "bridge": BridgeConfig, "lora": LoRASettings}
    built = {name: part(**_tuples(values[name])) for name, part in parts.items()}
    return ModelConfig(**{**values, **built})


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _save_parts(model: CaptionModel, folder: Path) -> None:
    config = model.config
    bridge = {name: tensor.detach().cpu().contiguous() for name, tensor in model.bridge.state_dict().items()}
    save_file(bridge, folder / BRIDGE)
    if config.decoder_strategy == "full":
        model.decoder.save_pretrained(folder / DECODER)
        model.tokenizer.save_pretrained(folder / DECODER)
        config = replace(config, decoder=DECODER)
    elif config.decoder_strategy == "lora":
        save_file(adapter_state(model.decoder), folder / DECODER_ADAPTER)
    if config.encoder_strategy == "lora":
        save_file(adapter_state(model.encoder), folder / ENCODER_ADAPTER)
    # An encoder that no source names (random, or out of another checkpoint) goes with the model.
    if config.encoder_strategy == "full" or config.encoder_weights in (None, ENCODER):
        _save_encoder(model, folder / ENCODER)
        config = replace(config, encoder_weights=ENCODER)
    model.tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(
        json.dumps({"format": FORMAT} | asdict(config), indent=2) + "\n", encoding="utf-8"
    )


def _save_encoder(model: CaptionModel, folder: Path) -> None:
    """The encoder's own weights, without adapters beside them."""
    plain = CED(model.config.encoder)
    tensors = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in model.encoder.state_dict().items()
        if ".lora_" not in name
    }
    plain.load_state_dict(tensors)
    plain.save_pretrained(folder)


def _load_encoder(config: ModelConfig, folder: Path) -> CED:
    from aac_llm.model import load_encoder

    named = config.encoder_weights
    if named is not None and (folder / named / "config.json").is_file():
        config = replace(config, encoder_weights=str(folder / named))
    encoder = load_encoder(config)
    apply_strategy(encoder, config.encoder_strategy, config.lora, config.lora.encoder_targets)
    if config.encoder_strategy == "lora":
        load_adapter_state(encoder, load_file(folder / ENCODER_ADAPTER))
    return encoder


def _write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder beside `folder`, then put it in its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    write(temporary)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
