"""What of encoder and decoder is trained: nothing, low-rank adapters, or everything (paper, section 2.3)."""

from __future__ import annotations

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from aac_llm.config.model import LoRASettings, Strategy


def apply_strategy(
    model: nn.Module, strategy: Strategy, settings: LoRASettings, targets: tuple[str, ...]
) -> None:
    """Set which parameters of a model learn; for `lora` put adapters beside its linear layers, in place.

    What learns is kept in float32, whatever the frozen weights are in: updates as small as theirs are lost in
    bfloat16.

    Raises:
        ValueError: no layer has a targeted name.
    """
    model.requires_grad_(strategy == "full")
    if strategy == "lora":
        found = {
            name.rsplit(".", 1)[-1] for name, module in model.named_modules() if not list(module.children())
        }
        if missing := set(targets) - found:
            raise ValueError(
                f"lora: {type(model).__name__} has no layers {sorted(missing)}; it has {sorted(found)}"
            )
        inject_adapter_in_model(lora_config(settings, targets), model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def lora_config(settings: LoRASettings, targets: tuple[str, ...]) -> LoraConfig:
    """The settings in peft's form."""
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft takes a float, its annotation does not
        lora_dropout=settings.dropout,
        target_modules=list(targets),
        bias="none",
    )


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' tensors, contiguous, on the CPU."""
    return {
        name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()
    }


def load_adapter_state(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put adapters' tensors in place; all of them and no others.

    Raises:
        ValueError: keys are missing or unexpected.
    """
    expected = set(get_peft_model_state_dict(model))
    if expected != set(tensors):
        raise ValueError(
            f"adapters do not fit {type(model).__name__}: missing {sorted(expected - set(tensors))[:5]}, "
            f"unexpected {sorted(set(tensors) - expected)[:5]}"
        )
    set_peft_model_state_dict(model, tensors)


@torch.no_grad()
def merge_adapters(model: nn.Module) -> None:
    """Fold the adapters into the weights that they adapt and take them out, in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent = model.get_submodule(name.rpartition(".")[0]) if "." in name else model
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
