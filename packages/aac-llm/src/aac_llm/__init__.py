"""Automated audio captioning with a language model: train, score, correct and caption (arXiv 2406.13275).

    >>> from aac_llm import Captioner  # doctest: +SKIP
    >>> Captioner.from_pretrained("runs/clotho").caption("rain.wav")  # doctest: +SKIP

The names below are loaded, with torch, when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audio_common import torchaudio_guard

if TYPE_CHECKING:
    from audio_common.audio import AudioError
    from audio_common.prefetch import BadFile, BatchLimits

    from aac_llm.captioning.captioner import Captioner, Segment
    from aac_llm.config.caption import GenerationConfig
    from aac_llm.config.model import BridgeConfig, LoRAConfig, ModelConfig
    from aac_llm.data.manifest import ManifestError
    from aac_llm.data.predictions import Candidate, Prediction, PredictionError
    from aac_llm.lock import BusyError
    from aac_llm.metrics import score_captions
    from aac_llm.models.captioner_model import CaptionModel
    from aac_llm.models.decoder import DecoderError
    from aac_llm.models.tensors import CheckpointError
    from aac_llm.trainers.finite import TrainingError

torchaudio_guard.install()

_MODULES = {
    "AudioError": "audio_common.audio",
    "BadFile": "audio_common.prefetch",
    "BatchLimits": "audio_common.prefetch",
    "BridgeConfig": "aac_llm.config.model",
    "BusyError": "aac_llm.lock",
    "Candidate": "aac_llm.data.predictions",
    "CaptionModel": "aac_llm.models.captioner_model",
    "Captioner": "aac_llm.captioning.captioner",
    "CheckpointError": "aac_llm.models.tensors",
    "DecoderError": "aac_llm.models.decoder",
    "GenerationConfig": "aac_llm.config.caption",
    "LoRAConfig": "aac_llm.config.model",
    "ManifestError": "aac_llm.data.manifest",
    "ModelConfig": "aac_llm.config.model",
    "Prediction": "aac_llm.data.predictions",
    "PredictionError": "aac_llm.data.predictions",
    "Segment": "aac_llm.captioning.captioner",
    "TrainingError": "aac_llm.trainers.finite",
    "score_captions": "aac_llm.metrics",
}

__all__ = [
    "AudioError",
    "BadFile",
    "BatchLimits",
    "BridgeConfig",
    "BusyError",
    "Candidate",
    "CaptionModel",
    "Captioner",
    "CheckpointError",
    "DecoderError",
    "GenerationConfig",
    "LoRAConfig",
    "ManifestError",
    "ModelConfig",
    "Prediction",
    "PredictionError",
    "Segment",
    "TrainingError",
    "score_captions",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'aac_llm' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
