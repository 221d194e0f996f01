"""Every setting of every command; standard library and `audio_common.config` only, so `--help` is quick.

A dataclass's fields are a command's flags and a YAML file's keys. Impossible values are refused on
construction, with the flag's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audio_common.config import CEDConfig

LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn", "spa_Latn", "nld_Latn", "cat_Latn", "jpn_Jpan", "zho_Hans")
"""The paper's eight languages, by the codes of SONAR (FLORES-200)."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An ML-CLAP model: CED and a text encoder, each with a two-layer head into one space."""

    audio: CEDConfig = field(default_factory=CEDConfig)
    """Architecture of the audio encoder."""
    audio_weights: str | None = None
    """Where the audio encoder's weights start: a hub id (mispeech/ced-base), a folder or a file; else random."""
    text_backend: Literal["transformers", "sonar"] = "transformers"
    """`transformers` runs any encoder of that library; `sonar` the authors' sonar-space and fairseq2."""
    text_encoder: str = "cointegrated/SONAR_200_text_encoder"
    """Hub id or folder of the text encoder (for `sonar`: a fairseq2 card's name or a folder)."""
    text_prefix: str = ""
    """Put before every text (the e5 family expects `query: `)."""
    text_normalization: Literal["standard", "reference", "none"] = "standard"
    """`standard`: lower case, no punctuation in any script; `reference`: the authors' exact rule; `none`: as given."""
    max_text_tokens: int = 128
    """Longer texts are cut to so many tokens."""
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
    gradient_checkpointing: bool = False
    """Recompute the encoders' activations in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")


# Further dataclasses (DataConfig, TrainConfig, EvaluateConfig, ...) are added by their commands' authors.
