"""A tiny audio LLM and synthesised questions, made once."""

from pathlib import Path

import pytest
from audio_common.scene_text import questions
from audio_common.scenes import random_scene
from r1_aqa.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.config.model import ModelConfig
from r1_aqa.prompt import format_prompt
from r1_aqa.tiny import create_tiny_audio_llm


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = []
    for seed in range(40):
        for question in questions(random_scene(seed), seed):
            texts += [format_prompt(question.text, question.choices), *question.choices]
    return create_tiny_audio_llm(tmp_path_factory.mktemp("tiny"), texts)


@pytest.fixture
def tiny_audio_llm(tiny_model_folder: Path) -> AudioLLM:
    return load_audio_llm(ModelConfig(name=str(tiny_model_folder), dtype="float32"))
