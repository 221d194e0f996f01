"""A part of the text encoder that learns: its last layers, or low-rank adapters beside its linear layers.

Adapters (LoRA, arXiv 2106.09685) are those of the library peft. They exist in training alone: what is saved
and fingerprinted has them merged into the weights, W + scale B A, so that a saved model is a model as any
other. Only where an encoder's base is left out (`save_frozen=False`) are they saved by themselves, as a
folder of peft (`adapter_folder.py`), and merged when they are loaded, which does not need peft.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from torch import Tensor, nn

SCALE = 2.0
"""Of B A: peft's alpha over the rank."""
_ADAPTER = ".default.weight"
_PARTS = (".lora_A", ".lora_B")


def train_last_layers(encoder: nn.Module, count: int) -> None:
    """Switch off the gradients of a transformer but for its last `count` layers and what comes after them.

    Raises:
        ValueError: It has fewer layers.
    """
    layers = max((each for each in encoder.modules() if isinstance(each, nn.ModuleList)), key=len)
    if count > len(layers):
        raise ValueError(f"text_layers: the text encoder has {len(layers)} layers, got {count}")
    in_layers = {id(parameter) for parameter in layers.parameters()}
    is_after = False
    for parameter in encoder.parameters():  # in the order of their use
        is_after = is_after or id(parameter) in in_layers
        parameter.requires_grad_(is_after and id(parameter) not in in_layers)
    layers[-count:].requires_grad_(True)  # type: ignore[union-attr]


def add_adapters(encoder: nn.Module, rank: int) -> None:
    """Put adapters of a rank beside all linear layers; they alone learn, and at first they change nothing.

    Raises:
        ValueError: peft is not installed.
    """
    if find_spec("peft") is None:
        raise ValueError("text_lora_rank needs peft: pip install 'ml-clap[lora]'")
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=int(SCALE * rank), target_modules=names), encoder)


def adapters_of(encoder: nn.Module) -> dict[str, Tensor]:
    """Return the adapters: `X.lora_A` `(rank, inputs)` and `X.lora_B` `(outputs, rank)` of each layer X."""
    state = encoder.state_dict()
    return {name.removesuffix(_ADAPTER): value for name, value in state.items() if name.endswith(_ADAPTER)}


def changed_state(encoder: nn.Module) -> dict[str, Tensor]:
    """Return what training changes: the adapters, or without any the weights that learn."""
    adapters = adapters_of(encoder)
    if adapters:
        return adapters
    learning = {name for name, weight in encoder.named_parameters() if weight.requires_grad}
    return {name: value for name, value in encoder.state_dict().items() if name in learning}


def merged_state(encoder: nn.Module) -> dict[str, Tensor]:
    """Return the weights of an encoder, adapters merged, under the names that it has without them."""
    base = {
        name.replace(".base_layer.", "."): value
        for name, value in encoder.state_dict().items()
        if not name.endswith(_ADAPTER)
    }
    return merge(base, adapters_of(encoder))


def merge(state: Mapping[str, Tensor], adapters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with adapters (`adapters_of`) added.

    Raises:
        ValueError: An adapter has no weight, or does not fit it.
    """
    merged = dict(state)
    for name in {name.rpartition(".")[0] for name in adapters}:
        a, b = (adapters.get(name + part) for part in _PARTS)
        weight = merged.get(f"{name}.weight")
        if a is None or b is None or weight is None or (len(b), a.shape[-1]) != weight.shape:
            raise ValueError(f"the adapter of {name} does not fit the text encoder it was saved without")
        merged[f"{name}.weight"] = weight + SCALE * (b @ a)
    return merged
