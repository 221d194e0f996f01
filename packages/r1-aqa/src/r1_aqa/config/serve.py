"""Settings of `r1-aqa serve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from r1_aqa.config.model import PromptStyle
from r1_aqa.config.server import ServerConfig
from r1_aqa.config.sound import SoundConfig


@dataclass(frozen=True, kw_only=True)
class ServeConfig(ServerConfig):
    """Ask a model about sounds on a page in the browser, and over HTTP."""

    model: str = "mispeech/r1-aqa"
    """Audio LLM: hub id, folder of a model or of adapters, or a run (its best model)."""
    family: str | None = None
    """`FILE.py:NAME`: a `Family` of your own for a kind of model not known here; the file is run."""
    prompt: PromptStyle | None = None
    """Instruction of questions that name none: `choices`, `answer`, `think`, `think_short`; none: `answer`
    with options, the bare question without."""
    max_new_tokens: int = 256
    """Longest answer, in tokens; a question may ask for less."""
    sound: SoundConfig = field(default_factory=lambda: SoundConfig(max_seconds=None))
    """How audio is read; windows are not asked about one by one here."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; `auto`: bfloat16 on a GPU, float32 without."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ...; `auto`: the GPU if there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sound.too_long == "windows":
            raise ValueError(
                "sound.too_long windows: a page asks about one part of a sound; take truncate, center or "
                "skip here, or `r1-aqa answer`"
            )
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
