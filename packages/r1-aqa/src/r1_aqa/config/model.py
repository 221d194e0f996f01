"""How an audio LLM is loaded, which parts of it are trained, and the prompts that it is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PromptStyle = Literal["choices", "answer", "think", "think_short"]
"""`choices`, `answer` and `think` are the paper's prompts 1, 2 and 3; `think_short` bounds the thinking."""


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
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
    """How an audio LLM is loaded and which parts of it are trained."""

    family: str | None = None
    """`FILE.py:NAME`: a `Family` of your own that says where the model has its parts (the file is run); none:
    a kind of model that is known here, found by its config.json."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Number format of the weights."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Implementation of attention in transformers."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Load the frozen weights in 8 or 4 bits with bitsandbytes (4bit and lora: QLoRA)."""
    strategy: Literal["lora", "full"] = "lora"
    """`lora`: train adapters of the language model; `full`: train all its weights."""
    freeze_encoder: bool = True
    """Keep the audio encoder as it is (the paper trained it); its output is then kept across steps."""
    freeze_projector: bool = True
    """Keep the projector between encoder and language model as it is."""
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    """The adapters (strategy lora)."""

    def __post_init__(self) -> None:
        if self.quantization != "none" and self.strategy == "full":
            raise ValueError(
                f"model.quantization {self.quantization} cannot be trained with model.strategy full; use lora"
            )
