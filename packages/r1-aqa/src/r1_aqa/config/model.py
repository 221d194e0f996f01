"""Which audio LLM, in what number format, and what of it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LoRASettings:
    """Low-rank adapters of the language model; the audio encoder is not adapted."""

    rank: int = 8
    """Rank of the update of each adapted matrix."""
    alpha: float = 32.0
    """The update is scaled by alpha / rank."""
    dropout: float = 0.05
    """Dropout before the adapters, in training."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Names of the language model's linear layers that are adapted."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank must be at least 1, got {self.rank}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"lora.dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An audio LLM and what of it is trained."""

    name: str = "Qwen/Qwen2-Audio-7B-Instruct"
    """Hub id or folder of the model; a folder of adapters also works (they name their base)."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Number format of the weights."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Implementation of attention in transformers."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Load the frozen weights in 8 or 4 bits with bitsandbytes (4bit and lora: QLoRA)."""
    strategy: Literal["lora", "full"] = "lora"
    """`lora`: adapters of the language model are trained; `full`: all its weights are."""
    freeze_encoder: bool = True
    """Keep the audio encoder as it is (the paper trained it); what it gives is then kept across steps."""
    freeze_projector: bool = True
    """Keep the projector between encoder and language model as it is."""
    lora: LoRASettings = field(default_factory=LoRASettings)
    """The adapters (strategy lora)."""

    def __post_init__(self) -> None:
        if self.quantization != "none" and self.strategy == "full":
            raise ValueError(f"quantization {self.quantization} cannot be trained in full; use strategy lora")
