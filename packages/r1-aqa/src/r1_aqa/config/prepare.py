"""Settings of `r1-aqa prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What all readers share."""

    out: Path
    """Plain JSONL to write; a report of what was left out stands beside it (.report.json)."""
    against: tuple[Path, ...] = ()
    """Benchmarks' files of questions: recordings that are in them, under whatever name, are left out."""
    against_audio: Path | None = None
    """Folder of the benchmarks' sounds; none: beside their files."""
    max_seconds: float = 30.0
    """Longer sounds are counted in the report, and left out with too_long skip."""
    too_long: Literal["keep", "skip"] = "keep"
    """`keep`: training and evaluation cut them by their own rule (`sound.too_long`)."""
    check_sound: bool = True
    """Decode every sound: corrupt and silent ones are left out. Off: only look whether it is there."""
    validation_share: float = 0.0
    """Put this share of the recordings in OUT's neighbour `.validation.jsonl`, all questions about each."""
    seed: int = 0
    """Of the choice of validation recordings."""

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share must be in [0, 1), got {self.validation_share}")
        if self.against and not self.check_sound:
            raise ValueError("--against compares the sounds, which --no_check_sound does not decode")


@dataclass(frozen=True, kw_only=True)
class PrepareQuestionsConfig(PrepareConfig):
    """Questions of the paper's JSONL, MMAU, MMAR or plain JSONL, told apart by their keys."""

    source: Path
    """The file."""
    audio: Path | None = None
    """Folder of the sounds, by their file names; none: where the file says."""


@dataclass(frozen=True, kw_only=True)
class PrepareAVQAConfig(PrepareConfig):
    """AVQA's train_qa.json or val_qa.json, and a folder of its sounds or videos."""

    source: Path
    """The file."""
    audio: Path
    """Folder of sounds or videos, searched with all sub-folders; the sound of videos is extracted."""
    relations: tuple[str, ...] = ("Sound", "Both")
    """Kinds of questions that are kept; `View` can be answered by looking alone (the paper kept it)."""
    visual_words: tuple[str, ...] = ("color", "colour", "wearing", "dressed", "clothes", "gender")
    """Questions with one of these words are about what is seen; none: keep them (as the paper did)."""
