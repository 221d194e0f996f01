"""Settings of `ml-clap train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import Channel

from ml_clap.config.limits import check_at_least
from ml_clap.config.model import ModelConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Clips to train and to validate on."""

    train: tuple[Path, ...]
    """Manifests (.jsonl) of training clips; and shards: their folder, a pattern such as
    sounds-{000000..000009}.tar, or an fsspec URL of these (s3://bucket/sounds)."""
    train_splits: tuple[str, ...] = ()
    """Use only these splits of them (default: every clip)."""
    validation: tuple[Path, ...] = ()
    """Manifests or shards of validation clips (default: no validation)."""
    validation_splits: tuple[str, ...] = ()
    """Use only these splits of them (default: every clip)."""
    language: str = "eng_Latn"
    """Language of captions that a manifest does not name by language."""
    source_language: str = "eng_Latn"
    """Use every caption in this language once in each epoch."""
    languages: tuple[str, ...] = ()
    """Mix in captions in these languages (the paper's language enhancement)."""
    language_rate: float = 0.1
    """Probability that a caption in a further language joins an epoch; see `rate_meaning`."""
    rate_meaning: Literal["per_language", "total"] = "per_language"
    """`per_language`: the paper's, 0.1 of seven languages adds about 70 %; `total`: all share 0.1, +10 %."""
    max_caption_length: int | None = None
    """Skip captions in further languages with more words (Japanese and Chinese: characters)."""
    unique_clips: Literal["no", "batch", "epoch"] = "no"
    """`batch`: no clip twice in a batch; `epoch`: one caption of each clip, drawn anew for every epoch."""
    channel: Channel = "mean"
    """What is made of several channels: `mean` (the louder one where they cancel out), `first` or `loudest`;
    saved with the model."""
    max_seconds: float = 30.0
    """Crop longer clips at random."""
    num_workers: int = 2
    """Processes that read audio, for each training process; 0: read in the training process."""
    cache_gigabytes: float = 2.0
    """Memory for decoded audio, of all workers together; sounds of shards are not kept."""
    shard_streams: int = 4
    """Parts of the shards that each training process reads side by side; its workers share them."""
    shard_buffer: int = 2560
    """Pairs from shards that are held at once and mixed, in each process; as many are fetched ahead."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("data.train: name at least one manifest of training clips")
        if not 0.0 <= self.language_rate <= 1.0:
            raise ValueError(f"data.language_rate must be in [0, 1], got {self.language_rate}")
        if self.max_seconds <= 0:
            raise ValueError(f"data.max_seconds must be above 0, got {self.max_seconds}")
        if self.num_workers < 0 or self.cache_gigabytes < 0:
            raise ValueError(
                f"data.num_workers and data.cache_gigabytes must not be negative, "
                f"got {self.num_workers} and {self.cache_gigabytes}"
            )
        check_at_least(self, 1, "shard_streams", "shard_buffer")
        if self.max_caption_length is not None and self.max_caption_length < 1:
            raise ValueError(f"data.max_caption_length must be at least 1, got {self.max_caption_length}")
        if self.source_language in self.languages:
            raise ValueError(f"data.languages must not repeat data.source_language ({self.source_language})")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer beyond its rate: Adam's constants, and how the rate differs by part and ends."""

    name: Literal["adamw", "adam"] = "adamw"
    """`adam` adds the weight decay to the gradient, `adamw` takes it off the weights."""
    encoder_lr_factor: float = 1.0
    """Learning rate of the encoders, as a multiple of `learning_rate` (heads and temperature have that)."""
    final_lr_factor: float = 0.0
    """Learning rate at the end of the run, as a multiple of `learning_rate`."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's two averages."""
    eps: float = 1e-8
    """Number added to Adam's denominator."""

    def __post_init__(self) -> None:
        if self.eps <= 0:
            raise ValueError(f"optimizer.eps must be above 0, got {self.eps}")
        for name in ("encoder_lr_factor", "final_lr_factor"):
            if getattr(self, name) < 0:
                raise ValueError(f"optimizer.{name} must not be negative, got {getattr(self, name)}")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"optimizer.betas must be in [0, 1), got {self.betas}")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of the training audio; all off by default."""

    time_masks: int = 0
    """Time masks (SpecAugment) on each clip."""
    time_mask_frames: int = 64
    """Longest time mask, in frames of 10 ms; at most half of a clip."""
    freq_masks: int = 0
    """Frequency masks (SpecAugment) on each clip."""
    freq_mask_bins: int = 8
    """Widest frequency mask, in mel bins of 64."""
    gain_db: float = 0.0
    """Make each clip louder or softer by up to this many decibels."""
    time_shift: bool = False
    """Rotate each clip in time by a random amount, its end coming first."""
    token_noise: float = 0.0
    """Put a random piece of the vocabulary in the place of each of a caption's, with this probability: pieces
    that the captions hardly have learn to mean nothing, instead of nothing being learnt of them."""

    def __post_init__(self) -> None:
        for name in ("time_masks", "time_mask_frames", "freq_masks", "freq_mask_bins", "gain_db"):
            if getattr(self, name) < 0:
                raise ValueError(f"augment.{name} must not be negative, got {getattr(self, name)}")
        if self.freq_mask_bins > 64:
            raise ValueError(f"augment.freq_mask_bins must be at most 64, got {self.freq_mask_bins}")
        if not 0.0 <= self.token_noise < 1.0:
            raise ValueError(f"augment.token_noise must be in [0, 1), got {self.token_noise}")


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Scores of the model during training."""

    metric: Literal["retrieval", "accuracy"] = "retrieval"
    """What decides which model is the best: `retrieval` (mAP@10, mean of both ways and all languages), or
    zero-shot `accuracy` (each clip against the captions of every label; needs labels)."""
    languages: tuple[str, ...] = ()
    """Languages to validate in (default: all of the validation captions)."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a model; `--config FILE.yaml` holds a recipe, and any flag overrides it."""

    out: Path
    """Folder of the run: log, checkpoints, best and last model, curves; the same command resumes there."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The model."""
    init_from: str | None = None
    """Trained model to start from (folder, run, hub id, or the authors' .pt): fine-tuning. Only what concerns
    training is then taken from `model`: freezing, patch-out, drop path."""
    data: DataConfig
    """The clips."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Random changes of the training audio."""
    epochs: int = 20
    """Passes over the training captions."""
    max_steps: int | None = None
    """End after this many updates, whatever the epochs."""
    batch_size: int = 128
    """Pairs of a forward pass on each device. Every pair is compared with those of all devices together."""
    gradient_accumulation_steps: int = 1
    """Batches of an update. Their gradients are averaged; a pair still meets only the others of its batch, so
    this does not replace a larger `batch_size`; `gradient_cache` makes room for one."""
    gradient_cache: int | None = None
    """Encode so many pairs of a batch at a time, twice: without a graph for the loss of the whole batch, then
    again for its gradients (GradCache, arXiv 2101.06983). The memory of a small batch, the update of a large
    one; about a third slower. null: all at once."""
    learning_rate: float = 1e-4
    """Peak learning rate; it rises in a line, then falls along a cosine."""
    warmup_ratio: float = 0.1
    """Share of the run over which the learning rate rises."""
    weight_decay: float = 0.01
    """Weight decay of matrices; norms, biases, positions and the temperature have none."""
    max_grad_norm: float | None = 1.0
    """Clip the gradient norm to this value; null: never."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Adam's constants."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision of the encoders; the loss is always in fp32."""
    gradient_checkpointing: bool = False
    """Recompute the encoders' activations in the backward pass: less memory, more time."""
    loss: Literal["infonce", "sigmoid"] = "infonce"
    """`infonce`: the paper's, every caption competes with all of the batch; `sigmoid`: each pair is right or
    wrong by itself, with a learnt bias that starts at -10 (SigLIP, arXiv 2303.15343; GLAP, 2506.11350)."""
    multilingual: Literal["pairs", "one_to_k", "co_anchor"] = "pairs"
    """How languages meet. `pairs`: the paper's, a pair of sound and one caption; ATRI's (arXiv 2502.14627):
    `one_to_k`, a sound with its captions in all languages at once; `co_anchor`, with the one in the source
    language and one in a drawn language, and these two with each other. Both need parallel captions (the
    same number in every language), and leave `data.language_rate` unused."""
    matryoshka_dims: tuple[int, ...] = ()
    """Add the loss of these first dimensions of the embeddings, so that they can be cut to them (Matryoshka
    representation learning, arXiv 2205.13147); the mean with the whole's."""
    positives: Literal["clip", "label", "none"] = "clip"
    """Which rows of a batch match besides each caption's own: those of the same `clip`, of the same `label`
    (labelled sets, where other clips have the same captions), or `none`."""
    embedding_regularization: bool = True
    """Add the paper's embedding regularization to the loss."""
    precompute_text: bool = False
    """Encode every caption once before training; for a frozen text encoder and a set that fits in memory."""
    ema_decay: float | None = None
    """Validate and save an exponential moving average of the weights (0.999, say); null: the weights."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Scores during training."""
    eval_steps: int | None = None
    """Updates between validations, with one more at the end; null: validate after each epoch."""
    save_steps: int | None = 500
    """Updates between checkpoints, with one more after each epoch; null: only those."""
    keep_checkpoints: int = 2
    """Number of recent checkpoints to keep; the best model is always kept."""
    logging_steps: int = 10
    """Updates whose mean loss stands beside the progress; the log file has every update's."""
    report_to: tuple[str, ...] = ()
    """Also report to tensorboard, wandb, trackio (whatever accelerate knows)."""
    resume: Literal["auto", "never"] = "auto"
    """`auto` continues from the last checkpoint in `out`, if there is one, as if nothing had happened."""
    device: str = "auto"
    """Where to train: cpu, cuda, cuda:1; `auto`: the GPU of each process if there is one."""
    seed: int = 0
    """Seed for everything random."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "batch_size", "gradient_accumulation_steps", "epochs", "max_steps")
        check_at_least(self, 1, "eval_steps", "save_steps", "keep_checkpoints", "logging_steps")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not 0.0 <= self.warmup_ratio < 1.0:
            raise ValueError(f"warmup_ratio must be in [0, 1), got {self.warmup_ratio}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise ValueError(f"max_grad_norm must be above 0, or null for none, got {self.max_grad_norm}")
        if self.ema_decay is not None and not 0.0 < self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must be between 0 and 1, or null for none, got {self.ema_decay}")
        if self.precompute_text and not self.model.freeze_text:
            raise ValueError("precompute_text needs a text encoder that does not change: --model.freeze_text")
        if self.precompute_text and self.augment.token_noise:
            raise ValueError("precompute_text encodes each caption as it is: set augment.token_noise to 0")
        self._check_loss()

    def _check_loss(self) -> None:
        check_at_least(self, 1, "gradient_cache")
        if self.gradient_cache is not None and self.gradient_cache >= self.batch_size:
            raise ValueError(
                f"gradient_cache, the part of a batch that is encoded at once, must be less than batch_size "
                f"({self.batch_size}), got {self.gradient_cache}"
            )
        if self.multilingual != "pairs" and not self.data.languages:
            raise ValueError(f"multilingual: {self.multilingual} needs further languages: --data.languages")
        if self.loss != "sigmoid" and self.model.similarity_bias is not None:
            raise ValueError("model.similarity_bias needs loss: sigmoid; in infonce it cancels out")
        dims = self.matryoshka_dims
        if any(not 1 <= dim < self.model.embed_dim for dim in dims) or len(set(dims)) < len(dims):
            raise ValueError(
                f"matryoshka_dims must be different numbers from 1 to below model.embed_dim "
                f"({self.model.embed_dim}), got {', '.join(map(str, dims))}"
            )
