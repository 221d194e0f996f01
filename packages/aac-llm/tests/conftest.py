"""Tiny models and sounds that the package's tests share, all made on the spot."""

from __future__ import annotations

import copy
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aac_llm.bulk.blocks import Block
from aac_llm.bulk.run import Done
from aac_llm.bulk.work import do_block
from aac_llm.config.model import ACOUSTIC_TOKENS, REFERENCE_PROMPT, BridgeConfig, ModelConfig
from audio_common.config import CEDConfig

GOLDEN = Path(__file__).parent / "golden"

TINY_ENCODER = CEDConfig(embed_dim=48, depth=2, num_heads=3, num_classes=10)
TINY_BRIDGE = BridgeConfig(hidden_size=48, num_heads=4, intermediate_size=96)


@pytest.fixture(autouse=True, scope="session")
def _no_detector_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Look for the default gate's detector in an empty folder, not in the home of whoever tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AAC_LLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@dataclass(frozen=True)
class SceneFile:
    """A sound on disk and what is heard in it."""

    audio: Path
    caption: str
    seconds: float


@pytest.fixture(scope="session")
def scene_files(tmp_path_factory: pytest.TempPathFactory) -> list[SceneFile]:
    """Six sounds of 1.2 to 6.2 s as 16-bit WAV files at 16 kHz, with a caption each."""
    from audio_common.scenes.scene import random_scene, render
    from audio_common.scenes.text import caption

    folder = tmp_path_factory.mktemp("scenes")
    files = []
    for seed in range(6):
        seconds = 1.2 + seed
        scene = random_scene(seed, num_events=1 + seed % 2, seconds=seconds)
        path = folder / f"scene{seed}.wav"
        _write_wav(path, render(scene))
        files.append(SceneFile(path, caption(scene, "eng_Latn"), seconds))
    return files


@pytest.fixture(scope="session")
def scene_clips(scene_files: list[SceneFile]):
    """The scenes as clips of the split `train`, with two captions each."""
    from aac_llm.data.manifest import Clip

    return [
        Clip(
            id=file.audio.stem,
            audio=file.audio,
            captions=(file.caption, f"there is sound {number}"),
            split="train",
            duration=file.seconds,
        )
        for number, file in enumerate(scene_files)
    ]


@pytest.fixture(scope="session")
def scene_manifest(scene_clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of `scene_clips`."""
    from aac_llm.data.manifest import write_manifest

    path = tmp_path_factory.mktemp("manifest") / "scenes.jsonl"
    write_manifest(path, scene_clips)
    return path


def _write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama of width 64 whose tokenizer was trained on captions of scenes."""
    from aac_llm.models.tiny import create_tiny_decoder
    from audio_common.scenes.scene import random_scene
    from audio_common.scenes.text import caption

    texts = [caption(random_scene(seed), "eng_Latn").lower() for seed in range(200)]
    texts += REFERENCE_PROMPT.split(ACOUSTIC_TOKENS)
    folder = tmp_path_factory.mktemp("decoder")
    return create_tiny_decoder(folder, texts, vocab_size=600, hidden_size=64)


@pytest.fixture(scope="session")
def tiny_config(tiny_decoder: Path) -> ModelConfig:
    """Settings of the tiny captioner: adapters at both ends, as the default."""
    return ModelConfig(
        decoder=str(tiny_decoder), decoder_dtype="float32", encoder=TINY_ENCODER, bridge=TINY_BRIDGE
    )


@pytest.fixture(scope="session")
def _tiny_model(tiny_config: ModelConfig):
    import torch
    from aac_llm.models.captioner_model import CaptionModel

    torch.manual_seed(0)
    return CaptionModel.from_config(tiny_config)


@pytest.fixture
def tiny_model(_tiny_model):
    """A captioner with random weights, in evaluation mode; the test's own copy."""
    return copy.deepcopy(_tiny_model)


@pytest.fixture(scope="session")
def tiny_model_folder(_tiny_model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder where the tiny captioner is saved."""
    folder = tmp_path_factory.mktemp("captioner")
    _tiny_model.save_pretrained(folder)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Block]:
    """Blocks of Ray's jobs are done in this process, as a worker does them; returns those that were begun."""
    begun: list[Block] = []

    def run_blocks(blocks: Any, make_worker: Any, parts: Any, config: Any) -> Iterator[Done]:
        worker = make_worker()
        for block in blocks:
            begun.append(block)
            count, tries = do_block(worker, block, parts)
            yield Done(block, count, 0, 0.0, tries)

    for room in ("captioning", "correction"):
        monkeypatch.setattr(f"aac_llm.{room}.by_ray.run_blocks", run_blocks)
    return begun
