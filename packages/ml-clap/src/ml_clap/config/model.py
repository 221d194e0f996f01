"""Settings of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audio_common.config import CEDConfig

from ml_clap.config.limits import check_at_least

TEMPERATURE_RANGE = (0.01, 1.0)
"""Where a temperature learnt in log space is kept: similarities are multiplied by 1 to 100."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An ML-CLAP model: CED and a text encoder, each with a two-layer head into one space."""

    audio: CEDConfig = field(default_factory=CEDConfig)
    """Architecture of the audio encoder."""
    audio_weights: str | None = None
    """Where the audio encoder's weights start: hub id (mispeech/ced-base), folder or file; else random."""
    text_backend: Literal["transformers", "sonar"] = "transformers"
    """`transformers` runs any encoder of that library; `sonar` SONAR's own library (`ml-clap[sonar]`)."""
    text_encoder: str = "cointegrated/SONAR_200_text_encoder"
    """Hub id, folder or SONAR's own .pt of the text encoder (for `sonar` also a fairseq2 card's name)."""
    text_prefix: str = ""
    """Put before every text (the e5 family expects `query: `)."""
    text_normalization: Literal["standard", "reference", "none"] = "standard"
    """`standard`: lower case, no punctuation of any script; `reference`: the authors'; `none`: as given."""
    max_text_tokens: int = 128
    """Longer texts are cut to so many tokens, those of language and end included; 512 at most."""
    embed_dim: int = 1024
    """Width of the shared space."""
    temperature: float = 0.07
    """Initial temperature of the loss."""
    temperature_parameter: Literal["log", "raw"] = "log"
    """`log`: learnt in log space and clamped; `raw`: the paper's plain parameter, which can reach zero."""
    freeze_audio: bool = False
    """Keep the audio encoder as it is (its head still learns)."""
    freeze_text: bool = False
    """Keep the text encoder as it is (its head still learns)."""
    text_layers: int | None = None
    """Train only the last so many layers of the text encoder; null: all."""
    text_lora_rank: int = 0
    """Train the text encoder by low-rank adapters of this rank beside all its linear layers (LoRA, arXiv
    2106.09685; `ml-clap[lora]`); saved models have them merged. 0: no adapters."""
    similarity_bias: float | None = None
    """Initial value of a learnt number added to similarities; null: none. `loss: sigmoid` makes it -10."""

    def __post_init__(self) -> None:
        low, high = TEMPERATURE_RANGE if self.temperature_parameter == "log" else (0.0, float("inf"))
        if not max(low, 1e-6) <= self.temperature <= high:
            raise ValueError(
                f"temperature must be between {low} and {high} "
                f"(temperature_parameter: {self.temperature_parameter}), got {self.temperature}"
            )
        check_at_least(self, 1, "embed_dim", "text_layers")
        check_at_least(self, 0, "text_lora_rank")
        self._check_text_training()
        if not 3 <= self.max_text_tokens <= 512:
            raise ValueError(f"max_text_tokens must be 3 to 512, got {self.max_text_tokens}")

    def _check_text_training(self) -> None:
        chosen = {
            "freeze_text": self.freeze_text,
            "text_layers": self.text_layers is not None,
            "text_lora_rank": self.text_lora_rank > 0,
        }
        names = [name for name, is_chosen in chosen.items() if is_chosen]
        if len(names) > 1:
            raise ValueError(
                f"{' and '.join(names)} contradict each other: each says what of the text encoder learns"
            )
        if names and names != ["freeze_text"] and self.text_backend == "sonar":
            raise ValueError(
                f"{names[0]} needs text_backend: transformers, which gives the same embeddings as sonar"
            )
