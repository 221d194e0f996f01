"""Automated audio captioning with a language model: train, score, correct and caption (arXiv 2406.13275).

The names below are loaded, with torch, when they are first used:

    >>> from aac_llm import Captioner  # doctest: +SKIP
    >>> Captioner.from_pretrained("runs/clotho/best").caption(["rain.wav"])  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audio_common import torchaudio_guard

if TYPE_CHECKING:
    from aac_llm.captioning.captioner import Captioner
    from aac_llm.config.model import BridgeConfig, LoRASettings, ModelConfig
    from aac_llm.metrics import score_captions
    from aac_llm.models.captioner_model import CaptionModel

torchaudio_guard.install()

__all__ = ["BridgeConfig", "CaptionModel", "Captioner", "LoRASettings", "ModelConfig", "score_captions"]

_HOMES = {
    "BridgeConfig": "aac_llm.config.model",
    "CaptionModel": "aac_llm.models.captioner_model",
    "Captioner": "aac_llm.captioning.captioner",
    "LoRASettings": "aac_llm.config.model",
    "ModelConfig": "aac_llm.config.model",
    "score_captions": "aac_llm.metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aac_llm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
