"""Settings of `ml-clap train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ml_clap.config.limits import check_at_least
from ml_clap.config.model import ModelConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a model is trained on, and what it is validated on."""

    train: tuple[Path, ...] = ()
    """JSONL manifests of training clips."""
    train_splits: tuple[str, ...] = ()
    """Use only these splits of them; none: every clip."""
    validation: tuple[Path, ...] = ()
    """Manifests of validation clips; none: no validation."""
    validation_splits: tuple[str, ...] = ()
    """Use only these splits of them; none: every clip."""
    validation_languages: tuple[str, ...] = ()
    """Languages to validate in; none: all of the validation captions."""
    source_language: str = "eng_Latn"
    """Every caption in this language is used once in each epoch."""
    languages: tuple[str, ...] = ()
    """Further languages to mix in (the paper's language enhancement)."""
    language_rate: float = 0.1
    """How often a caption of a further language joins an epoch; `rate_meaning` says of what."""
    rate_meaning: Literal["per_language", "total"] = "per_language"
    """`per_language`: the paper's, 0.1 of seven languages adds about 70 %; `total`: all share 0.1, +10 %."""
    max_caption_length: int | None = None
    """Captions of a further language with more words (of Japanese and Chinese: characters) are left out."""
    unique_clips: Literal["no", "batch", "epoch"] = "no"
    """`batch`: no clip twice in a batch; `epoch`: one caption of each clip, drawn anew for every epoch."""
    max_seconds: float = 30.0
    """Longer clips are cropped at random."""
    num_workers: int = 2
    """Processes that read audio, for each training process; 0 reads in the training process itself."""
    cache_gigabytes: float = 2.0
    """Decoded audio kept in memory, in all workers together."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.language_rate <= 1.0:
            raise ValueError(f"data.language_rate must be in [0, 1], got {self.language_rate}")
        if self.max_seconds <= 0:
            raise ValueError(f"data.max_seconds must be above 0, got {self.max_seconds}")
        if self.num_workers < 0 or self.cache_gigabytes < 0:
            raise ValueError(
                f"data.num_workers and data.cache_gigabytes must not be negative, "
                f"got {self.num_workers} and {self.cache_gigabytes}"
            )
        if self.max_caption_length is not None and self.max_caption_length < 1:
            raise ValueError(f"data.max_caption_length must be at least 1, got {self.max_caption_length}")
        if self.source_language in self.languages:
            raise ValueError(f"data.languages must not repeat data.source_language ({self.source_language})")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and its learning rate: linear warm-up, then a cosine to the end."""

    name: Literal["adamw", "adam"] = "adamw"
    """`adam` adds the weight decay to the gradient, `adamw` takes it off the weights."""
    lr: float = 1e-4
    """Highest learning rate."""
    encoder_lr_factor: float = 1.0
    """The encoders learn at `lr` times this, the heads and the temperature at `lr`."""
    warmup_fraction: float = 0.1
    """Share of the run in which the rate rises from 0."""
    final_lr_factor: float = 0.0
    """At the end of the run the rate is `lr` times this."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's two averages."""
    eps: float = 1e-8
    """Added to Adam's denominator."""
    weight_decay: float = 0.01
    """Of matrices; norms, biases, positions and the temperature have none."""
    clip_grad_norm: float | None = 1.0
    """Gradients are scaled down to at most this norm; null: never."""

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.eps <= 0:
            raise ValueError(f"optimizer.lr and optimizer.eps must be above 0, got {self.lr} and {self.eps}")
        for name in ("encoder_lr_factor", "final_lr_factor", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"optimizer.{name} must not be negative, got {getattr(self, name)}")
        if not 0.0 <= self.warmup_fraction < 1.0:
            raise ValueError(f"optimizer.warmup_fraction must be in [0, 1), got {self.warmup_fraction}")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"optimizer.betas must be in [0, 1), got {self.betas}")
        if self.clip_grad_norm is not None and self.clip_grad_norm <= 0:
            raise ValueError(
                f"optimizer.clip_grad_norm must be above 0, or null for none, got {self.clip_grad_norm}"
            )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Changes of the training sounds; all off by default."""

    time_masks: int = 0
    """SpecAugment: stretches of time masked in a clip."""
    time_mask_frames: int = 64
    """Longest such stretch, in frames of 10 ms; half of a clip at most."""
    freq_masks: int = 0
    """SpecAugment: bands of mel bins masked in a clip."""
    freq_mask_bins: int = 8
    """Widest such band, of 64 bins."""
    gain_db: float = 0.0
    """Each clip is made louder or softer by up to so much."""
    time_shift: bool = False
    """Each clip is rotated in time by a random amount, its end coming first."""

    def __post_init__(self) -> None:
        for name in ("time_masks", "time_mask_frames", "freq_masks", "freq_mask_bins", "gain_db"):
            if getattr(self, name) < 0:
                raise ValueError(f"augment.{name} must not be negative, got {getattr(self, name)}")
        if self.freq_mask_bins > 64:
            raise ValueError(f"augment.freq_mask_bins must be at most 64, got {self.freq_mask_bins}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a model; `--config FILE.yaml` holds a recipe, and any flag overrides it."""

    out: Path = Path("runs/train")
    """Folder of the run: log, checkpoints, the best and the final model, curves."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The model."""
    init_from: str | None = None
    """Start from this trained model (folder, hub id, or the authors' .pt): fine-tuning. Of `model` only what
    concerns training is then used: freezing, patch-out, drop path, gradient checkpointing."""
    data: DataConfig = field(default_factory=DataConfig)
    """The clips."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes of the training sounds."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimizer and learning rate."""
    batch_size: int = 128
    """Pairs that are compared with one another: of one forward pass, over all processes together."""
    accumulation_steps: int = 1
    """Batches per update. Their gradients are averaged; a pair still meets only the others of its own batch,
    so this does not replace a larger `batch_size`."""
    epochs: int = 20
    """Passes over the training captions."""
    max_steps: int | None = None
    """End after so many updates instead of after `epochs`."""
    positives: Literal["clip", "label", "none"] = "clip"
    """Which rows of a batch match besides each caption's own: those of the same `clip`, of the same `label`
    (class-labelled sets, where other clips have the same captions), or `none`."""
    embedding_regularization: bool = True
    """Add the paper's embedding regularisation to the loss."""
    precompute_text: bool = False
    """Encode every caption once before training; for a frozen text encoder and a set that fits in memory."""
    ema_decay: float | None = None
    """Validate and save an exponential moving average of the weights (0.999, say); null: the weights."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision of the encoders; the loss is always in fp32."""
    device: Literal["auto", "cpu"] = "auto"
    """`auto` uses the GPU of each process if there is one."""
    seed: int = 0
    """Everything random follows from it."""
    validate_every: int = 1
    """Validate after so many epochs, and at the end."""
    validate_by: Literal["retrieval", "accuracy"] = "retrieval"
    """What validation measures, and the best model has most of: `retrieval` (mAP@10, mean of both ways and
    all languages), or zero-shot `accuracy` (each clip against the captions of every label; needs labels)."""
    checkpoint_every: int = 500
    """Save the training state after so many updates, besides after every epoch."""
    keep_checkpoints: int = 2
    """Older ones are deleted."""
    resume: Literal["auto", "never"] = "auto"
    """`auto` continues from the last checkpoint in `out`, if there is one, as if nothing had happened."""
    log_every: int = 10
    """Updates between lines on the screen; the log file has every update."""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Also report there."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "batch_size", "accumulation_steps", "epochs", "validate_every")
        check_at_least(self, 1, "checkpoint_every", "keep_checkpoints", "log_every")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, or null for none, got {self.max_steps}")
        if self.ema_decay is not None and not 0.0 < self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must be between 0 and 1, or null for none, got {self.ema_decay}")
        if self.precompute_text and not self.model.freeze_text:
            raise ValueError("precompute_text needs a text encoder that does not change: --model.freeze_text")
        if not self.data.train:
            raise ValueError("data.train: name the manifests to train on, --data.train FILE.jsonl ...")
