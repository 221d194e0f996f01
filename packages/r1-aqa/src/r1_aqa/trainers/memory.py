"""Estimate how much memory a training will need on a device, before it starts.

Weights, gradients and AdamW's two moments are counted; activations, keys and values and logits are estimated
from sizes, to within some tens of percent. Not in it: the CUDA context (about 0.5 GB) and fragmentation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from r1_aqa.config.train import GRPOTrainConfig, TrainConfig
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.log_probs import CHUNK_LOGITS

MOMENT_BYTES = 8
"""AdamW's two moments of a weight, in float32."""
VALUES_KEPT = 34
"""Bytes in half precision that a transformer layer keeps for each value of its width until the backward
pass (Korthikanti et al., arXiv:2205.05198, without attention maps)."""
TOKENS_A_SECOND = 25
"""Audio tokens of Qwen2-Audio; other families have 8 to 50."""
UNLIMITED_SECONDS = 600.0
"""Sound that is counted on where neither the settings nor the model limit it."""
QUESTION_TOKENS = 100
"""Tokens of a question with its options and the chat around it."""
ANSWER_TOKENS = 16
"""Tokens of an answer in fine-tuning."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device."""

    weights: int
    """All weights, trained or not."""
    reference: int
    """A second copy of the weights: the reference of a full training with a KL term."""
    gradients: int
    """Gradients of the trained weights."""
    optimizer: int
    """AdamW's two moments of the trained weights, in float32."""
    rollouts: int
    """Keys and values while sampling; freed before the update."""
    activations: int
    """Kept from forward to backward pass, logits included."""

    @property
    def total(self) -> int:
        """Return the bytes needed at once: sampling and updating take turns."""
        fixed = self.weights + self.reference + self.gradients + self.optimizer
        return fixed + max(self.rollouts, self.activations)

    def __str__(self) -> str:
        parts = ", ".join(f"{part.name} {getattr(self, part.name) / 1e9:.1f}" for part in fields(self))
        return f"about {self.total / 1e9:.1f} GB of memory ({parts})"


def estimate_memory(llm: AudioLLM, config: TrainConfig) -> MemoryEstimate:
    """Estimate the memory of a training on each device, without the sharding of FSDP or DeepSpeed."""
    parameters = list(llm.model.parameters())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    trained = [p for p in parameters if p.requires_grad]
    text: Any = llm.model.config.get_text_config()  # type: ignore[union-attr, operator]
    heard = min(config.sound.limit, llm.max_seconds, UNLIMITED_SECONDS)
    prompt = int(heard * TOKENS_A_SECOND) + QUESTION_TOKENS
    grpo = config if isinstance(config, GRPOTrainConfig) else None
    answer = grpo.num_rollouts * grpo.max_new_tokens if grpo else ANSWER_TOKENS
    # With sharing a prompt is read once, else in front of each of its rollouts.
    read = prompt if grpo is None or grpo.share else prompt * grpo.num_rollouts
    # Autocast keeps activations in half precision, whatever the weights are.
    value_bytes = 2 if config.precision != "fp32" or config.model.dtype != "float32" else 4
    # Recomputing keeps the input of each layer alone.
    kept = 2 if config.gradient_checkpointing else VALUES_KEPT * value_bytes // 2
    width = text.num_hidden_layers * text.hidden_size
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    # Keys and values of a token, in all layers.
    cached = 2 * text.num_hidden_layers * heads * (text.hidden_size // text.num_attention_heads)
    sampled = (prompt * grpo.num_rollouts + answer) * config.batch_size * cached * value_bytes if grpo else 0
    # Adapters are switched off for the reference; only a full training needs a second model.
    keeps_copy = grpo is not None and grpo.beta > 0 and config.model.strategy == "full"
    logits = config.batch_size * answer * text.vocab_size
    if grpo:
        logits = min(logits, CHUNK_LOGITS)
    return MemoryEstimate(
        weights=weights,
        reference=weights if keeps_copy else 0,
        gradients=sum(p.numel() * p.element_size() for p in trained),
        optimizer=sum(p.numel() for p in trained) * MOMENT_BYTES,
        rollouts=sampled * (config.gradient_accumulation_steps if grpo else 1),
        # 12 bytes a logit: half precision, float32, and its gradient.
        activations=config.batch_size * (read + answer) * width * kept + logits * 12,
    )
