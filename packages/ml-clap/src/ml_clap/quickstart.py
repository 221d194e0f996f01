"""The whole path in a few minutes, with no data: `ml-clap quickstart`.

Sound scenes are synthesized and described in eight languages; a small model is trained on them from scratch
by the same `train` as any other, evaluated by the same `evaluate` on scenes it has not heard and sentence
patterns it has not read, and put to use by the same `index` and `search`. Only the data and the sizes are
particular.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from audio_common.config import CEDConfig
from audio_common.scenes.scene import Scene, random_scene, render
from audio_common.scenes.text import HELD_OUT_VARIANT, TRAINING_VARIANTS, caption

from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.index import IndexConfig
from ml_clap.config.model import ModelConfig
from ml_clap.config.quickstart import QuickstartConfig
from ml_clap.config.search import SearchConfig
from ml_clap.config.train import AugmentConfig, DataConfig, TrainConfig
from ml_clap.data.languages import LANGUAGES
from ml_clap.data.manifest import Clip, read_manifest, write_manifest
from ml_clap.evaluators.evaluate import evaluate
from ml_clap.evaluators.results import RetrievalReport
from ml_clap.files import write_atomically
from ml_clap.lock import sole_writer
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search.audio_index import Hit
from ml_clap.search.index import index
from ml_clap.search.search import search
from ml_clap.trainers.result import TrainResult
from ml_clap.trainers.train import train
from ml_clap.trainers.trainer import CURVES_FILE

logger = logging.getLogger(__name__)

SECONDS = 4.0
EVENTS = 2
"""Events in a scene, one after the other or at the same time; every second training scene has one alone, from
which it is easier to learn what each sounds like."""
QUERIES = {"eng_Latn": "A dog barks, then a bell rings.", "jpn_Jpan": "雨が降っている。"}
"""The searches, by language."""


@dataclass(frozen=True)
class QuickstartResult:
    """What a quickstart made and found."""

    training: TrainResult
    report: RetrievalReport
    """Retrieval among the test scenes, by language."""
    hits: dict[str, list[Hit]]
    """Language of the query -> what the search found."""


def quickstart(config: QuickstartConfig) -> QuickstartResult:
    """Synthesize, train, evaluate, index and search; prints each step and where its files are."""
    with sole_writer(config.out, folder=True):
        return _run(config, config.out)


def _run(config: QuickstartConfig, out: Path) -> QuickstartResult:
    choose_threads()
    _say(1, f"synthesizing {config.clips} training scenes with captions in {len(LANGUAGES)} languages")
    manifest = make_scenes(out / "data", clips=config.clips, seed=config.seed)
    _say(2, f"training a small model from scratch for {config.steps} steps")
    training = train(training_settings(config, manifest))
    print(f"The loss ended at {training.loss:.2f}. Curves: {out / 'model' / CURVES_FILE}")
    model = str(training.model)
    _say(3, "evaluating on scenes and sentence patterns that were not in training")
    report = evaluate(EvaluateConfig(data=manifest, model=model, split="test", plot=out / "retrieval.png"))
    print(f"Chance: R@1 {chance(report, 1):.1f} %, R@10 {chance(report, 10):.1f} %.")
    print(f"The same as a picture: {out / 'retrieval.png'}")
    _say(4, "indexing the test scenes, and searching them")
    sounds = manifest.parent / "test.jsonl"
    write_manifest(sounds, read_manifest(manifest, split="test"))
    index(IndexConfig(source=sounds, out=out / "index", model=model))
    hits = _ask(out)
    _say_what_next(config)
    return QuickstartResult(training=training, report=report, hits=hits)


def choose_threads() -> None:
    """Take one thread unless OMP_NUM_THREADS says otherwise.

    The tensors are so small that two threads on a busy machine spend their time waiting for each other.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
        logger.info("one thread, the fastest for a model this small; OMP_NUM_THREADS sets another number")


def chance(report: RetrievalReport, k: int) -> float:
    """Return R@k, in percent, of guessing: text to audio with one right clip for a caption."""
    return 100.0 * min(1.0, k / report.num_clips)


