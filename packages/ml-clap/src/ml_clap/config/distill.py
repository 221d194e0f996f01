"""Settings of `ml-clap distill`, `ml-clap project` and `ml-clap export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Train a small multilingual text tower to give a model's text vectors; no sound is needed."""

    texts: tuple[Path, ...]
    """Manifests (.jsonl), or text files: one text a line, or `fra_Latn<TAB>un chien aboie`."""
    out: Path
    """Folder of the run: log, checkpoints, best and last tower; the same command resumes there."""
    model: str | None = None
    """The teacher: folder, run or hub id of a model, whose indexes the tower will search."""
    encoder: str | None = None
    """Instead of a model: a text encoder (folder, hub id, .pt), whose sentence vectors the tower learns."""
    encoder_prefix: str = ""
    """Put before every text that `encoder` reads (the e5 family expects `query: `)."""
    splits: tuple[str, ...] = ()
    """Use only these splits of the manifests (default: every clip)."""
    language: str = "eng_Latn"
    """Language of texts that do not name theirs."""
    validation_texts: tuple[Path, ...] = ()
    """Manifests or text files to validate on (default: a share of `texts`)."""
    validation_splits: tuple[str, ...] = ()
    """Use only these splits of them (default: every clip)."""
    validation_share: float = 0.05
    """Share of the clips or lines held out for validation where no file is named for it."""
    vocab_size: int = 8000
    """Sentencepiece pieces at most, learnt from the texts."""
    dim: int = 256
    """Width of the student."""
    layers: int = 3
    """Transformer layers of the student."""
    heads: int = 4
    """Attention heads; must divide `dim`."""
    max_text_tokens: int = 128
    """The student cuts longer texts to so many of its tokens."""
    max_steps: int = 3000
    """Updates."""
    batch_size: int = 64
    """Texts of an update."""
    learning_rate: float = 1e-3
    """Peak learning rate; it rises in a line, then falls along a cosine."""
    warmup_ratio: float = 0.1
    """Share of the run over which the learning rate rises."""
    weight_decay: float = 0.01
    """Weight decay of matrices; norms and biases have none."""
    max_grad_norm: float = 1.0
    """Clip the gradient norm to this value."""
    eval_steps: int = 250
    """Updates between validations, with one more at the end."""
    save_steps: int = 250
    """Updates between checkpoints, with one more at the end."""
    resume: Literal["auto", "never"] = "auto"
    """`auto` continues from the last checkpoint in `out`, if there is one, as if nothing had happened."""
    device: str = "auto"
    """Where to train: cpu, cuda, cuda:1; `auto`: the GPU if there is one."""
    seed: int = 0
    """Seed for everything random."""

    def __post_init__(self) -> None:
        check_teacher(self.model, self.encoder)
        if not self.texts:
            raise ValueError("texts: name at least one manifest or text file")
        check_share(self.validation_share)
        check_at_least(self, 1, "vocab_size", "dim", "layers", "heads", "max_steps", "batch_size")
        check_at_least(self, 1, "eval_steps", "save_steps")
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim must be even and divide by heads ({self.heads}), got {self.dim}")
        if not 3 <= self.max_text_tokens <= 512:
            raise ValueError(f"max_text_tokens must be 3 to 512, got {self.max_text_tokens}")
        if self.learning_rate <= 0 or self.max_grad_norm <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate and max_grad_norm must be above 0, weight_decay not negative")
        if not 0.0 <= self.warmup_ratio < 1.0:
            raise ValueError(f"warmup_ratio must be in [0, 1), got {self.warmup_ratio}")


@dataclass(frozen=True, kw_only=True)
class ProjectConfig:
    """Fit a map of a few MB from another text encoder, or a new language, into a model's space."""

    texts: tuple[Path, ...]
    """Manifests (.jsonl) or text files, as for `distill`."""
    out: Path
    """Folder of the projection."""
    encoder: str
    """The new text encoder: folder, hub id or .pt. It stays where it is; the projection names it."""
    encoder_prefix: str = ""
    """Put before every text that `encoder` reads (the e5 family expects `query: `)."""
    encoder_normalization: Literal["standard", "reference", "none"] = "standard"
    """What is done to texts before it, see `--model.text_normalization` of `train`."""
    model: str
    """The model whose indexes shall be searched: folder, run or hub id."""
    source_language: str | None = None
    """Language of the captions that the model reads, against those of the same clip in every language that
    the encoder reads (default: both read the same texts). For languages that the model does not know."""
    splits: tuple[str, ...] = ()
    """Use only these splits of the manifests (default: every clip)."""
    language: str = "eng_Latn"
    """Language of texts that do not name theirs."""
    validation_share: float = 0.1
    """Share of the clips or lines on which the strength of the ridge is chosen; they are not fitted."""
    max_text_tokens: int = 128
    """The encoder cuts longer texts to so many of its tokens."""
    device: str = "auto"
    """Where the encoders run: cpu, cuda, cuda:1; `auto`: the GPU if there is one."""
    seed: int = 0
    """Seed for what is held out."""

    def __post_init__(self) -> None:
        if not self.texts:
            raise ValueError("texts: name at least one manifest or text file")
        check_share(self.validation_share)
        if not 3 <= self.max_text_tokens <= 512:
            raise ValueError(f"max_text_tokens must be 3 to 512, got {self.max_text_tokens}")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write a model's towers, or a text tower, as ONNX."""

    model: str
    """A model (folder, run, hub id), or the folder of a text tower (`distill`, `project`)."""
    out: Path
    """Folder of the exported files; made if it is not there."""
    format: Literal["onnx"] = "onnx"
    """`onnx`: for onnxruntime (extra `onnx`), float32."""
    parts: tuple[Literal["text", "audio"], ...] = ("text", "audio")
    """What is exported; a text tower has no audio."""

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("parts: name text, audio or both")


def check_teacher(model: str | None, encoder: str | None) -> None:
    """Raise unless exactly one teacher is named."""
    if (model is None) == (encoder is None):
        raise ValueError("model: name the teacher, --model MODEL or --encoder ENCODER, and not both")


def check_share(share: float) -> None:
    """Raise for a share of texts to hold out that is none."""
    if not 0.0 < share < 1.0:
        raise ValueError(f"validation_share must be between 0 and 1, got {share}")
