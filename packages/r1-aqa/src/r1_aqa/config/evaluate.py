"""Settings of `r1-aqa evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import PromptName


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Answer the questions of a benchmark and score the answers."""

    benchmark: str
    """mmau-test-mini, mmau-test, mmar, or a file of questions."""
    model: str
    """Hub id or folder of an audio LLM, or a folder of adapters."""
    out: Path
    """Folder of answers and scores; the same command again goes on there."""
    audio: Path | None = None
    """Folder of the benchmark's sounds; none: beside its file."""
    prompt: PromptName = "answer"
    """The paper's prompts 1 (`choices`), 2 (`answer`), 3 (`think`), or `think_short`."""
    sound: SoundConfig = field(default_factory=SoundConfig)
    """How sounds are read."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the weights; `auto`: bfloat16 on a GPU, float32 without."""
    batch_size: int = 16
    """Questions at once."""
    max_new_tokens: int = 256
    """Longest answer, in tokens."""
    shuffles: int = 0
    """Ask so many times more with the options in another order: how much of the score is their order?"""
    silent: bool = False
    """Ask once more with silence in place of every sound: how much of the score needs no sound?"""
    limit: int = 0
    """Only the first so many questions; 0: all."""
    check_heard: bool = True
    """First make sure that answers depend on the sound."""
    cache_gigabytes: float = 4.0
    """Memory for encoded clips, which all questions about them share."""
    device: Literal["auto", "cpu"] = "auto"
    """`auto`: the GPU if there is one."""
    seed: int = 0
    """Of the orders of options and the draws of intervals."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.max_new_tokens < 1:
            raise ValueError("batch_size and max_new_tokens must be at least 1")
        if self.shuffles < 0 or self.limit < 0:
            raise ValueError("shuffles and limit must not be negative")
