"""Tiny models and synthesised sounds with captions, made once."""

from pathlib import Path

import pytest
import soundfile
from aac_llm.config.model import BridgeConfig, ModelConfig
from aac_llm.manifest import Clip, write_manifest
from aac_llm.model import CaptionModel
from aac_llm.tiny import create_tiny_decoder
from audio_common.config import CEDConfig
from audio_common.scene_text import TRAINING_VARIANTS, caption
from audio_common.scenes import random_scene, render

SECONDS = (1.0, 3.0, 2.0, 4.5, 1.5, 2.5)


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama and a tokenizer that knows the scenes' captions."""
    scenes = [random_scene(seed) for seed in range(60)]
    texts = [caption(scene, "eng_Latn", variant).lower() for scene in scenes for variant in TRAINING_VARIANTS]
    return create_tiny_decoder(tmp_path_factory.mktemp("decoder"), texts, vocab_size=600, hidden_size=64)


@pytest.fixture(scope="session")
def tiny_config(tiny_decoder: Path) -> ModelConfig:
    """CED of width 48, a Q-Former of width 48, and the tiny decoder, with adapters on both ends."""
    return ModelConfig(
        decoder=str(tiny_decoder),
        decoder_dtype="float32",
        encoder=CEDConfig(embed_dim=48, depth=2, num_heads=3),
        bridge=BridgeConfig(hidden_size=48, num_heads=4, intermediate_size=96),
    )


@pytest.fixture
def tiny_model(tiny_config: ModelConfig) -> CaptionModel:
    return CaptionModel.from_config(tiny_config).eval()


@pytest.fixture(scope="session")
def tiny_model_folder(tiny_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    CaptionModel.from_config(tiny_config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def scene_clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Six rendered scenes of 1 to 4.5 s, each with four captions."""
    folder = tmp_path_factory.mktemp("scenes")
    clips = []
    for number, seconds in enumerate(SECONDS):
        scene = random_scene(number, num_events=1, seconds=seconds)
        path = folder / f"scene-{number}.wav"
        soundfile.write(path, render(scene), 16_000)
        captions = tuple(caption(scene, "eng_Latn", variant) for variant in TRAINING_VARIANTS)
        clips.append(Clip(id=path.stem, audio=path, captions=captions, split="train", duration=seconds))
    return clips


@pytest.fixture(scope="session")
def scene_files(scene_clips: list[Clip]) -> list[Path]:
    return [clip.audio for clip in scene_clips]


@pytest.fixture(scope="session")
def scene_manifest(scene_clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "scenes.jsonl"
    write_manifest(path, scene_clips)
    return path
