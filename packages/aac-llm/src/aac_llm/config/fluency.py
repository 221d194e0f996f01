"""Settings of `aac-llm fluency`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FluencyConfig:
    """Train a detector of captions that are not fluent, from any captions in English.

    Errors of six kinds are made of the captions by rules, and a small encoder learns to tell them from the
    captions themselves. Clips that are kept aside give the threshold, the false alarms and the share of each
    kind that is found. The same command goes on after a kill.
    """

    captions: tuple[Path, ...]
    """Files of captions that people wrote: manifests, Clotho's tables (.csv), COCO's annotations (.json), or
    texts (.txt), a caption a line."""
    out: Path
    """Folder of the detector: for `correct --fluency_model`, or the default place of the gate `auto`, which
    is `fluency` in AAC_LLM_CACHE (~/.cache/aac-llm)."""
    encoder: str | None = None
    """Encoder to start from: folder or hub id of a BERT or the like (none: a small one with random weights
    and a tokenizer of these captions; it needs thousands of captions, and finds less)."""
    num_layers: int | None = None
    """Keep only so many layers of that encoder, the lowest ones: less time and room (none: all)."""
    scores: Path | None = None
    """Captions and what another detector thought of them, as lines of JSON with `caption` and
    `error_probability`: its opinion of whole captions is learned, too."""
    split: str | None = None
    """Use only the clips of this split of manifests (none: all but those of `test`)."""
    held_out: float = 0.2
    """Share of the clips that is kept aside."""
    false_alarms: float = 0.01
    """Share of people's captions that may be held to be wrong: it decides the threshold."""
    steps: int = 600
    """Updates."""
    batch_size: int = 32
    """Texts of an update: half of them captions as they are, half with errors."""
    learning_rate: float | None = None
    """Peak learning rate (AdamW); none: 3e-4, and 1e-3 where the encoder begins with random weights."""
    warmup_ratio: float = 0.1
    """Share of the updates over which the learning rate rises; it then falls to 0 along a line."""
    save_steps: int = 100
    """Save a checkpoint to resume from after this many updates."""
    logging_steps: int = 20
    """Log the loss after this many updates."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` ...; auto: the GPU if there is one."""
    seed: int = 0
    """Seed for weights, order, errors and the clips that are kept aside."""

    def __post_init__(self) -> None:
        if not self.captions:
            raise ValueError("captions: expected at least one file")
        for name in ("steps", "save_steps", "logging_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_layers is not None and self.num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {self.num_layers}")
        if self.num_layers is not None and self.encoder is None:
            raise ValueError("num_layers goes with encoder: whose layers to keep")
        if self.batch_size < 2 or self.batch_size % 2:
            raise ValueError(f"batch_size must be an even number, got {self.batch_size}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio must be in [0, 1), got {self.warmup_ratio}")
        for name in ("held_out", "false_alarms"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be above 0 and below 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps|xpu(:\d+)?", self.device):
            raise ValueError(f"device must be auto, cpu, cuda, cuda:1 or the like, got {self.device!r}")

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate that is used."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-3 if self.encoder is None else 3e-4
