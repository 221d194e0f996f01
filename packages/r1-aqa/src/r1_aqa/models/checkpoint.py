"""Adapters on their base, also on another line of transformers than they were trained on.

transformers 5 moved the parts of an audio LLM under `model.`: `language_model.model.layers` became
`model.language_model.layers`. peft finds layers by their paths, so that adapters of the one line would meet
no layer of the other. Here paths are compared without their steps `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

PREFIX = "base_model.model."
"""What peft puts before a layer's path."""


def read_adapter_base(source: str) -> str | None:
    """The base model that a folder of adapters names, None for a whole model."""
    if Path(source).is_dir() and not (Path(source) / "adapter_config.json").is_file():
        return None
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(source).base_model_name_or_path
    except ValueError:  # a hub repository without adapters
        return None


def load_adapters(model: nn.Module, source: str) -> nn.Module:
    """`model` with the adapters of a folder or hub repository, every tensor of which must find its place.

    Raises:
        ValueError: the adapters are of another model.
    """
    from peft import PeftConfig, get_peft_model, load_peft_weights
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    config: Any = PeftConfig.from_pretrained(source)
    tensors = load_peft_weights(source, device="cpu")
    paths = own_paths(model, tensors, source)
    if any(old != new for old, new in paths.items()):
        config.target_modules = sorted({paths[layer_of(key)] for key in tensors if ".lora_" in key})
    adapted = get_peft_model(model, config)  # type: ignore[arg-type]
    renamed = {key.replace(layer_of(key), paths[layer_of(key)], 1): each for key, each in tensors.items()}
    check_names(set(get_peft_model_state_dict(adapted, save_embedding_layers=False)), set(renamed), source)
    set_peft_model_state_dict(adapted, renamed)
    return adapted


def check_names(wanted: set[str], given: set[str], source: str) -> None:
    """Refuse tensors of other names than the wanted ones, which peft would pass over."""
    if wanted != given:
        raise ValueError(
            f"{source} does not fit its adapter_config.json: {len(wanted - given)} tensors are missing, "
            f"{len(given - wanted)} have no place; first: {min(wanted ^ given)}"
        )


def own_paths(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> dict[str, str]:
    """The path in `model` of each layer that the tensors are of, by its path in the file.

    Raises:
        ValueError: `model` has no such layer.
    """
    layers = (name for name, each in model.named_modules() if list(each.parameters(recurse=False)))
    known = {spelling(name): name for name in layers}
    found = {}
    for path in dict.fromkeys(map(layer_of, tensors)):
        if spelling(path) not in known:
            raise ValueError(f"{source} adapts {path}, a layer that {type(model).__name__} does not have")
        found[path] = known[spelling(path)]
    return found


def layer_of(key: str) -> str:
    """The path of the layer that a tensor of an adapters' file belongs to."""
    path = key.removeprefix(PREFIX)
    return path.partition(".lora_")[0] if ".lora_" in path else path.rpartition(".")[0]


def spelling(path: str) -> str:
    """A path as it is on every line of transformers."""
    return ".".join(step for step in path.split(".") if step != "model")
