"""Settings of `aac-llm serve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import check_decoding

from aac_llm.config.correct import CorrectionConfig
from aac_llm.config.sound import Channel, check_channel


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Caption sounds on a page in the browser, and by HTTP.

    Everything stays on this machine: the page asks no other host for anything, and uploads are deleted once
    they were heard.
    """

    model: str
    """Captioner: folder, run folder of a training (its best model) or hub id (name or name@revision)."""
    num_beams: int = 3
    """Beams of the search, and most captions of a sound that can be asked for (n-best)."""
    max_new_tokens: int = 30
    """Most tokens of a caption; of events with their times four times as many."""
    correction: CorrectionConfig = field(default_factory=lambda: CorrectionConfig(choose=True))
    """Which captions are repaired, and by which model; without correction.llm a broken caption is replaced
    by another one of the captioner's own, if one is whole."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0: every network that this machine is in can reach the page."""
    port: int = 7860
    """Port to listen at; 0: any that is free."""
    token_file: Path | None = None
    """File with a token without which nobody is answered (none: that of the environment variable
    AAC_LLM_TOKEN, if it is set)."""
    max_upload_megabytes: int = 50
    """Refuse larger files (MiB)."""
    max_seconds: float = 300.0
    """Refuse longer sounds."""
    max_waiting: int = 32
    """Requests that may wait for the model; more are refused with the advice to come back."""
    open_browser: bool = False
    """Open the page in this machine's browser."""
    channel: Channel | None = None
    """What is heard of several channels: `mean`, `first` or `loudest` (none: as the model was trained)."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` ...; auto: the first GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the model; auto: bfloat16 on a GPU, float32 elsewhere."""
    decoder: str | None = None
    """Folder or hub id of the decoder, if it is not the one that the model names."""
    quantization: Literal["none", "8bit", "4bit"] | None = None
    """Load the decoder in 8 or 4 bits (none given: as the model says)."""

    def __post_init__(self) -> None:
        for name in ("num_beams", "max_new_tokens", "max_upload_megabytes", "max_waiting"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be from 0 to 65535, got {self.port}")
        if not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be above 0, got {self.max_seconds}")
        check_channel(self.channel)
        check_decoding(self.decode_seconds, self.decode_megabytes)
