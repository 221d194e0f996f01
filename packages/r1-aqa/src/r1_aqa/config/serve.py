"""Settings of `r1-aqa serve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import check_decoding

from r1_aqa.config.model import PromptStyle
from r1_aqa.config.sound import SoundConfig


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Ask a model about sounds on a page in the browser, or over HTTP."""

    model: str = "mispeech/r1-aqa"
    """Audio LLM: hub id, folder of a model or of adapters, or a run (its best model)."""
    family: str | None = None
    """`FILE.py:NAME`: a `Family` of your own for a kind of model not known here; the file is run."""
    prompt: PromptStyle | None = None
    """What the page begins with: `choices`, `answer`, `think`, `think_short`; none: `answer` with options, the
    bare question without."""
    max_new_tokens: int = 256
    """Longest answer, in tokens; a question may ask for less."""
    sound: SoundConfig = field(default_factory=lambda: SoundConfig(max_seconds=None))
    """How audio is read; sounds are not asked about window by window here."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; `auto`: bfloat16 on a GPU, float32 without."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ...; `auto`: the GPU if there is one."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds (and a tenth of its length): it is refused."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    host: str = "127.0.0.1"
    """Address to listen at; the default is reached from this machine alone."""
    port: int = 7860
    """Port; 0: any free one."""
    token_file: Path | None = None
    """File with a token that every request must have (or the environment's R1_AQA_TOKEN); none: no token."""
    max_upload_megabytes: int = 50
    """Largest file that is taken."""
    max_seconds: float = 300.0
    """Longest sound that is taken, seconds."""
    max_waiting: int = 32
    """Questions that wait for the model at most; more are refused with `try again`."""
    open_browser: bool = False
    """Open the page in a browser."""

    def __post_init__(self) -> None:
        check_decoding(self.decode_seconds, self.decode_megabytes)
        if self.sound.too_long == "windows":
            raise ValueError(
                "sound.too_long windows: the page asks about one part of a sound; take truncate, center or "
                "skip here, or `r1-aqa answer`"
            )
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
