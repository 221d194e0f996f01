"""Compare a captioner's configuration with the headers of its weights, before anything is allocated.

What a configuration asks for is bounded (`audio_common.check_sizes`), and must be what is in the files: the
modules are made without memory (PyTorch's `meta` device), and their shapes are looked up in the headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from audio_common import checkpoint
from audio_common.checkpoint import check_sizes, safetensors_shapes

from aac_llm.config.model import ModelConfig
from aac_llm.models.bridge import Bridge
from aac_llm.models.encoder import create_encoder
from aac_llm.models.tensors import CheckpointError, find_misfits, require_file

Shapes = Mapping[str, Sequence[int]]


def check_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse sizes that no captioner has, in the settings as they stand in `config.json`.

    Raises:
        CheckpointError: naming file and setting.
    """
    try:
        check_sizes(settings, str(path))
    except ValueError as e:
        raise CheckpointError(str(e)) from e


def check_parts(config: ModelConfig, bridge: Path, encoder: Path | None, adapters: Sequence[Path]) -> None:
    """Refuse files whose tensors are not those of the configuration.

    Args:
        config: of the captioner.
        bridge: its file.
        encoder: its file, if the captioner has one of its own.
        adapters: files of low-rank weights.

    Raises:
        CheckpointError: naming the file and the tensors.
    """
    shapes = _shapes(bridge)
    width = shapes.get("projector.weight", ())
    if len(width) != 2:
        raise CheckpointError(f"{bridge} is no bridge: it has no projector.weight of two dimensions")
    with torch.device("meta"):
        # The decoder's width is known when it is loaded; see `checkpoint.load_trained`.
        made: dict[Path, Any] = {
            bridge: Bridge(
                config.bridge,
                encoder_dim=config.encoder_dim,
                decoder_width=width[0],
                layout=config.layout,
            )
        }
        if encoder is not None:
            made[encoder] = create_encoder(config)
    for path, module in made.items():
        wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        if problems := find_misfits(wanted, _shapes(path)):
            raise CheckpointError(f"{path} does not fit its config.json: {'; '.join(problems[:5])}")
    for path in adapters:
        for name, shape in _shapes(path).items():
            rank = shape[0] if ".lora_A." in name else shape[-1] if ".lora_B." in name else None
            if rank is not None and rank != config.lora.rank:
                raise CheckpointError(
                    f"{path}: {name} is of rank {rank}, but lora.rank is {config.lora.rank} in config.json"
                )


def check_folder(folder: str | Path) -> None:
    """Refuse a folder of a model of transformers whose configuration asks for more than its weights hold.

    Raises:
        CheckpointError: naming file and setting.
    """
    try:
        checkpoint.check_folder(folder)
    except ValueError as e:
        raise CheckpointError(str(e)) from e


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    require_file(path)
    try:
        return safetensors_shapes(path)
    except ValueError as e:
        raise CheckpointError(str(e)) from e
