"""Settings of the language model that judges captions in `aac-llm evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """The service that judges captions."""

    llm: str | None = None
    """Judge's name at the service (none: no judge, and no such score)."""
    endpoint: str | None = None
    """Address of an OpenAI-compatible service up to its version, e.g. http://localhost:8000/v1."""
    api_key_variable: str = "AAC_LLM_API_KEY"
    """Environment variable with the endpoint's key; unset: none is sent."""
    prompt: Path | None = None
    """File with another question, in which {caption} and {references} stand for the texts (none: ours)."""
    answers: Path | None = None
    """Keep the judge's scores and reasons in this file, one JSON object a line; what it holds already is not
    asked again."""
    max_new_tokens: int = 512
    """Most tokens of an answer; a model that thinks aloud needs more."""
    request_timeout: float = 60.0
    """Seconds to wait for an answer."""
    max_retries: int = 3
    """Retries of a request when the endpoint is busy, broken or not there."""
    concurrency: int = 4
    """Requests at the same time."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"judge.{name} must be at least 1, got {getattr(self, name)}")
        if not self.request_timeout > 0:
            raise ValueError(f"judge.request_timeout must be above 0, got {self.request_timeout}")
        if self.max_retries < 0:
            raise ValueError(f"judge.max_retries must not be negative, got {self.max_retries}")
        if (self.llm is None) != (self.endpoint is None):
            raise ValueError("judge.llm and judge.endpoint go together: the model's name, and where it is")
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"judge.endpoint must begin with http:// or https://, got {self.endpoint!r}")
