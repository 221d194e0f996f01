"""Settings of `aac-llm train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aac_llm.config.model import ModelConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a captioner is trained on, and what it is validated on."""

    train: tuple[Path, ...] = ()
    """JSONL manifests of training clips."""
    train_splits: tuple[str, ...] = ("train",)
    """Use only these splits of them; none: every clip."""
    validation: tuple[Path, ...] = ()
    """Manifests of validation clips; none: no validation."""
    validation_splits: tuple[str, ...] = ("validation",)
    """Use only these splits of them; none: every clip."""
    max_seconds: float = 30.0
    """Longer clips are cut: at a random place in training, to their beginning in validation."""
    captions: Literal["one", "all"] = "one"
    """Of a clip with several captions: `one`, drawn anew each epoch, or `all`, each as an example."""
    cache_gigabytes: float = 2.0
    """Decoded sound kept in memory by each process, so that no epoch decodes it again."""
    num_workers: int = 1
    """Processes that decode and crop; 0: in the training process."""

    def __post_init__(self) -> None:
        if self.max_seconds <= 0:
            raise ValueError(f"data.max_seconds must be positive, got {self.max_seconds}")
        if self.num_workers < 0:
            raise ValueError(f"data.num_workers must not be negative, got {self.num_workers}")


@dataclass(frozen=True, kw_only=True)
class SpecAugmentConfig:
    """Masks on the log-mel frames in training; none by default, as in the paper's code."""

    time_masks: int = 0
    """Masks on the time axis of each clip."""
    time_width: int = 64
    """Frames of 10 ms; a mask is up to this long."""
    freq_masks: int = 0
    """Masks on the frequency axis of each clip."""
    freq_width: int = 16
    """Mel bands of 64; a mask is up to this wide."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Captions of validation clips, written and scored while training goes on."""

    metric: Literal["cider_d", "loss"] = "cider_d"
    """What decides which checkpoint is the best."""
    every_steps: int = 0
    """Validate after so many updates; 0: after each epoch."""
    max_clips: int = 200
    """Caption only the first so many clips; the loss is of all. 0: no captions (metric must be loss)."""
    num_beams: int = 1
    """Beams for these captions."""
    batch_size: int = 16
    """Clips at once."""

    def __post_init__(self) -> None:
        if self.metric == "cider_d" and self.max_clips < 1:
            raise ValueError(
                "validation.metric cider_d needs captions: set validation.max_clips or metric loss"
            )
        if self.num_beams < 1 or self.batch_size < 1 or self.every_steps < 0:
            raise ValueError(
                "validation: num_beams and batch_size must be at least 1, every_steps at least 0"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a captioner: any of the paper's stages, or your own data."""

    out: Path
    """Folder of checkpoints, logs and curves; the same command again resumes there."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The model, when it is a new one."""
    start_from: str | None = None
    """Folder or hub id of a trained captioner to go on from (a second stage); `model` is then ignored."""
    data: DataConfig = field(default_factory=DataConfig)
    """Clips."""
    epochs: int = 15
    """Passes over the training clips."""
    max_steps: int = 0
    """Stop after so many updates whatever the epochs; 0: epochs decide."""
    batch_size: int = 8
    """Clips of a forward pass on each device."""
    gradient_accumulation: int = 1
    """Passes of an update."""
    learning_rate: float = 5e-5
    """Highest rate, of AdamW."""
    bridge_learning_rate: float | None = None
    """Of the bridge, which starts from random weights; none: as of the rest."""
    weight_decay: float = 1e-6
    """Of AdamW."""
    warmup_ratio: float = 0.13
    """Share of the updates over which the rate rises; it then falls along a cosine."""
    max_grad_norm: float = 1.0
    """Longer gradients are shortened to this."""
    bf16: bool = False
    """Compute in bfloat16 (weights that are trained stay in float32)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    """Masks on the sound."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Scores during training."""
    save_every_steps: int = 0
    """Save where training can resume after so many updates; 0: after each epoch."""
    keep_checkpoints: int = 1
    """So many of these are kept, the latest; the best model is kept besides."""
    log_every_steps: int = 10
    """Write loss and rate after so many updates."""
    report_to: tuple[str, ...] = ()
    """Also log to tensorboard, wandb, ... (what transformers knows)."""
    device: Literal["auto", "cpu"] = "auto"
    """`auto`: the GPU if there is one."""
    seed: int = 20
    """Of weights, order, crops and choice of captions."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation", "log_every_steps", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_steps < 0 or self.save_every_steps < 0:
            raise ValueError("max_steps and save_every_steps must not be negative")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.bridge_learning_rate is not None and not self.bridge_learning_rate > 0:
            raise ValueError(f"bridge_learning_rate must be positive, got {self.bridge_learning_rate}")
        if not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio must be in [0, 1), got {self.warmup_ratio}")
