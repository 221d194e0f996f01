"""Reinforcement learning for audio question answering: train, evaluate and ask audio LLMs (arXiv:2503.11197).

The names below are loaded, with torch, when they are first used:

    >>> from r1_aqa import Answerer  # doctest: +SKIP
    >>> Answerer.from_pretrained("mispeech/r1-aqa").answer("street.wav", "What is heard?")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audio_common import torchaudio_guard

if TYPE_CHECKING:
    from r1_aqa.answering.answerer import Answer, Answerer
    from r1_aqa.config.model import LoRASettings, ModelConfig
    from r1_aqa.config.train import GRPOTrainConfig, SFTTrainConfig
    from r1_aqa.data.questions import Question, read_questions, write_questions
    from r1_aqa.trainers.train import train_grpo, train_sft

torchaudio_guard.install()

__all__ = [
    "Answer",
    "Answerer",
    "GRPOTrainConfig",
    "LoRASettings",
    "ModelConfig",
    "Question",
    "SFTTrainConfig",
    "read_questions",
    "train_grpo",
    "train_sft",
    "write_questions",
]

_HOMES = {
    "Answer": "r1_aqa.answering.answerer",
    "Answerer": "r1_aqa.answering.answerer",
    "GRPOTrainConfig": "r1_aqa.config.train",
    "LoRASettings": "r1_aqa.config.model",
    "ModelConfig": "r1_aqa.config.model",
    "Question": "r1_aqa.data.questions",
    "SFTTrainConfig": "r1_aqa.config.train",
    "read_questions": "r1_aqa.data.questions",
    "train_grpo": "r1_aqa.trainers.train",
    "train_sft": "r1_aqa.trainers.train",
    "write_questions": "r1_aqa.data.questions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'r1_aqa' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
