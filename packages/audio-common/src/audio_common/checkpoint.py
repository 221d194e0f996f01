"""Reading and writing CED weights: two published schemes of names, and our own.

| scheme | attention | BatchNorm | encoder | front end |
|---|---|---|---|---|
| the authors' `.pt` (or nested in `model`) | `attn.qkv` | `init_bn.1.` | no prefix | `front_end.*` |
| Hugging Face, `mispeech/ced-*` | `attn.qkv` | `init_bn.` | `encoder.`, but not the head | - |
| ours | `attn.q`, `attn.k`, `attn.v` | `init_bn.` | no prefix | - |

Everything is strict: a missing, unexpected or misshapen tensor is an error that lists them all. `.pt` files
are read with `weights_only=True`, so that opening one never runs code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from audio_common.config import PATCH_FRAMES, CEDConfig
from audio_common.hub import fetch, split_revision
from audio_common.mel import FFT_LENGTH, HOP_LENGTH, NUM_MELS, SAMPLE_RATE, mel_filterbank
from audio_common.sizes import CheckpointError, check_folder, check_sizes, safetensors_shapes
from audio_common.strict_json import JSONError, read_object

__all__ = [
    "CheckpointError",
    "check_folder",
    "check_sizes",
    "convert_state_dict",
    "load_checkpoint",
    "load_tensors",
    "read_tensors",
    "safetensors_shapes",
    "save_checkpoint",
]

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
MODEL_TYPE = "audio_common.ced"

_HEAD_DIM = 64  # of every published size; a checkpoint does not say how many heads it has
_PUBLISHED_LENGTH = 1012  # frames; of the published checkpoints, whose 63 positions allow 1008 to 1023
_TORCH_SUFFIXES = (".pt", ".pth", ".bin")


def load_checkpoint(source: str | Path, **overrides: Any) -> tuple[CEDConfig, dict[str, Tensor]]:
    """Read the configuration of a checkpoint, and its tensors under our names.

    Args:
        source: a folder (`model.safetensors` or one `.pt`, and `config.json` if there is one), a
            `.safetensors`, `.pt`, `.pth` or `.bin` file, or a model's id on the Hugging Face hub
            (`mispeech/ced-base`, or `mispeech/ced-base@REVISION`).
        overrides: fields of `CEDConfig` that replace what the checkpoint says. With another
            `target_length`, the time positions are cropped or interpolated.

    Raises:
        CheckpointError: nothing there, unreadable, not CED's, or a configuration that is not its weights'.
    """
    weights, config_file = _locate(source)
    shapes = safetensors_shapes(weights) if weights.suffix == ".safetensors" else None
    described = _read_config(config_file, shapes) if config_file is not None else {}
    tensors = convert_state_dict(read_tensors(weights))
    shape = _shape_config(tensors, weights)
    for name, value in described.items():
        if name in ("embed_dim", "depth", "mlp_ratio", "num_classes") and not math.isclose(
            value, shape[name]
        ):
            raise CheckpointError(f"{config_file}: {name} is {value}, but that of {weights} is {shape[name]}")
    settings = {**shape, **described, **overrides}
    if "num_heads" not in settings:
        raise CheckpointError(f"{weights} does not say how many attention heads it has; give num_heads=")
    try:
        config = CEDConfig(**settings)
    except ValueError as error:
        raise CheckpointError(f"{config_file or weights}: {error}") from error
    tensors["time_pos_embed"] = resize_time_positions(tensors["time_pos_embed"], config.num_columns)
    return config, tensors


def save_checkpoint(config: CEDConfig, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write `model.safetensors` and `config.json`; reading them back gives the same tensors bit for bit."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    settings = {"model_type": MODEL_TYPE, **asdict(config)}
    (folder / CONFIG_FILE).write_text(
        json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def load_tensors(model: torch.nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy `tensors` into `model`.

    Raises:
        CheckpointError: listing every missing, unexpected and misshapen tensor.
    """
    wanted = model.state_dict()
    problems = [f"missing: {name}" for name in wanted if name not in tensors]
    problems += [f"unexpected: {name}" for name in tensors if name not in wanted]
    problems += [
        f"shape of {name}: expected {tuple(wanted[name].shape)}, got {tuple(tensor.shape)}"
        for name, tensor in tensors.items()
        if name in wanted and wanted[name].shape != tensor.shape
    ]
    if problems:
        lines = "\n  ".join(problems)
        raise CheckpointError(
            f"{source} does not fit {type(model).__name__} ({len(problems)} tensors):\n  {lines}"
        )
    model.load_state_dict(tensors)


