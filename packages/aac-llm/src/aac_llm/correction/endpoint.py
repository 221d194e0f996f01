"""Repairs by a language model behind an endpoint (`models/endpoint.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from aac_llm.config.correct import CorrectionConfig
from aac_llm.correction.llm import messages
from aac_llm.models.endpoint import Endpoint, LLMError, read_answer

__all__ = ["EndpointLLM", "read_answer"]


class EndpointLLM:
    """Asks a service to repair captions."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @classmethod
    def from_settings(cls, settings: CorrectionConfig) -> EndpointLLM:
        """Make the endpoint that settings name, with its key from the environment."""
        return cls(Endpoint.from_settings(settings, str(settings.llm)))

    def __call__(self, captions: Sequence[str]) -> list[str | LLMError]:
        """Return the service's answer to each caption."""
        return self.endpoint.ask([messages(caption) for caption in captions])
