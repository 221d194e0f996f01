"""The language model that writes the captions: any causal one of transformers, also in 4 or 8 bits."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

import torch
from audio_common.hub import split_revision

from aac_llm.models.run_folder import first_sentence
from aac_llm.models.sizes import check_folder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

NO_FAULT_OF_THE_FILES = (ImportError, MemoryError, torch.OutOfMemoryError)
"""Errors in loading a model that say more by themselves."""

Quantization = Literal["none", "8bit", "4bit"]


class DecoderError(ValueError):
    """A language model that cannot be loaded or used."""


def load_decoder(
    source: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    quantization: Quantization = "none",
    device: str | torch.device = "cpu",
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    Args:
        source: hub id (`owner/name` or `owner/name@revision`) or folder.
        dtype: of its weights (with quantization: of its arithmetic).
        quantization: read the weights in 8 or 4 bits (needs bitsandbytes and a GPU).
        device: where it goes.

    Raises:
        DecoderError: nothing there, not a causal language model, or quantization without bitsandbytes.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Named: by default transformers 4 loads in float32 and 5 in the file's own format.
    options: dict[str, Any] = {"dtype": dtype}
    if quantization != "none":
        options |= {"quantization_config": _quantization_config(quantization, dtype)}
        # bitsandbytes quantizes while it loads, on the device itself.
        options |= {"device_map": {"": str(device)}}
    name, revision = split_revision(source)
    check_folder(name)
    model: Any
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name, revision=revision, trust_remote_code=False, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except NO_FAULT_OF_THE_FILES:
        raise
    except Exception as e:  # of a configuration without sense transformers raises a dozen kinds
        raise DecoderError(
            f"the decoder {str(source)!r} cannot be loaded ({first_sentence(e)}); expected the hub id or the "
            "folder of a causal language model with its tokenizer, and for a gated one an accepted licence "
            "and `hf auth login`"
        ) from e
    # Quantized weights were made on their device and cannot be moved.
    if quantization == "none":
        model.to(device)
    set_generation_defaults(model, tokenizer)
    return model.eval(), tokenizer


def create_decoder(source: str | Path, *, dtype: torch.dtype) -> tuple[Any, Any]:
    """Make a language model of random weights with the configuration at `source`, and load its tokenizer.

    Raises:
        DecoderError: configuration or tokenizer cannot be loaded.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    name, revision = split_revision(source)
    check_folder(name)
    try:
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except NO_FAULT_OF_THE_FILES:
        raise
    except Exception as e:
        raise DecoderError(
            f"configuration and tokenizer of the decoder {str(source)!r} cannot be loaded: {e}"
        ) from e
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    set_generation_defaults(model, tokenizer)
    return model, tokenizer


def set_generation_defaults(model: Any, tokenizer: Any) -> None:
    """Reduce a model's own generation settings to its special tokens.

    Chat models bring sampling and repetition penalties, which would mix with ours. Padding never reaches
    the model's output, so its token may be EOS; captions end at the tokenizer's EOS or the model's.

    Raises:
        DecoderError: a token that ends is none of the model's.
    """
    from transformers import GenerationConfig

    own = getattr(model, "generation_config", None)
    # Chat models end a turn with a token that is not the tokenizer's EOS.
    ends = _as_list(tokenizer.eos_token_id) + _as_list(getattr(own, "eos_token_id", None))
    size = model.get_input_embeddings().weight.shape[0]
    if wrong := [end for end in ends if not isinstance(end, int) or not 0 <= end < size]:
        raise DecoderError(
            f"eos_token_id (of generation_config.json, config.json or the tokenizer) is {wrong[0]!r}, and "
            f"the model has the tokens 0 to {size - 1}: correct it"
        )
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=sorted(set(ends)) or None, pad_token_id=pad
    )


def embedding_width(model: Any) -> int:
    """Return the width of the model's input embeddings."""
    return int(model.get_input_embeddings().weight.shape[1])


def _as_list(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _quantization_config(quantization: Quantization, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise DecoderError(
            f"quantization {quantization} needs bitsandbytes: pip install 'aac-llm[qlora]', "
            "or set quantization to none"
        )
    if not torch.cuda.is_available():
        raise DecoderError(
            f"quantization {quantization} of bitsandbytes needs a GPU, and PyTorch sees none; set it to "
            "none, or to caption on a CPU give --quantization 8bit"
        )
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        # As in QLoRA (arXiv:2305.14314, section 3).
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype if dtype != torch.float32 else torch.bfloat16,
    )
