"""Jobs of ml-clap: a training, one that was killed before, an index, removal from an index, a manifest,
shards and a training from them."""

from __future__ import annotations

import json
from pathlib import Path

from kill_kit.jobs import PREPARE_POINTS, RESUMED_POINTS, TRAINING_POINTS, Job, Point, Step

LANGUAGES = ("eng_Latn", "fra_Latn")


def make_inputs(folder: Path) -> None:
    """Write ten sounds with captions, manifests of all and of half of them, and the recipe of a training.

    Eight sounds make two updates an epoch, and five updates end within the third. All that a training draws
    at random is on, so that equal weights mean something.
    """
    import soundfile
    from audio_common.scenes.scene import random_scene, render
    from audio_common.scenes.text import caption
    from ml_clap.data.manifest import Clip, write_manifest
    from ml_clap.models.text_encoder import create_small_text_encoder

    clips = []
    for number in range(10):
        scene = random_scene(number, num_events=1, seconds=1.1 + 0.1 * number)
        path = folder / "sounds" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, render(scene), 16_000)
        captions = {each: tuple(caption(scene, each, variant=v) for v in (0, 1)) for each in LANGUAGES}
        split = "train" if number < 4 else "test"
        clips.append(Clip(id=f"{number}", audio=path, captions=captions, split=split, duration=scene.seconds))
    write_manifest(folder / "clips.jsonl", clips)
    write_manifest(folder / "half.jsonl", clips[::2])
    texts = [text for clip in clips for captions in clip.captions.values() for text in captions]
    create_small_text_encoder(
        folder / "text_encoder", texts, vocab_size=100, dim=16, layers=1, heads=2, languages=LANGUAGES
    )
    write_recipe(folder)
    write_recipe(folder, shards="shards")


def write_recipe(folder: Path, shards: str | None = None) -> None:
    """Write the settings of the training; JSON is YAML.

    It validates on what it learns, so that every validation, the last one too, makes a new `best`.
    """
    manifest = [shards or str(folder / "clips.jsonl")]
    recipe = {
        "model": {
            "audio": {"embed_dim": 16, "depth": 1, "num_heads": 1, "num_classes": 2, "time_patch_out": 0.2},
            "text_encoder": str(folder / "text_encoder"),
            "embed_dim": 8,
        },
        "data": {
            "train": manifest,
            "train_splits": ["train"],
            "validation": manifest,
            "validation_splits": ["train"],
            "languages": ["fra_Latn"],
            "language_rate": 0.5,
            "max_seconds": 1.1,
            "num_workers": 0,
        },
        "augment": {"time_masks": 1, "time_mask_frames": 20, "gain_db": 6.0, "time_shift": True},
        "learning_rate": 3e-2,
        "batch_size": 4,
        "epochs": 4,
        "max_steps": 5,
        "ema_decay": 0.3,
        "save_steps": 2,
        "keep_checkpoints": 1,
        "device": "cpu",
    }
    (folder / ("recipe.yaml" if shards is None else "streaming.yaml")).write_text(json.dumps(recipe))


TRAIN = ("train", "--config", "INPUTS/recipe.yaml", "--out", "out")
INDEX = (
    "index",
    "INPUTS/clips.jsonl",
    "--out",
    "index",
    "--model",
    "model/out",
    "--seconds_per_batch",
    "4",
    "--device",
    "cpu",
)
SMALLER = ("index", "INPUTS/half.jsonl", *INDEX[2:])
PREPARE = ("prepare", "jsonl", "INPUTS/clips.jsonl", "--out", "out/clips.jsonl")
SHARDS = ("prepare", "shards", "INPUTS/clips.jsonl", "--out", "out", "--max_samples", "2")
STREAMING = ("train", "--config", "INPUTS/streaming.yaml", "--out", "out")
KILLED = Step(TRAIN, Point("after the last validation", "kill", r"/checkpoint-5\b"))
MODEL = Step((*TRAIN[:-1], "model/out"))
JOBS = (
    Job("train", TRAIN, TRAINING_POINTS),
    Job("train-again", TRAIN, RESUMED_POINTS, before=(KILLED,)),
    Job(
        "index",
        INDEX,
        (
            Point("as clips are added", "torn", r"/vectors-|bad_files|index\.json", which="last"),
            Point("at its end", "kill", r"index\.json$", "rename", "last"),
            Point("as files are opened", "full", "/spans-", "open", "last"),
        ),
        before=(MODEL,),
    ),
    Job(
        "index-removal",
        SMALLER,
        (
            Point("as the copy is written", "torn", "/vectors-000001"),
            Point("between the copy and the index of it", "kill", r"index\.json$", "rename", "middle"),
            Point("as what was copied is removed", "kill", "/vectors-000000", "remove"),
            Point("as the copy is written", "full", "/entries-000001"),
        ),
        before=(MODEL, Step(INDEX)),
    ),
    Job("prepare", PREPARE, PREPARE_POINTS),
    Job(
        "shards",
        SHARDS,
        (
            Point(
                "between a shard and its index",
                "kill",
                r"\.tar\.index\.jsonl$|\.index\.jsonl\.",
                which="middle",
            ),
            Point("as a shard gets its name", "kill", r"\.tar$", "rename", "middle"),
            Point("as a shard is written", "full", r"\.shard\.", which="middle"),
        ),
    ),
    Job(
        "train-shards",
        STREAMING,
        (
            Point("in the first epoch", "kill", r"/checkpoint-2\b", which="last"),
            Point("as best is written", "torn", r"/best\b", which="middle"),
        ),
        before=(Step((*SHARDS[:4], "shards", *SHARDS[5:])),),
    ),
)