def convert_state_dict(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename tensors from either published scheme of names, or ours, to ours.

    Raises:
        CheckpointError: a stored front end (`front_end.*`) is not the one computed here.
    """
    tensors = _unnest(tensors)
    converted: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("encoder.").replace("init_bn.1.", "init_bn.")
        if name.startswith("front_end."):
            _check_front_end(name, tensor)
        elif ".attn.qkv." in name:
            for letter, part in zip("qkv", tensor.tensor_split(3), strict=True):
                converted[name.replace(".qkv.", f".{letter}.")] = part.contiguous()
        else:
            converted[name] = tensor
    return converted


def read_tensors(path: Path) -> dict[str, Any]:
    """The content of a `.safetensors` or (weights only) `.pt` file."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except Exception as e:  # torch, pickle and safetensors raise a dozen kinds for a damaged file
        raise CheckpointError(f"{path} cannot be read as weights: {e}") from e
    if not isinstance(content, dict):
        raise CheckpointError(
            f"expected {path} to hold a dictionary of tensors, got {type(content).__name__}"
        )
    return content


def resize_time_positions(positions: Tensor, columns: int) -> Tensor:
    """Fit time positions `(1, dim, 1, length)` to `columns`: crop them, or interpolate if too few."""
    if positions.shape[-1] >= columns:
        return positions[..., :columns].contiguous()
    return F.interpolate(positions.float(), size=(1, columns), mode="bilinear").to(positions.dtype)


def _unnest(tensors: Mapping[str, Any]) -> Mapping[str, Tensor]:
    for key in ("model", "state_dict"):
        if isinstance(tensors.get(key), Mapping):
            tensors = tensors[key]
    others = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(
            f"expected tensors only (also under 'model'), got others: {', '.join(others[:10])}"
        )
    return tensors


def _check_front_end(name: str, tensor: Tensor) -> None:
    known = {
        "front_end.0.spectrogram.window": torch.hann_window(FFT_LENGTH),
        "front_end.0.mel_scale.fb": mel_filterbank(),
    }
    if name not in known:
        raise CheckpointError(f"unexpected tensor {name}")
    if tensor.shape != known[name].shape or not torch.allclose(tensor.float(), known[name], atol=1e-3):
        raise CheckpointError(
            f"{name} is not that of CED's front end (16 kHz, window of 512, 64 HTK bands to 8 kHz), so these "
            "weights would be fed features they were not trained on"
        )


def _shape_config(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Infer the configuration from the shapes of the tensors."""
    needed = {"time_pos_embed": 4, "outputlayer.1.weight": 2, "blocks.0.mlp.fc1.weight": 2}
    missing = [name for name in needed if name not in tensors]
    if missing:
        some = ", ".join(list(tensors)[:8]) or "nothing"
        raise CheckpointError(f"{path} is not a CED checkpoint: no {', '.join(missing)}; it has {some}, ...")
    for name, num_dims in needed.items():
        shape = tuple(tensors[name].shape)
        if len(shape) != num_dims or 0 in shape:
            raise CheckpointError(f"{path}: expected {name} of {num_dims} dimensions, got shape {shape}")
    dim, columns = tensors["time_pos_embed"].shape[1], tensors["time_pos_embed"].shape[-1]
    blocks = {match[1] for name in tensors if (match := re.match(r"blocks\.([^.]*)\.", name))}
    if odd := blocks - {str(number) for number in range(len(blocks))}:
        some = ", ".join(sorted(odd)[:8])
        raise CheckpointError(f"{path}: its {len(blocks)} blocks are not numbered from 0 on: {some}")
    config = {
        "embed_dim": dim,
        "depth": len(blocks),
        "mlp_ratio": tensors["blocks.0.mlp.fc1.weight"].shape[0] / dim,
        "num_classes": tensors["outputlayer.1.weight"].shape[0],
    }
    if dim % _HEAD_DIM == 0:
        config["num_heads"] = dim // _HEAD_DIM
    published = columns == _PUBLISHED_LENGTH // PATCH_FRAMES
    return {**config, "target_length": _PUBLISHED_LENGTH if published else columns * PATCH_FRAMES}


_NEEDED = ("embed_dim", "depth", "num_heads", "mlp_ratio", "num_classes", "target_length")
_HF_NAMES = {
    "embed_dim": "embed_dim",
    "depth": "depth",
    "num_heads": "num_heads",
    "mlp_ratio": "mlp_ratio",
    "outputdim": "num_classes",
    "target_length": "target_length",
    "drop_path_rate": "drop_path",
}
_HF_FIXED: dict[str, tuple[Any, ...]] = {
    "n_mels": (NUM_MELS,),
    "n_fft": (FFT_LENGTH,),
    "win_size": (FFT_LENGTH,),
    "hop_size": (HOP_LENGTH,),
    "f_min": (0,),
    "f_max": (SAMPLE_RATE // 2, None),
    "center": (True,),
    "patch_size": (PATCH_FRAMES,),
    "patch_stride": (PATCH_FRAMES,),
    "qkv_bias": (True,),
}


def _read_config(path: Path, shapes: Mapping[str, Sequence[int]] | None) -> dict[str, Any]:
    """Read fields of `CEDConfig` from our own `config.json`, or from that of the Hugging Face port.

    Args:
        path: of the file.
        shapes: of the weights that it describes, if they are known.
    """
    try:
        settings = read_object(path)
    except (OSError, JSONError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    check_sizes(settings, str(path), shapes)
    model_type = settings.pop("model_type", None)
    if model_type == "ced":
        return _convert_hf_config(settings, path)
    if model_type != MODEL_TYPE:
        raise CheckpointError(f"{path}: expected model_type {MODEL_TYPE!r} or 'ced', got {model_type!r}")
    unknown = set(settings) - {field.name for field in fields(CEDConfig)}
    if unknown:
        raise CheckpointError(f"{path}: unknown settings {', '.join(sorted(unknown))}; a newer audio-common?")
    if missing := [name for name in _NEEDED if name not in settings]:
        raise CheckpointError(f"{path}: {', '.join(missing)} is missing; it is no whole configuration of CED")
    _check_types(settings, path)
    return {**settings, "labels": tuple(settings.get("labels", ()))}


def _check_types(settings: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError for a value of another type than its default's in `CEDConfig`."""
    for field in fields(CEDConfig):
        if field.name not in settings:
            continue
        value = settings[field.name]
        if field.name == "labels":
            is_right = isinstance(value, list) and all(isinstance(label, str) for label in value)
            expected = "a list of texts"
        else:
            kinds = (int, float) if isinstance(field.default, float) else (type(field.default),)
            is_right = isinstance(value, kinds) and not isinstance(value, bool)
            expected = {int: "a whole number", float: "a number", str: "a text"}[type(field.default)]
        if not is_right:
            raise CheckpointError(f"{path}: {field.name} must be {expected}, got {str(value)[:100]!r}")


def _convert_hf_config(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    for name, allowed in _HF_FIXED.items():
        if name in settings and settings[name] not in allowed:
            raise CheckpointError(
                f"{path}: {name} is {settings[name]!r}, but CED here has {allowed[0]!r} fixed"
            )
    config = {
        ours: settings[theirs] for theirs, ours in _HF_NAMES.items() if settings.get(theirs) is not None
    }
    _check_types(config, path)
    if labels := _hf_labels(settings.get("id2label") or {}, path):
        config["labels"] = labels
    return config


def _hf_labels(names: Any, path: Path) -> tuple[str, ...]:
    """Return the names of the classes in order; none where they were never named."""
    numbers = [str(number) for number in range(len(names) if isinstance(names, dict) else 0)]
    if not isinstance(names, dict) or set(names) != set(numbers):
        raise CheckpointError(f"{path}: id2label must name classes 0, 1, ..., got {str(names)[:100]}")
    labels = tuple(names[number] for number in numbers)
    if not all(isinstance(label, str) for label in labels):
        raise CheckpointError(f"{path}: the names in id2label must be texts")
    # transformers writes LABEL_0, LABEL_1 for a model whose classes were never named
    return () if all(label == f"LABEL_{number}" for number, label in enumerate(labels)) else labels


def _locate(source: str | Path) -> tuple[Path, Path | None]:
    """Find the weights that `source` names and, if there is one, their configuration."""
    path = Path(source)
    if path.is_file() or path.suffix in (".safetensors", *_TORCH_SUFFIXES):
        folder, weights = path.parent, path
        # A config.json describes the folder's own weights, not any file that happens to lie beside it.
        own = path.name in (WEIGHTS_FILE, "pytorch_model.bin")
        return weights, _if_file(folder / CONFIG_FILE) if own else None
    if not path.is_dir():
        path = _download(str(source))
    return _weights_in(path), _if_file(path / CONFIG_FILE)


def _weights_in(folder: Path) -> Path:
    if (folder / WEIGHTS_FILE).is_file():
        return folder / WEIGHTS_FILE
    found = sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", *_TORCH_SUFFIXES))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise CheckpointError(f"expected {WEIGHTS_FILE} or one weights file in {folder}, found {names}")
    return found[0]


def _if_file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _download(source: str) -> Path:
    """Fetch the two files that are needed of a model `owner/name` or `owner/name@revision`."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", split_revision(source)[0]):
        raise CheckpointError(
            "expected a folder, a weights file or a hub id such as mispeech/ced-base or "
            f"mispeech/ced-base@main, got {source!r}"
        )
    try:
        return fetch(source, [CONFIG_FILE, WEIGHTS_FILE])
    except Exception as e:  # offline, no such model, no access: huggingface_hub has a class for each
        raise CheckpointError(
            f"no folder {source!r} here, and it could not be fetched from the Hugging Face hub: {e}"
        ) from e
