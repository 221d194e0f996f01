"""Checkpoints of captioners: what was trained, and the names of what was not.

| file | holds |
|---|---|
| `config.json` | `ModelConfig`, and the format's version; written last |
| `bridge.safetensors` | query, Q-Former, projection |
| `encoder_adapter.safetensors` | LoRA weights of the encoder (strategy lora) |
| `encoder.safetensors` | the encoder, if it was trained in full or started from random weights |
| `decoder_adapter.safetensors` | LoRA weights of the decoder (strategy lora) |
| `decoder/` | the decoder, if it was trained in full |
| `tokenizer.json`, ... | the decoder's tokenizer |

A frozen part is named in `config.json` (`decoder`, `encoder_weights`); a folder is named relative to the
checkpoint where it is near, so that both can be moved together. Files are written beside their place and then
renamed, `config.json` last: a folder that has one is whole. Everything is read strictly and without pickle.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from audio_common.ced import CED
from safetensors.torch import load_file, save_file
from torch import Tensor

from aac_llm.config.model import ModelConfig
from aac_llm.models.checkpoint_config import (
    CONFIG_FILE,
    CheckpointError,
    beside,
    named_from,
    read_config,
    write_config,
)
from aac_llm.models.decoder import DecoderError, Quantization, load_decoder
from aac_llm.models.lora import adapter_tensors, base_tensors, merged_tensors, name_in_module

if TYPE_CHECKING:
    from aac_llm.models.captioner_model import CaptionModel

BRIDGE_FILE = "bridge.safetensors"
ENCODER_FILE = "encoder.safetensors"
ADAPTER_FILES = {"encoder": "encoder_adapter.safetensors", "decoder": "decoder_adapter.safetensors"}
DECODER_FOLDER, ENCODER_FOLDER = "decoder", "encoder"


def save(model: CaptionModel, folder: Path, state_dict: Mapping[str, Tensor] | None = None) -> None:
    """Write a checkpoint; see the module's docstring.

    Args:
        model: what to write.
        folder: created if need be; other files in it are left alone.
        state_dict: tensors under the model's names, if not the model's own.
    """
    config = model.config
    tensors = state_dict if state_dict is not None else model.state_dict()
    parts = {part: _part(tensors, part) for part in ("encoder", "bridge", "decoder")}
    with _Replacing(folder) as new:
        _write_tensors(parts["bridge"], new / BRIDGE_FILE)
        for part, strategy in (("encoder", config.encoder_strategy), ("decoder", config.decoder_strategy)):
            if strategy == "lora":
                _write_tensors(adapter_tensors(parts[part]), new / ADAPTER_FILES[part])
        if config.encoder_strategy == "full" or config.encoder_weights is None:
            _write_tensors(base_tensors(parts["encoder"]), new / ENCODER_FILE)
        if config.decoder_strategy == "full":
            model.decoder.save_pretrained(new / DECODER_FOLDER, state_dict=parts["decoder"])
            model.tokenizer.save_pretrained(new / DECODER_FOLDER)
        model.tokenizer.save_pretrained(new)
        write_config(named_from(config, folder), new)


def save_merged(model: CaptionModel, folder: Path) -> None:
    """Write plain models in `decoder/` and `encoder/` of `folder`, with the bridge beside them."""
    config = replace(
        model.config,
        decoder=DECODER_FOLDER,
        encoder_weights=ENCODER_FOLDER,
        decoder_strategy="frozen",
        encoder_strategy="frozen",
        quantization="none",
    )
    encoder = CED(model.config.encoder)
    encoder.load_state_dict(merged_tensors(model.encoder))
    with _Replacing(folder) as new:
        _write_tensors(_part(model.state_dict(), "bridge"), new / BRIDGE_FILE)
        encoder.save_pretrained(new / ENCODER_FOLDER)
        model.decoder.save_pretrained(new / DECODER_FOLDER, state_dict=merged_tensors(model.decoder))
        model.tokenizer.save_pretrained(new / DECODER_FOLDER)
        model.tokenizer.save_pretrained(new)
        write_config(config, new)


def push(model: CaptionModel, repo_id: str, *, private: bool, token: str | None) -> str:
    """Upload a checkpoint to the Hugging Face hub; the address of the commit."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder))
        return str(
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload a captioner")
        )


def load(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    decoder: str | None = None,
    quantization: Quantization | None = None,
) -> CaptionModel:
    """Read a checkpoint; see `CaptionModel.from_pretrained`.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or a decoder of another width or depth.
        DecoderError: the decoder cannot be loaded.
    """
    from aac_llm.models.captioner_model import DTYPES, CaptionModel

    folder = find_checkpoint(source)
    config = read_config(folder)
    if quantization is not None:
        config = replace(config, quantization=quantization)
    config, encoder = _load_encoder(config, folder)
    name = decoder or _decoder_source(config, folder)
    try:
        language_model, tokenizer = load_decoder(
            name, dtype=dtype or DTYPES[config.decoder_dtype], quantization=config.quantization, device=device
        )
    except DecoderError as e:
        raise DecoderError(
            f"{folder} is a captioner for {name!r}; give another place with decoder=: {e}"
        ) from e
    model = CaptionModel(
        replace(config, decoder=str(name)), encoder=encoder, decoder=language_model, tokenizer=tokenizer
    )
    _load_trained(model, folder)
    if dtype is not None and config.quantization == "none":
        model.to(dtype)
    return model.eval().to(device)


