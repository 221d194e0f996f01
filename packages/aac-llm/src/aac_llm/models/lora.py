"""Training of encoder and decoder: nothing, low-rank adapters (LoRA, arXiv:2106.09685) or all of it.

Adapters are put into a module in place (`peft.inject_adapter_in_model`), so that it keeps its class, its
methods and its names; only the adapted linear layers are wrapped. Trained weights are kept in float32 also
where the frozen ones are in bfloat16, or small updates would be lost in rounding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from audio_common.ced import CED
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from aac_llm.config.model import LoRAConfig, Strategy
from aac_llm.models.encoder import Encoder

ADAPTER = "default"
"""Peft's name of the adapter."""


def prepare_encoder(encoder: Encoder, strategy: Strategy, settings: LoRAConfig) -> None:
    """Set what is trained of the encoder; frozen or adapted, CED's BatchNorm keeps its statistics."""
    if strategy == "frozen":
        encoder.freeze()
        return
    if strategy == "lora":
        _inject(encoder, peft_config(settings, "encoder"))
        # Statistics of a batch would depend on its padding, and a small batch's are poor.
        if isinstance(encoder, CED):
            encoder.freeze_batch_norm()
        _train_adapters(encoder)
    else:
        encoder.requires_grad_(True)


def prepare_decoder(decoder: nn.Module, strategy: Strategy, settings: LoRAConfig) -> None:
    """Set what is trained of the decoder.

    Raises:
        ValueError: it has no linear layers of the names in `settings.decoder_targets`.
    """
    if strategy == "frozen":
        decoder.requires_grad_(False)
    elif strategy == "lora":
        _inject(decoder, peft_config(settings, "decoder"))
        _train_adapters(decoder)
    else:
        # Trained in full: small updates would be lost in bfloat16.
        decoder.float().requires_grad_(True)


def peft_config(settings: LoRAConfig, part: Literal["encoder", "decoder"]) -> LoraConfig:
    """Return the settings of a part's adapters in peft's form."""
    if part == "encoder":
        pattern = rf"blocks\.\d+\.(attn|mlp)\.({'|'.join(settings.encoder_targets)})"
    else:
        pattern = rf"(.*\.)?({'|'.join(map(re.escape, settings.decoder_targets))})"
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft divides it, a float is fine
        lora_dropout=settings.dropout,
        target_modules=pattern,
        task_type=None if part == "encoder" else "CAUSAL_LM",
    )


def _inject(module: nn.Module, config: LoraConfig) -> None:
    pattern = str(config.target_modules)
    # peft's own error names no layer that there is.
    if not any(re.fullmatch(pattern, name) for name, _ in module.named_modules()):
        linear = {name.split(".")[-1] for name, m in module.named_modules() if isinstance(m, nn.Linear)}
        raise ValueError(
            f"no layer of {type(module).__name__} matches the LoRA targets {pattern}; "
            f"its linear layers are {', '.join(sorted(linear))}"
        )
    inject_adapter_in_model(config, module, adapter_name=ADAPTER)


def _train_adapters(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(is_adapter(name))
        if is_adapter(name):
            # Updates of 1e-5 would be rounded away in bfloat16.
            parameter.data = parameter.data.float()


def is_adapter(name: str) -> bool:
    """Tell whether a tensor of this name is part of an adapter."""
    return ".lora_A." in name or ".lora_B." in name


def adapter_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the adapters' tensors among a module's, without peft's name of the adapter."""
    # The name is peft's, and no part of our format.
    return {name.replace(f".{ADAPTER}.", "."): tensor for name, tensor in tensors.items() if is_adapter(name)}


def base_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select a module's tensors without adapters, under their names in the plain module."""
    return {
        name.replace(".base_layer.", "."): tensor for name, tensor in tensors.items() if not is_adapter(name)
    }


def name_in_module(name: str) -> str:
    """Return the name in the adapted module of a tensor that `adapter_tensors` gave."""
    return re.sub(r"\.(lora_[AB])\.", rf".\1.{ADAPTER}.", name)


def merged_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a plain module that computes what the adapted one does; `module` stays as it is.

    Raises:
        ValueError: the weights are quantized.
    """
    tensors = base_tensors(module.state_dict())
    for name, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            adapted: Any = layer
            weight = adapted.get_base_layer().weight
            if not weight.is_floating_point():
                raise ValueError(
                    f"the weights of {name} are quantized; load the model with quantization='none' to merge"
                )
            # Added in float32 and rounded once.
            delta = adapted.get_delta_weight(ADAPTER)
            tensors[f"{name}.weight"] = (weight.float() + delta.float()).to(weight.dtype)
    return {name: tensor.detach() for name, tensor in tensors.items()}


@contextmanager
def adapters_disabled(module: nn.Module) -> Iterator[None]:
    """Let `module` compute, within, what it did before it was adapted."""
    layers = [layer for layer in module.modules() if isinstance(layer, LoraLayer)]
    # Layer by layer: peft's own switch needs its model class, and adapters are injected without it.
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def trainable_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def float32_trainable(module: nn.Module) -> None:
    """Keep all trained weights in float32."""
    for parameter in trainable_parameters(module):
        if parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
