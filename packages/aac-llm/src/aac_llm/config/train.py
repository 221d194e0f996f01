"""Settings of `aac-llm train`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from aac_llm.config.model import ModelConfig
from aac_llm.config.sound import Channel, check_channel


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Clips to train on and to validate on."""

    train: tuple[Path, ...]
    """JSONL manifests of training clips."""
    train_splits: tuple[str, ...] = ("train",)
    """Use only these splits of them; none: every clip."""
    validation: tuple[Path, ...] = ()
    """Manifests of validation clips; none: no validation."""
    validation_splits: tuple[str, ...] = ("validation",)
    """Use only these splits of them; none: every clip."""
    language: str = "eng_Latn"
    """Captions to train on, where a manifest has them by language; a list is taken to be in it."""
    channel: Channel = "mean"
    """What is heard of several channels: their average (`mean`; of channels that cancel each other the
    loudest), the `first` or the `loudest`. It is saved with the model."""
    max_seconds: float = 30.0
    """Crop longer clips: at a random place in training, to their beginning in validation."""
    captions: Literal["one", "all"] = "one"
    """Use of a clip's several captions: `one`, drawn anew each epoch, or `all`, each as an example."""
    timestamps: float = 0.0
    """Share of the examples of which also the events with their times are learned (0 to 1), for clips whose
    manifest has `timestamps`; the model can then caption with --timestamps."""
    cache_gigabytes: float = 2.0
    """Decoded sound kept in memory by each process, so that no epoch decodes it again."""
    num_workers: int = 1
    """Processes that decode and crop; 0: in the training process."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("data.train: name at least one manifest of training clips")
        check_channel(self.channel, "data.channel")
        if not 0 <= self.timestamps <= 1:
            raise ValueError(f"data.timestamps must be in [0, 1], got {self.timestamps}")
        if self.max_seconds <= 0:
            raise ValueError(f"data.max_seconds must be positive, got {self.max_seconds}")
        for name in ("num_workers", "cache_gigabytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Masks on the log-mel frames in training (SpecAugment); none by default, as in the paper's code."""

    time_masks: int = 0
    """Masks on the time axis of each clip."""
    time_mask_frames: int = 64
    """Longest time mask, in frames of 10 ms."""
    freq_masks: int = 0
    """Masks on the frequency axis of each clip."""
    freq_mask_bins: int = 16
    """Widest frequency mask, in mel bands of 64."""

    def __post_init__(self) -> None:
        for name in ("time_masks", "time_mask_frames", "freq_masks"):
            if getattr(self, name) < 0:
                raise ValueError(f"augment.{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.freq_mask_bins <= 64:
            raise ValueError(f"augment.freq_mask_bins must be 0 to 64, got {self.freq_mask_bins}")


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Validation during training: loss, and captions that are generated and scored."""

    metric: Literal["cider_d", "loss"] = "cider_d"
    """Score that decides which checkpoint is the best; where it ties, the lower loss does."""
    max_clips: int = 200
    """Caption only this many clips, drawn from all data sets, numbers of events and lengths in proportion;
    the loss is of all. 0: no captions (metric loss)."""
    seed: int = 0
    """Seed of that draw, apart from the training's: runs with several seeds are judged on the same clips."""
    num_beams: int = 1
    """Beams for these captions."""
    batch_size: int = 16
    """Clips at once."""

    def __post_init__(self) -> None:
        if self.metric == "cider_d" and self.max_clips < 1:
            raise ValueError(
                f"validation.metric cider_d needs captions, got validation.max_clips {self.max_clips}; "
                "raise it or set validation.metric loss"
            )
        for name in ("num_beams", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"validation.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a captioner: any of the paper's stages, or your own data."""

    verb: ClassVar[str] = "train"
    """The command whose settings these are."""

    out: Path
    """Folder of checkpoints, logs and curves; the same command again resumes there."""
    init_from: str | None = None
    """Start from this trained captioner (folder, run folder or hub id); `model` is then ignored."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Model to train, when it is a new one."""
    data: DataConfig
    """Clips."""
    epochs: int = 15
    """Passes over the training clips."""
    max_steps: int | None = None
    """Stop after this many updates (none: epochs decide)."""
    batch_size: int = 8
    """Clips in a forward pass on each device."""
    gradient_accumulation_steps: int = 1
    """Forward passes for each update."""
    learning_rate: float = 5e-5
    """Peak learning rate (AdamW)."""
    bridge_learning_rate: float | None = None
    """Peak learning rate of the bridge, which starts from random weights (none: learning_rate)."""
    warmup_ratio: float = 0.13
    """Share of the updates over which the learning rate rises; it then falls along a cosine."""
    weight_decay: float = 1e-6
    """Weight decay (AdamW)."""
    max_grad_norm: float | None = 1.0
    """Clip the gradient norm to this value (none: never)."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of the computations; weights that are trained stay in float32. fp16 needs a GPU."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Masks on the sound."""
    eval_steps: int | None = None
    """Validate after this many updates, and at the end (none: after each epoch)."""
    save_steps: int | None = None
    """Save a checkpoint to resume from after this many updates (none: after each epoch)."""
    keep_checkpoints: int = 1
    """Number of recent checkpoints to keep; the best model is always kept."""
    logging_steps: int = 10
    """Log loss and learning rate after this many updates."""
    report_to: tuple[str, ...] = ()
    """Also log to tensorboard, wandb, ... (whatever transformers knows)."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Scores during training."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` ...; auto: the GPU if there is one."""
    seed: int = 20
    """Seed for weights, order, crops and the choice of captions."""

    def __post_init__(self) -> None:
        for name in (
            *("epochs", "max_steps", "batch_size", "gradient_accumulation_steps"),
            *("eval_steps", "save_steps", "keep_checkpoints", "logging_steps"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("learning_rate", "bridge_learning_rate", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.model.timestamps and not self.data.timestamps:
            raise ValueError(
                "model.timestamps says what was trained: set data.timestamps, the share of such examples"
            )
        if not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio must be in [0, 1), got {self.warmup_ratio}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps|xpu(:\d+)?", self.device):
            raise ValueError(f"device must be auto, cpu, cuda, cuda:1 or the like, got {self.device!r}")

    @property
    def captions_per_pass(self) -> int:
        """Captions in a forward pass on each device."""
        return self.batch_size
