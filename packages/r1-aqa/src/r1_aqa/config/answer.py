"""Settings of `r1-aqa answer`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import PromptName


@dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """Ask a question about a sound."""

    clip: Path
    """The sound, in any format that libsndfile reads (more with the extra `av`)."""
    question: str
    """The question."""
    choices: tuple[str, ...] = ()
    """Options to choose from; none: a free answer."""
    model: str = "mispeech/r1-aqa"
    """Hub id or folder of an audio LLM, or a folder of adapters."""
    prompt: PromptName | None = None
    """`choices`, `answer`, `think`, `think_short`; none: `answer` with options, the bare question without."""
    max_new_tokens: int = 256
    """Longest answer, in tokens."""
    temperature: float = 0.0
    """0: the likeliest answer; above: sampled."""
    sound: SoundConfig = field(default_factory=SoundConfig)
    """How the sound is read."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the weights; `auto`: bfloat16 on a GPU, float32 without."""
    device: Literal["auto", "cpu"] = "auto"
    """`auto`: the GPU if there is one."""
    json: bool = False
    """Print all of it as JSON: text, chosen option, thinking, raw completion."""

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError("question is empty")
        if len(self.choices) == 1:
            raise ValueError("choices: give at least two, or none for a free answer")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
