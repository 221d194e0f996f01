"""Settings of the server behind `serve`, alike in all packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_common.config import check_decoding


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Serve a page and an HTTP API."""

    host: str = "127.0.0.1"
    """Address to listen at: this machine alone, or `0.0.0.0` for all who can reach it (set a token then)."""
    port: int = 7860
    """Port to listen at; 0 takes any free one."""
    token_file: Path | None = None
    """File of a password that every request must bring; else the environment may hold one (ML_CLAP_TOKEN,
    AAC_LLM_TOKEN, R1_AQA_TOKEN)."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may call this machine by, besides its address; `*`: any (behind a proxy)."""
    max_upload_megabytes: int = 50
    """Refuse a request of more than this."""
    max_seconds: float = 300.0
    """Refuse a longer sound."""
    max_waiting: int = 32
    """Requests that may wait while one is answered; more are refused at once."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    open_browser: bool = False
    """Open the page in this machine's browser."""

    def __post_init__(self) -> None:
        check_decoding(self.decode_seconds, self.decode_megabytes)
        if not 0 <= self.port < 65_536:
            raise ValueError(f"port must be 0 to 65535, got {self.port}")
        for name in ("max_upload_megabytes", "max_seconds", "max_waiting"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
