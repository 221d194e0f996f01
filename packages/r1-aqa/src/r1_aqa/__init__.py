"""Reinforcement learning for audio question answering: train, evaluate and ask audio LLMs (arXiv:2503.11197).

The names below are loaded, with torch, when they are first used:

    >>> from r1_aqa import Answerer  # doctest: +SKIP
    >>> Answerer.from_pretrained("mispeech/r1-aqa").answer("street.wav", "What is heard?")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audio_common import torchaudio_guard

if TYPE_CHECKING:
    from audio_common import AudioError

    from r1_aqa.answering.answer import Answer
    from r1_aqa.answering.answerer import Answerer
    from r1_aqa.config.model import LoRAConfig, ModelConfig
    from r1_aqa.config.sound import SoundConfig
    from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig, ValidationConfig
    from r1_aqa.data.questions import Question, QuestionError, write_questions
    from r1_aqa.data.readers import read_questions
    from r1_aqa.data.sounds import SoundTooLongError
    from r1_aqa.lock import BusyError
    from r1_aqa.models.heard import DeafModelError
    from r1_aqa.models.upload import push_to_hub
    from r1_aqa.trainers.finite import TrainingError
    from r1_aqa.trainers.train import train_grpo, train_sft

torchaudio_guard.install()

_HOMES = {
    "r1_aqa.answering.answer": ("Answer",),
    "r1_aqa.answering.answerer": ("Answerer",),
    "r1_aqa.config.model": ("LoRAConfig", "ModelConfig"),
    "r1_aqa.config.sound": ("SoundConfig",),
    "r1_aqa.config.train": ("DataConfig", "GRPOTrainConfig", "SFTTrainConfig", "ValidationConfig"),
    "r1_aqa.data.questions": ("Question", "QuestionError", "write_questions"),
    "r1_aqa.data.readers": ("read_questions",),
    "r1_aqa.data.sounds": ("SoundTooLongError",),
    "r1_aqa.lock": ("BusyError",),
    "r1_aqa.models.heard": ("DeafModelError",),
    "r1_aqa.models.upload": ("push_to_hub",),
    "r1_aqa.trainers.finite": ("TrainingError",),
    "r1_aqa.trainers.train": ("train_grpo", "train_sft"),
    "audio_common": ("AudioError",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "Answerer",
    "AudioError",
    "BusyError",
    "DataConfig",
    "DeafModelError",
    "GRPOTrainConfig",
    "LoRAConfig",
    "ModelConfig",
    "Question",
    "QuestionError",
    "SFTTrainConfig",
    "SoundConfig",
    "SoundTooLongError",
    "TrainingError",
    "ValidationConfig",
    "push_to_hub",
    "read_questions",
    "train_grpo",
    "train_sft",
    "write_questions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'r1_aqa' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
