"""Find the model of a folder, and put adapters on their base, whichever transformers they were trained on.

transformers 5 moved the parts of an audio LLM under `model.`: `language_model.model.layers` became
`model.language_model.layers`. peft finds layers by their paths, so that adapters of the one line would meet
no layer of the other. Here paths are compared without their steps `model`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_common.hub import fetch, split_revision
from torch import Tensor, nn

from r1_aqa.models.foreign import read_settings, require_fractions

logger = logging.getLogger(__name__)

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
PREFIX = "base_model.model."
"""Prefix of a layer's path in peft's files."""


def read_adapter_base(source: str) -> str | None:
    """Return the base model that adapters name, with `@revision` where they do, None for a whole model.

    Args:
        source: a folder, or a hub repository, `owner/name` or `owner/name@revision`.
    """
    if Path(source).is_dir() and not (Path(source) / "adapter_config.json").is_file():
        return None
    from peft import PeftConfig  # seconds to import

    name, revision = split_revision(source)
    if Path(source).is_dir():
        settings = read_settings(source, "adapter_config.json")
    else:
        try:
            settings = PeftConfig.from_pretrained(name, revision=revision).to_dict()
        except ValueError:  # a hub repository without adapters
            return None
    base, pinned = settings.get("base_model_name_or_path"), settings.get("revision")
    if not isinstance(base, str):
        raise ValueError(f"{source}: adapter_config.json: base_model_name_or_path must name the base model")
    return f"{base}@{pinned}" if pinned and not Path(base).exists() else base


def load_adapters(model: nn.Module, source: str) -> nn.Module:
    """Return `model` with the adapters of a folder or hub repository, every tensor of which has its place.

    Raises:
        ValueError: the adapters are of another model.
    """
    from peft import PeftConfig, get_peft_model, load_peft_weights
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    folder = fetch(source, ADAPTER_FILES)
    if not (folder / ADAPTER_FILES[1]).exists():
        raise ValueError(f"{source} has no {ADAPTER_FILES[1]}")
    require_fractions(folder / ADAPTER_FILES[1])
    config: Any = PeftConfig.from_pretrained(str(folder))
    tensors = load_peft_weights(str(folder), device="cpu")
    check_rank(config, tensors, source)
    paths = own_paths(model, tensors, source)
    if any(old != new for old, new in paths.items()):
        # An expression for the other line's paths would find no layer: name the layers one by one.
        config.target_modules = sorted({paths[layer_of(key)] for key in tensors if ".lora_" in key})
    adapted = get_peft_model(model, config)  # type: ignore[arg-type]
    renamed = {key.replace(layer_of(key), paths[layer_of(key)], 1): value for key, value in tensors.items()}
    # peft itself loads what fits and says nothing of the rest.
    check_names(set(get_peft_model_state_dict(adapted, save_embedding_layers=False)), set(renamed), source)
    set_peft_model_state_dict(adapted, renamed)
    return adapted


def check_rank(config: Any, tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse a rank that is not that of the tensors, before matrices of it are made."""
    ranks = {tensor.shape[0] for key, tensor in tensors.items() if ".lora_A" in key and tensor.dim() > 1}
    rank = getattr(config, "r", None)
    if ranks and rank not in ranks:
        raise ValueError(f"{source}: adapter_config.json: r is {rank}, the adapters' rank is {min(ranks)}")


def check_names(wanted: set[str], given: set[str], source: str) -> None:
    """Refuse tensors of other names than the wanted ones, which peft would pass over."""
    if wanted != given:
        raise ValueError(
            f"{source} does not fit its adapter_config.json: {len(wanted - given)} tensors are missing, "
            f"{len(given - wanted)} have no place; first: {min(wanted ^ given)}"
        )


def own_paths(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> dict[str, str]:
    """Return the path in `model` of each layer that the tensors belong to, by its path in the file.

    Raises:
        ValueError: `model` has no such layer.
    """
    layers = (name for name, module in model.named_modules() if list(module.parameters(recurse=False)))
    known = {spelling(name): name for name in layers}
    found = {}
    for path in dict.fromkeys(map(layer_of, tensors)):
        if spelling(path) not in known:
            raise ValueError(f"{source} adapts {path}, a layer that {type(model).__name__} does not have")
        found[path] = known[spelling(path)]
    return found


def layer_of(key: str) -> str:
    """Return the path of the layer that a tensor of an adapters' file belongs to."""
    path = key.removeprefix(PREFIX)
    return path.partition(".lora_")[0] if ".lora_" in path else path.rpartition(".")[0]


def spelling(path: str) -> str:
    """Return a layer's path as it is on every line of transformers."""
    return ".".join(step for step in path.split(".") if step != "model")
