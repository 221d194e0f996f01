"""The decoder: a causal language model of transformers, with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from aac_llm.config.model import ModelConfig


def load_decoder(
    config: ModelConfig, *, beside: Path | None = None, device: str | torch.device = "cpu"
) -> tuple[Any, Any]:
    """The language model that a configuration names, and its tokenizer.

    Args:
        config: names the decoder, its number format and its quantization.
        beside: folder where a relative name is looked up first (that of the checkpoint).
        device: for the weights; quantized ones are put there while they are read.

    Raises:
        ValueError: there is no such model here or on the hub, or 4 or 8 bits without CUDA or bitsandbytes.
    """
    source = resolve_decoder(config.decoder, beside)
    options: dict[str, Any] = {"dtype": getattr(torch, config.decoder_dtype)}
    if config.quantization != "none":
        options |= {"quantization_config": quantization(config), "device_map": {"": str(device)}}
    model: Any
    try:
        model = AutoModelForCausalLM.from_pretrained(source, **options)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except OSError as error:
        raise ValueError(
            f"the decoder {config.decoder!r} could not be loaded: {_first_line(error)} Name a folder or a "
            "hub id that you may read (for Llama, log in with `hf auth login`)."
        ) from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of the decoder {config.decoder!r} has no end token")
    if config.quantization == "none":
        model.to(device)
    return model, tokenizer


def decoder_width(config: ModelConfig, beside: Path | None = None) -> int:
    """Width of the decoder's embeddings, from its config alone."""
    return AutoConfig.from_pretrained(resolve_decoder(config.decoder, beside)).get_text_config().hidden_size


def resolve_decoder(name: str, beside: Path | None) -> str:
    """A relative folder beside the checkpoint if there is one, else the name as it is."""
    if beside is not None and (beside / name / "config.json").is_file():
        return str(beside / name)
    return name


def quantization(config: ModelConfig) -> BitsAndBytesConfig:
    """For 4 or 8 bits.

    Raises:
        ValueError: no CUDA device.
    """
    if not torch.cuda.is_available():
        raise ValueError(f"quantization {config.quantization} needs a CUDA device; use none here")
    if config.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, config.decoder_dtype),
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
