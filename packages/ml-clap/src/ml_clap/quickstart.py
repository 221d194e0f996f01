"""The whole path in a few minutes, with no data: `ml-clap quickstart`.

Sound scenes are synthesised and described in eight languages; a small model is trained on them from scratch by
the same `train` as any other, evaluated by the same metrics on scenes it has not heard and sentences it has
not read, and put to use by the same `index` and `search`. Only the data and the sizes are particular.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile
from audio_common.config import CEDConfig
from audio_common.scene_text import HELD_OUT_VARIANT, TRAINING_VARIANTS, caption
from audio_common.scenes import Scene, random_scene, render

from ml_clap.config import (
    LANGUAGES,
    AugmentConfig,
    DataConfig,
    IndexConfig,
    ModelConfig,
    OptimizerConfig,
    QuickstartConfig,
    SearchConfig,
    TrainConfig,
)
from ml_clap.manifest import Clip, write_manifest
from ml_clap.text_encoder import create_small_text_encoder
from ml_clap.training import train

logger = logging.getLogger(__name__)

SECONDS = 4.0
EVENTS = 2
"""Of a scene, one after the other or at the same time."""
QUERIES = {"eng_Latn": "A dog barks, then a bell rings.", "jpn_Jpan": "雨が降っている。"}


@dataclass(frozen=True)
class QuickstartResult:
    """What came out, by language."""

    model: Path
    scores: dict[str, dict[str, float]]
    """Language -> name of a figure -> percent, on the test scenes."""
    chance: dict[str, float]
    """What guessing gives for each figure."""


def make_scenes(folder: Path, *, clips: int, seed: int) -> Path:
    """Synthesise training, validation and test scenes, and write them with their manifest.

    Training captions and test captions use different sentence patterns; each training clip has four paraphrases
    in every language.

    Returns:
        The manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": clips, "validation": clips // 10, "test": clips // 10}
    made: list[Clip] = []
    for split, size in sizes.items():
        made += [_write_scene(folder, scene, split, name) for name, scene in _draw(seed, split, size)]
    manifest = folder / "manifest.jsonl"
    write_manifest(manifest, made)
    return manifest


def _draw(seed: int, split: str, size: int) -> Iterator[tuple[str, Scene]]:
    """Different scenes for every split."""
    first = seed * 3_000_000 + {"train": 0, "validation": 1_000_000, "test": 2_000_000}[split]
    for number in range(size):
        yield f"{split}-{number:05d}", random_scene(first + number, num_events=EVENTS, seconds=SECONDS)


def _write_scene(folder: Path, scene: Scene, split: str, name: str) -> Clip:
    path = folder / "audio" / f"{name}.wav"
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, render(scene), 16_000, subtype="PCM_16")
    variants = TRAINING_VARIANTS if split == "train" else (HELD_OUT_VARIANT,)
    captions = {
        language: tuple(caption(scene, language, variant=each) for each in variants) for language in LANGUAGES
    }
    return Clip(id=name, audio=path, captions=captions, split=split, duration=scene.seconds)
