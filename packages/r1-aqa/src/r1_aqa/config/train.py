"""Settings of `r1-aqa train grpo` and `r1-aqa train sft`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from r1_aqa.config.model import ModelConfig
from r1_aqa.config.sound import SoundConfig

PromptName = Literal["choices", "answer", "think", "think_short"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What both trainings share: model, questions, updates."""

    questions: tuple[Path, ...]
    """Files of training questions (plain JSONL, the reference's JSONL, ...)."""
    out: Path
    """Folder of checkpoints, logs and curves; the same command again resumes there."""
    validation: tuple[Path, ...] = ()
    """Files of validation questions, which choose the best checkpoint; never the benchmark."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The audio LLM and what of it is trained."""
    sound: SoundConfig = field(default_factory=SoundConfig)
    """How sounds are read."""
    prompt: PromptName = "answer"
    """`choices`, `answer`, `think`: the paper's prompts 1, 2, 3; `think_short` bounds the thinking."""
    epochs: float = 1.0
    """Passes over the training questions."""
    max_steps: int = 0
    """Stop after so many updates whatever the epochs; 0: epochs decide."""
    batch_size: int = 1
    """Questions of a forward pass on each device."""
    gradient_accumulation: int = 1
    """Passes of an update."""
    learning_rate: float = 1e-6
    """Highest rate, of AdamW."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after the warm-up."""
    warmup_ratio: float = 0.0
    """Share of the updates over which the rate rises."""
    weight_decay: float = 0.0
    """Of AdamW."""
    max_grad_norm: float = 1.0
    """Longer gradients are shortened to this."""
    bf16: bool = False
    """Compute in bfloat16; with strategy full load the weights as float32, or small updates are lost."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    deepspeed: Path | None = None
    """DeepSpeed's JSON, e.g. ZeRO-3; or start with `accelerate launch --config_file`."""
    validate_every: int = 0
    """Answer the validation questions after so many updates; 0: at the end alone."""
    validation_questions: int = 500
    """Only the first so many of them."""
    validation_batch_size: int = 16
    """Questions answered at once."""
    validation_new_tokens: int = 256
    """Longest answer, in tokens."""
    save_every: int = 100
    """Save where training can resume after so many updates."""
    keep_checkpoints: int = 1
    """So many of these are kept, the latest; the best model is kept besides."""
    log_every: int = 1
    """Log after so many updates."""
    report_to: tuple[str, ...] = ()
    """Also log to tensorboard, wandb, trackio, ... (what transformers knows)."""
    cache_gigabytes: float = 4.0
    """Memory for decoded sounds and encoded prompts, in each process."""
    check_heard: bool = True
    """Before the first update make sure that answers depend on the sound; without it training may be deaf."""
    device: Literal["auto", "cpu"] = "auto"
    """`auto`: the GPU if there is one."""
    seed: int = 42
    """Of new weights, the order of questions, sampling."""

    def __post_init__(self) -> None:
        if not self.questions:
            raise ValueError("questions: name at least one file of training questions")
        for name in ("batch_size", "gradient_accumulation", "save_every", "log_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_steps < 0 or self.validate_every < 0:
            raise ValueError("max_steps and validate_every must not be negative")
        if not self.learning_rate > 0 or not self.epochs > 0:
            raise ValueError("learning_rate and epochs must be positive")
        if not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio must be in [0, 1), got {self.warmup_ratio}")


@dataclass(frozen=True, kw_only=True)
class SFTTrainConfig(TrainConfig):
    """Supervised fine-tuning on the right answers: the paper's baseline."""


@dataclass(frozen=True, kw_only=True)
class GRPOTrainConfig(TrainConfig):
    """Group relative policy optimization: rollouts are rewarded, compared within their group, learnt from."""

    rewards: tuple[str, ...] = ("accuracy", "format")
    """Names of built-in rewards (also reference_accuracy, ...) or FILE.py:FUNCTION."""
    reward_weights: tuple[float, ...] = ()
    """One for each reward; none: plain sum, as in the paper."""
    num_rollouts: int = 8
    """Rollouts of a question, G in the paper."""
    max_new_tokens: int = 256
    """Longest rollout, in tokens."""
    temperature: float = 1.0
    """Of sampling, and of the log-probabilities that are learnt from."""
    top_k: int = 0
    """Sample from the so many likeliest tokens; 0: from all, as the log-probabilities assume."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that have this probability together."""
    beta: float = 0.04
    """Weight of the KL divergence from the reference, which is the model at the start; 0: no reference."""
    correct_kl: bool = False
    """Weight the divergence by the ratio of probabilities, so that its gradient is unbiased."""
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"] = "grpo"
    """How tokens are averaged; `grpo`: within each rollout, then over rollouts, as in the paper."""
    sequence_ratio: bool = False
    """One ratio of probabilities for a whole rollout (GSPO) in place of one for each token."""
    clip: float = 0.2
    """Ratios are clipped to 1 - clip ... 1 + clip_high."""
    clip_high: float | None = None
    """Upper clipping; none: as the lower."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by the standard deviation of."""
    updates_per_rollout: int = 1
    """How often the same rollouts are learnt from; 1: strictly on-policy, as in the paper."""
    ignore_truncated: bool = False
    """Learn nothing from rollouts that were cut at max_new_tokens."""
    zero_advantage: Literal["keep", "drop", "resample"] = "keep"
    """Groups whose rollouts all got the same reward: `keep` them (they feel the KL term alone), `drop` them
    from passes and loss, or `resample`: draw other questions instead, and drop what still is equal."""
    resample_rounds: int = 2
    """How often other questions are drawn (zero_advantage resample)."""
    share: bool = True
    """Read and encode each question once for all its rollouts; False: as plain TRL, for comparison."""
    vllm: Literal["off", "colocate"] = "off"
    """Sample with vLLM on the same GPUs, corrected for its other numerics (untested: it needs GPUs)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_rollouts < 2:
            raise ValueError(f"num_rollouts must be at least 2 to compare rollouts, got {self.num_rollouts}")
        if self.reward_weights and len(self.reward_weights) != len(self.rewards):
            raise ValueError(f"expected {len(self.rewards)} reward_weights, got {len(self.reward_weights)}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}: rollouts must differ")
        if self.save_every % self.updates_per_rollout:
            raise ValueError(
                f"save_every ({self.save_every}) must be a multiple of updates_per_rollout "
                f"({self.updates_per_rollout}): between, rollouts would be lost on resuming"
            )
