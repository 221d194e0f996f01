"""Settings of `r1-aqa train grpo` and `r1-aqa train sft`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from r1_aqa.config.model import ModelConfig, PromptStyle
from r1_aqa.config.sound import SoundConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Questions to train on and to validate with."""

    train: tuple[Path, ...]
    """Files of training questions (plain JSONL, the paper's JSONL, MMAU's, MMAR's)."""
    validation: tuple[Path, ...] = ()
    """Files of validation questions, which choose the best checkpoint; never the benchmark."""
    cache_gigabytes: float = 4.0
    """Memory for decoded audio and encoded prompts, in each process."""
    curriculum: Literal["none", "easy_first"] = "none"
    """Order of training questions in an epoch: shuffled, or `easy_first` by their column `audio_dependence`
    (prepare --audio_dependence): first those that probes answer without sound, last those that need it."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("data.train: name at least one file of training questions")
        if self.cache_gigabytes < 0:
            raise ValueError(f"data.cache_gigabytes must not be negative, got {self.cache_gigabytes}")


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """How the validation questions are answered while training goes on."""

    metric: Literal["strict", "official"] = "strict"
    """Verdict whose accuracy chooses the best checkpoint: ours or that of the benchmarks' scripts."""
    max_questions: int | None = 500
    """Answer only this many of the questions, the first ones; none: all."""
    batch_size: int = 16
    """Questions answered at once."""
    max_new_tokens: int = 256
    """Longest answer, in tokens."""

    def __post_init__(self) -> None:
        for name in ("max_questions", "batch_size", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"validation.{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings that both trainings share: model, questions, updates."""

    out: Path
    """Folder of checkpoints, logs and curves; the same command again resumes there."""
    init_from: str
    """Audio LLM to start from: hub id, folder of a model or of adapters, or a run (its best model)."""
    data: DataConfig
    """Questions to train on and to validate with."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """How the audio LLM is loaded and which parts of it are trained."""
    sound: SoundConfig = field(default_factory=SoundConfig)
    """How audio is read."""
    prompt: PromptStyle = "answer"
    """`choices`, `answer`, `think`: the paper's prompts 1, 2, 3; `think_short` bounds the thinking."""
    template: Path | None = None
    """File with a prompt of one's own in Jinja's language, as `evaluate` takes it; `prompt` then only says if
    fine-tuning teaches answers in tags."""
    epochs: int = 1
    """Passes over the training questions."""
    max_steps: int | None = None
    """Stop after this many updates, whatever the epochs; none: the epochs decide."""
    batch_size: int = 1
    """Questions of a forward pass on each device."""
    gradient_accumulation_steps: int = 1
    """Forward passes of an update."""
    learning_rate: float = 1e-6
    """Peak learning rate (AdamW)."""
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up."""
    warmup_ratio: float = 0.0
    """Share of the updates over which the learning rate rises."""
    weight_decay: float = 0.0
    """Weight decay (AdamW)."""
    max_grad_norm: float | None = 1.0
    """Clip the gradient norm to this value; none: never."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of the computation; train float32 weights in full, or small updates are lost."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    deepspeed: Path | None = None
    """DeepSpeed's JSON, e.g. ZeRO-3; or start with `accelerate launch --config_file`."""
    eval_steps: int | None = None
    """Updates between validations, the first before training; none: after each epoch. Always at the end."""
    save_steps: int | None = 100
    """Updates between checkpoints that training can resume from; none: after each epoch."""
    keep_checkpoints: int = 1
    """Number of recent checkpoints to keep; the best model is always kept."""
    logging_steps: int = 1
    """Updates between lines of the log."""
    report_to: tuple[str, ...] = ()
    """Also log to tensorboard, wandb, trackio, ... (what transformers knows)."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """How the validation questions are answered."""
    check_heard: bool = True
    """Before the first update make sure that answers depend on the audio; without it training may be deaf."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ...; `auto`: the GPU if there is one."""
    seed: int = 42
    """Seed for new weights, the order of questions and sampling."""
    trl: dict[str, Any] = field(default_factory=dict)
    """Further settings of TRL and transformers by their own names, as in --trl.adam_beta2 0.95; checked
    against the installed TRL, refused where a setting of ours decides."""

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "gradient_accumulation_steps", "keep_checkpoints", "logging_steps")
        for name in (*counts, "max_steps", "eval_steps", "save_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.sound.too_long == "windows":
            raise ValueError(
                "sound.too_long windows is for evaluate and answer; training needs one sound a question: "
                "give truncate, center or skip"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive or none, got {self.max_grad_norm}")
        if not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio must be in [0, 1), got {self.warmup_ratio}")


@dataclass(frozen=True, kw_only=True)
class SFTTrainConfig(TrainConfig):
    """Supervised fine-tuning on the right answers: the paper's baseline."""

    packing: bool = False
    """Lay short questions one behind another in the rows of a forward pass: the same loss, less padding."""


@dataclass(frozen=True, kw_only=True)
class GRPOTrainConfig(TrainConfig):
    """Group relative policy optimization: rollouts are rewarded and compared within their group."""

    rewards: tuple[str, ...] = ("accuracy", "format")
    """Names of built-in rewards (also counterfactual, reference_accuracy, ...) or FILE.py:FUNCTION."""
    overlong_margin: int | None = None
    """The reward `overlong` falls from 0 to -1 over the last this many tokens before max_new_tokens; none: a
    fifth of max_new_tokens, as in DAPO."""
    reward_weights: tuple[float, ...] = ()
    """A weight for each reward; none: plain sum, as in the paper."""
    num_rollouts: int = 8
    """Rollouts of a question, G in the paper."""
    max_new_tokens: int = 256
    """Longest rollout, in tokens."""
    temperature: float = 1.0
    """Sampling temperature, also that of the log-probabilities that are learned from."""
    top_k: int = 0
    """Sample from this many of the likeliest tokens; 0: from all, as the log-probabilities assume."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that have this probability together."""
    beta: float = 0.04
    """Weight of the KL divergence from the reference, which is the model at the start; 0: no reference."""
    correct_kl: bool = False
    """Weight the divergence by the ratio of probabilities, so that its gradient is unbiased."""
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] = "grpo"
    """How tokens are averaged; `grpo`: within each rollout, then over rollouts, as in the paper."""
    sequence_ratio: bool = False
    """One ratio of probabilities for a whole rollout (GSPO) in place of one for each token."""
    clip: float = 0.2
    """Ratios are clipped to 1 - clip ... 1 + clip_high."""
    clip_high: float | None = None
    """Upper clipping; none: as the lower."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Divide advantages by the deviation of the rewards of the group or the batch, or not at all."""
    updates_per_rollout: int = 1
    """How often the same rollouts are learned from; 1: strictly on-policy, as in the paper."""
    minibatches: int = 1
    """Sample for this many updates at once and divide the rollouts between them (DAPO 16, GSPO 4); 1: sample
    for each update."""
    ignore_truncated: bool = False
    """Learn nothing from rollouts that were cut at max_new_tokens."""
    zero_advantage: Literal["keep", "drop", "resample"] = "keep"
    """Groups whose rollouts all got the same reward: `keep` them (they feel the KL term alone), `drop` them
    from passes and loss, or `resample`: draw other questions instead, and drop what still is equal."""
    resample_rounds: int = 2
    """How often other questions are drawn (zero_advantage resample)."""
    share: bool = True
    """Read and encode each question once for all its rollouts; False: as plain TRL, for comparison."""
    vllm: Literal["off", "colocate", "server"] = "off"
    """Sample with vLLM, corrected for its other numerics: `colocate` on the same GPUs, `server` on those of a
    running `vllm serve` (untested: both need GPUs)."""
    vllm_host: str = "localhost"
    """Where `vllm serve` runs (vllm server)."""
    vllm_port: int = 8000
    """Its port."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_rollouts < 2:
            raise ValueError(f"num_rollouts must be at least 2 to compare rollouts, got {self.num_rollouts}")
        if self.reward_weights and len(self.reward_weights) != len(self.rewards):
            raise ValueError(
                f"reward_weights: expected {len(self.rewards)}, one a reward, got {len(self.reward_weights)}"
            )
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}: rollouts must differ")
        for name in ("updates_per_rollout", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.save_steps is not None and self.save_steps % self.updates_per_sampling:
            raise ValueError(
                f"save_steps ({self.save_steps}) must be a multiple of updates_per_rollout times minibatches "
                f"({self.updates_per_sampling}): between, rollouts would be lost on resuming"
            )
        if self.overlong_margin is not None and not 1 <= self.overlong_margin <= self.max_new_tokens:
            raise ValueError(
                f"overlong_margin must be from 1 to max_new_tokens ({self.max_new_tokens}), "
                f"got {self.overlong_margin}"
            )

    @property
    def updates_per_sampling(self) -> int:
        """Updates that learn from the rollouts of one sampling, which no checkpoint holds."""
        return self.updates_per_rollout * self.minibatches