def find_checkpoint(source: str | Path) -> Path:
    """The folder of a checkpoint, fetched from the hub if `source` is the id of one."""
    path = Path(source)
    if path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise CheckpointError(
                f"{path} is no captioner: it has no {CONFIG_FILE} (an unfinished checkpoint?)"
            )
        return path
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise CheckpointError(f"expected the folder of a captioner or a hub id, got {str(source)!r}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(source)))
    except Exception as e:  # offline, no such model, no access: huggingface_hub has a class for each
        raise CheckpointError(
            f"no folder {str(source)!r} here, and it could not be fetched from the Hugging Face hub: {e}"
        ) from e


def load_part(module: torch.nn.Module, tensors: Mapping[str, Tensor], source: str, *, kept: str = "") -> None:
    """Copy tensors into a module.

    Args:
        module: where to.
        tensors: under the module's names.
        source: where they are from, for the error's message.
        kept: pattern of the names that need not be given.

    Raises:
        CheckpointError: listing missing, unexpected and misshapen tensors.
    """
    wanted = module.state_dict()
    problems = [f"missing: {n}" for n in wanted if n not in tensors and not (kept and re.search(kept, n))]
    problems += [f"unexpected: {n}" for n in tensors if n not in wanted]
    problems += [
        f"shape of {n}: expected {tuple(wanted[n].shape)}, got {tuple(tensor.shape)}"
        for n, tensor in tensors.items()
        if n in wanted and wanted[n].shape != tensor.shape
    ]
    if problems:
        shown = "\n  ".join(problems[:50]) + ("\n  ..." if len(problems) > 50 else "")
        raise CheckpointError(
            f"{source} does not fit {type(module).__name__} ({len(problems)} tensors):\n  {shown}"
        )
    module.load_state_dict(tensors, strict=False)


def _load_encoder(config: ModelConfig, folder: Path) -> tuple[ModelConfig, CED]:
    from aac_llm.models.captioner_model import build_encoder

    if (folder / ENCODER_FILE).is_file():
        encoder = CED(config.encoder)
        load_part(encoder, _read_tensors(folder / ENCODER_FILE), str(folder / ENCODER_FILE))
        return config, encoder
    if config.encoder_weights is None:
        raise CheckpointError(f"{folder} has no {ENCODER_FILE}, and no encoder_weights in {CONFIG_FILE}")
    return build_encoder(replace(config, encoder_weights=beside(config.encoder_weights, folder)))


def _load_trained(model: CaptionModel, folder: Path) -> None:
    bridge = _read_tensors(folder / BRIDGE_FILE)
    _check_width(model, bridge, folder)
    load_part(model.bridge, bridge, str(folder / BRIDGE_FILE))
    strategies = {"encoder": model.config.encoder_strategy, "decoder": model.config.decoder_strategy}
    for part, strategy in strategies.items():
        if strategy == "lora":
            path = folder / ADAPTER_FILES[part]
            tensors = {name_in_module(name): tensor for name, tensor in _read_tensors(path).items()}
            load_part(getattr(model, part), tensors, str(path), kept=r"^(?!.*\.lora_[AB]\.)")


def restore(model: CaptionModel, folder: Path) -> None:
    """Put what a checkpoint with the same settings trained into a model that is already there."""
    _load_trained(model, folder)
    if model.config.encoder_strategy == "full":
        load_part(model.encoder, _read_tensors(folder / ENCODER_FILE), str(folder / ENCODER_FILE))
    if model.config.decoder_strategy == "full":
        tensors: dict[str, Tensor] = {}
        for path in sorted((folder / DECODER_FOLDER).glob("*.safetensors")):
            tensors |= _read_tensors(path)
        model.decoder.load_state_dict(tensors, strict=False)  # tied weights are stored once


def _check_width(model: CaptionModel, bridge: Mapping[str, Tensor], folder: Path) -> None:
    trained, width = bridge["projector.weight"].shape[0], model.bridge.projector.out_features
    if trained != width:
        raise CheckpointError(
            f"{folder} was trained for a decoder of width {trained}, but {model.config.decoder} has {width}; "
            "give one of the right width with decoder="
        )


def _decoder_source(config: ModelConfig, folder: Path) -> str:
    if config.decoder_strategy == "full":
        return str(folder / DECODER_FOLDER)
    return beside(config.decoder, folder)


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={"format": "pt"})


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; is the checkpoint whole?") from None
    except Exception as e:  # safetensors raises a few kinds for a damaged file
        raise CheckpointError(f"{path} cannot be read as safetensors: {e}") from e


class _Replacing:
    """A new folder within `folder` whose entries replace those of `folder` in the end, `config.json` last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.new = Path(tempfile.mkdtemp(prefix=".saving-", dir=self.folder))
        return self.new

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            (self.folder / CONFIG_FILE).unlink(missing_ok=True)
            for entry in sorted(self.new.iterdir(), key=lambda entry: entry.name == CONFIG_FILE):
                place = self.folder / entry.name
                if place.is_dir():
                    shutil.rmtree(place)
                os.replace(entry, place)
        shutil.rmtree(self.new, ignore_errors=True)
