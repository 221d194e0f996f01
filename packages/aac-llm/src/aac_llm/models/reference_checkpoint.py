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
from typing import Any

import torch
from audio_common.checkpoint import convert_state_dict
from audio_common.config import CEDConfig
from safetensors.torch import load_file
from torch import Tensor

from aac_llm.config.model import ModelConfig, Strategy
from aac_llm.models.lora import is_adapter
from aac_llm.models.tensors import CheckpointError

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


def read_reference(
    source: str | Path | Mapping[str, Any], config: ModelConfig | None = None
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Read a checkpoint of the authors' code: its configuration, and its tensors under our names.

    Args:
        source: a `.pt`, `.bin` or `.safetensors` file, or the tensors.
        config: of other sizes than the published one (CED-base, a Q-Former of 768).

    Raises:
        CheckpointError: unreadable, or with names that are not theirs.
    """
    name = "the checkpoint" if isinstance(source, Mapping) else str(source)
    theirs = dict(source) if isinstance(source, Mapping) else _read(Path(source))
    tensors = convert_tensors(theirs, name)
    return replace(config or reference_config(tensors), encoder_weights=None), tensors


def reference_config(names: Iterable[str]) -> ModelConfig:
    """Return the published sizes, with adapters at the ends where tensors of such names (ours) are."""
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
    """Return our name of a tensor of theirs; None: it has no place here.

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
    """Put their tensors under our names.

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
        # Their front end has no place here, but it must be the one that ours computes.
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
        # mmap: a file of 27 GB is not read at once. weights_only: nothing in it is run.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except Exception as e:  # torch, pickle and safetensors raise a dozen kinds for a damaged file
        raise CheckpointError(f"{path} cannot be read as weights: {e}") from e
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"expected {path} to hold a dictionary of tensors")
    return content