def make_scenes(folder: Path, *, clips: int, seed: int) -> Path:
    """Synthesize training, validation and test scenes, and write them with their manifest.

    Training and test captions use different sentence patterns; each training clip has four paraphrases in
    every language.

    Returns:
        The manifest.
    """
    sizes = {"train": clips, "validation": clips // 10, "test": clips // 10}
    made = [
        _write_scene(folder, scene, split, name)
        for split, size in sizes.items()
        for name, scene in _draw(seed, split, size)
    ]
    manifest = folder / "manifest.jsonl"
    write_manifest(manifest, made)
    return manifest


def training_settings(config: QuickstartConfig, manifest: Path) -> TrainConfig:
    """Return the settings of the training run; its text encoder is made here, for the captions' words."""
    texts = [
        text
        for clip in read_manifest(manifest, split="train")
        for captions in clip.captions.values()
        for text in captions
    ]
    text_encoder = create_small_text_encoder(
        config.out / "text_encoder",
        sorted(set(texts)),
        vocab_size=1500,
        dim=64,
        layers=1,
        heads=4,
        pieces="bpe",  # unigram pieces cut English words up: `ra|in`, `c|lock`, `d|og`
        dropout=0.0,
        seed=config.seed,
    )
    return TrainConfig(
        out=config.out / "model",
        model=ModelConfig(
            audio=CEDConfig(embed_dim=64, num_heads=2, depth=2, time_patch_out=0.25),
            text_encoder=str(text_encoder),
            max_text_tokens=64,
            embed_dim=128,
        ),
        data=DataConfig(
            train=(manifest,),
            train_splits=("train",),
            validation=(manifest,),
            validation_splits=("validation",),
            languages=LANGUAGES[1:],
            num_workers=0,
        ),
        # The sound, the dear part of a pair, is encoded once for its captions in all languages.
        multilingual="one_to_k",
        # Test captions have words that no training caption has: their pieces must come to mean nothing.
        augment=AugmentConfig(token_noise=0.2),
        learning_rate=1.5e-3,
        warmup_ratio=0.1,
        batch_size=16,
        epochs=config.steps,  # more than enough: max_steps ends the run
        max_steps=config.steps,
        eval_steps=max(1, config.steps // 4),
        device="cpu",
        seed=config.seed,
    )


def _draw(seed: int, split: str, size: int) -> Iterator[tuple[str, Scene]]:
    """Draw scenes, different ones for every split."""
    # A scene's number is its seed: no number may be in two splits.
    first = seed * 3_000_000 + {"train": 0, "validation": 1_000_000, "test": 2_000_000}[split]
    for number in range(size):
        events = 1 if split == "train" and number % 2 else EVENTS
        yield f"{split}-{number:05d}", random_scene(first + number, num_events=events, seconds=SECONDS)


def _write_scene(folder: Path, scene: Scene, split: str, name: str) -> Clip:
    path = folder / "audio" / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, render(scene), 16_000, subtype="PCM_16")
    variants = TRAINING_VARIANTS if split == "train" else (HELD_OUT_VARIANT,)
    captions = {
        language: tuple(caption(scene, language, variant=variant) for variant in variants)
        for language in LANGUAGES
    }
    return Clip(id=name, audio=path, captions=captions, split=split, duration=scene.seconds)


def _ask(out: Path) -> dict[str, list[Hit]]:
    """Search in every language of `QUERIES`, and write the hits as a page that plays them."""
    asked = out / "queries.tsv"
    lines = "".join(f"{language}\t{text}\n" for language, text in QUERIES.items())
    write_atomically(asked, lines.encode())
    page = out / "page.html"
    answers = search(SearchConfig(index=out / "index", queries=asked, top_k=3, page=page, threshold="none"))
    return dict(zip(QUERIES, answers, strict=True))


def _say(step: int, what: str) -> None:
    print(f"\n[{step}/4] {what}", flush=True)


def _say_what_next(config: QuickstartConfig) -> None:
    data, index_, model = (shlex.quote(str(config.out / name)) for name in ("data", "index", "model"))
    archive, longer = (shlex.quote(str(config.out / name)) for name in ("archive", "longer"))
    print(f"""
All of it is in {config.out}. Next, with what was made (the README's Install says how to have `ml-clap` in
PATH):

  ml-clap search {index_} "un chien aboie" --lang fra_Latn
  ml-clap search {index_} --audio {data}/audio/test-00000.wav --top_k 5 --page hits.html

A folder of recordings becomes an archive to search; put your own in the place of {data}/audio:

  ml-clap index {data}/audio --out {archive} --model {model}
  ml-clap search {archive} "rain falls"

From which score on is a hit an answer? Afterwards, a search says "nothing found" below it:

  ml-clap calibrate {data}/manifest.jsonl --model {model} --split validation --false_positives 0.2

This model knows only the synthesized sounds, and learns more about them in further updates:

  ml-clap train --config {model}/config.json --out {longer} --max_steps {2 * config.steps}
  ml-clap evaluate {data}/manifest.jsonl --split test --model {longer}

The README goes on from here with real data.""")
