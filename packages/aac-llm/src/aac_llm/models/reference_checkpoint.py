"""Checkpoints of the authors' code (frankenliu/LOAE): the whole model under their names, read strictly.

| theirs | ours |
|---|---|
| `speech_query_tokens` | `bridge.query` |
| `speech_former.bert.` (BERT's names) | `bridge.qformer.` (BLIP-2's in transformers) |
| `enc_to_dec_proj.` | `bridge.projector.` |
| `encoder.base_model.model.` (peft) or `encoder.` | `encoder.`; `q_proj` is `q`, `init_bn.1` `init_bn` |
| `decoder.base_model.model.` (peft) or `decoder.` | `decoder.` |
| `encoder...front_end.*`, `...embeddings.position_ids` | nothing; the front end is checked to be ours |

A file of full size is 27 GB (float32, of which 0.1 GB are trained): it is mapped into memory, not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from audio_common.ced import CED
from audio_common.checkpoint import convert_state_dict
from audio_common.config import CEDConfig
from safetensors.torch import load_file
from torch import Tensor

from aac_llm.config.model import ModelConfig, Strategy
from aac_llm.models.checkpoint import load_part
from aac_llm.models.checkpoint_config import CheckpointError
from aac_llm.models.decoder import DecoderError, set_generation_defaults
from aac_llm.models.lora import is_adapter

if TYPE_CHECKING:
    from aac_llm.models.captioner_model import CaptionModel

_PREFIXES = (
    ("speech_former.bert.embeddings.LayerNorm.", "bridge.qformer.layernorm."),
    ("speech_former.bert.", "bridge.qformer."),
    ("enc_to_dec_proj.", "bridge.projector."),
    ("encoder.base_model.model.", "encoder."),
    ("decoder.base_model.model.", "decoder."),
    ("encoder.", "encoder."),
    ("decoder.", "decoder."),
)
_UNUSED = re.compile(r"encoder\.(base_model\.model\.)?front_end\..+|speech_former\..+\.position_ids")


def load_reference(
    source: str | Path | Mapping[str, Any],
    *,
    decoder: str,
    config: ModelConfig | None = None,
    device: str | torch.device = "cpu",
) -> CaptionModel:
    """A captioner from a checkpoint of the authors' code, in evaluation mode.

    Args:
        source: a `.pt`, `.bin` or `.safetensors` file, or the tensors.
        decoder: hub id or folder of the language model; its configuration and tokenizer are used, its
            weights are those of the checkpoint.
        config: of other sizes than the published one (CED-base, a Q-Former of 768).
        device: where it goes.

    Raises:
        CheckpointError: unreadable, or with missing, unexpected or misshapen tensors, which it lists.
        DecoderError: the decoder's configuration or tokenizer cannot be loaded.
    """
    from aac_llm.models.captioner_model import CaptionModel

    name = "the checkpoint" if isinstance(source, Mapping) else str(source)
    theirs = dict(source) if isinstance(source, Mapping) else _read(Path(source))
    tensors = convert_tensors(theirs, name)
    config = replace(config or reference_config(tensors), decoder=decoder, encoder_weights=None)
    language_model, tokenizer = _empty_decoder(config)
    model = CaptionModel(config, encoder=CED(config.encoder), decoder=language_model, tokenizer=tokenizer)
    load_part(model, tensors, name)
    return model.eval().to(device)


def reference_config(names: Iterable[str]) -> ModelConfig:
    """The published sizes, with adapters at the ends where tensors of such names (ours) are."""
    names = list(names)

    def strategy(part: str) -> Strategy:
        adapted = any(is_adapter(name) for name in names if name.startswith(f"{part}."))
        return "lora" if adapted else "full"

    return ModelConfig(
        layout="reference",
        encoder=CEDConfig(mode="reference"),
        encoder_strategy=strategy("encoder"),
        decoder_strategy=strategy("decoder"),
    )


def convert_name(name: str) -> str | None:
    """Our name of a tensor of theirs; None: it has no place here.

    >>> convert_name("speech_former.bert.encoder.layer.0.crossattention.self.key.weight")
    'bridge.qformer.encoder.layer.0.crossattention.attention.key.weight'

    Raises:
        KeyError: not a name of theirs.
    """
    if _UNUSED.fullmatch(name):
        return None
    if name == "speech_query_tokens":
        return "bridge.query"
    for prefix, ours in _PREFIXES:
        if name.startswith(prefix):
            return _rename(ours + name.removeprefix(prefix))
    raise KeyError(name)


def _rename(name: str) -> str:
    if name.startswith("bridge.qformer."):
        return re.sub(r"\.((?:cross)?attention)\.self\.", r".\1.attention.", name)
    if name.startswith("encoder."):
        name = re.sub(r"\.attn\.([qkv])_proj\.", r".attn.\1.", name)
        return name.replace("encoder.init_bn.1.", "encoder.init_bn.")
    return name


def convert_tensors(tensors: Mapping[str, Tensor], source: str = "the checkpoint") -> dict[str, Tensor]:
    """Their tensors under our names.

    Raises:
        CheckpointError: names that are not theirs, or a front end that is not CED's.
    """
    converted, foreign = {}, []
    for name, tensor in tensors.items():
        try:
            ours = convert_name(name)
        except KeyError:
            foreign.append(name)
            continue
        if ours is not None:
            converted[ours] = tensor
        elif "front_end." in name:
            convert_state_dict({name[name.index("front_end.") :]: tensor})  # raises if it is another
    if foreign:
        raise CheckpointError(
            f"{source} is not a checkpoint of LOAE: unexpected {', '.join(foreign[:20])}"
            + (f" and {len(foreign) - 20} more" if len(foreign) > 20 else "")
        )
    return converted


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except Exception as e:  # torch, pickle and safetensors raise a dozen kinds for a damaged file
        raise CheckpointError(f"{path} cannot be read as weights: {e}") from e
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"expected {path} to hold a dictionary of tensors")
    return content


def _empty_decoder(config: ModelConfig) -> tuple[Any, Any]:
    """A language model whose weights are still to come, and its tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from aac_llm.models.captioner_model import DTYPES

    try:
        described = AutoConfig.from_pretrained(config.decoder)
        tokenizer = AutoTokenizer.from_pretrained(config.decoder)
    except (OSError, ValueError) as e:
        raise DecoderError(
            f"configuration and tokenizer of the decoder {config.decoder!r} cannot be loaded: {e}"
        ) from e
    model = AutoModelForCausalLM.from_config(described, dtype=DTYPES[config.decoder_dtype])
    set_generation_defaults(model, tokenizer)
    return model, tokenizer
