"""Settings of `r1-aqa answer`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import check_decoding

from r1_aqa.config.model import PromptStyle
from r1_aqa.config.sound import SoundConfig


@dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """Ask a question about an audio file, or about several."""

    audio: Path
    """The file, in any format that libsndfile reads (more with the extra `av`)."""
    question: str
    """The question."""
    choices: tuple[str, ...] = ()
    """Options to choose from; none: a free answer."""
    further_audio: tuple[Path, ...] = ()
    """Further files that the question is about, too: `Which of the two is louder?`"""
    model: str = "mispeech/r1-aqa"
    """Audio LLM: hub id, folder of a model or of adapters, or a run (its best model)."""
    family: str | None = None
    """`FILE.py:NAME`: a `Family` of your own for a kind of model not known here; the file is run."""
    prompt: PromptStyle | None = None
    """`choices`, `answer`, `think`, `think_short`; none: `answer` with options, the bare question without."""
    template: Path | None = None
    """File with a prompt of one's own in Jinja's language, as `evaluate` takes it (none: `prompt`)."""
    max_new_tokens: int = 256
    """Longest answer, in tokens."""
    temperature: float = 0.0
    """Sampling temperature; 0: the likeliest answer."""
    sound: SoundConfig = field(default_factory=lambda: SoundConfig(max_seconds=None))
    """How audio is read."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; `auto`: bfloat16 on a GPU, float32 without."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ...; `auto`: the GPU if there is one."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds (and a tenth of its length): it is listed as bad."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    json: Path | None = None
    """Write text, chosen option, thinking and raw completion to this JSON file; `-`: print them."""

    def __post_init__(self) -> None:
        check_decoding(self.decode_seconds, self.decode_megabytes)
        if not self.question.strip():
            raise ValueError("question is empty")
        if len(self.choices) == 1:
            raise ValueError("choices: give at least two, or none for a free answer")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
