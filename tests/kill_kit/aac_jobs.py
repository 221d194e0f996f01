"""Jobs of aac-llm: a training, one that was killed before, captions of files and of windows, a manifest."""

from __future__ import annotations

import json
from pathlib import Path

from kill_kit.jobs import PREPARE_POINTS, RESUMED_POINTS, TRAINING_POINTS, Job, Point, Step


def make_inputs(folder: Path) -> None:
    """Write seven sounds with captions, a decoder, the recipe of a training and a captioner of its kind.

    Four sounds and two an update: five updates end within the third epoch.
    """
    import soundfile
    from aac_llm.config.model import ACOUSTIC_TOKENS, REFERENCE_PROMPT
    from aac_llm.data.manifest import Clip, write_manifest
    from aac_llm.models.tiny import create_tiny_decoder
    from audio_common.scenes.scene import random_scene, render
    from audio_common.scenes.text import caption

    clips = []
    for number in range(7):
        scene = random_scene(number, num_events=1, seconds=1.1 + 0.1 * number)
        path = folder / "sounds" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, render(scene), 16_000)
        captions = (caption(scene, "eng_Latn"), f"there is sound {number}")
        split = "train" if number < 4 else "validation"
        clips.append(Clip(id=f"{number}", audio=path, captions=captions, split=split, duration=scene.seconds))
    (folder / "sounds" / "damaged.wav").write_bytes(b"no sound")
    write_manifest(folder / "clips.jsonl", clips)
    texts = [text.lower() for clip in clips for text in clip.captions]
    texts += REFERENCE_PROMPT.split(ACOUSTIC_TOKENS)
    create_tiny_decoder(folder / "decoder", texts, vocab_size=320, hidden_size=16, num_layers=1, num_heads=2)
    write_recipe(folder)
    write_captioner(folder)


def write_recipe(folder: Path) -> None:
    """Write the settings of the training; JSON is YAML."""
    manifest = [str(folder / "clips.jsonl")]
    recipe = {
        "model": {
            "decoder": str(folder / "decoder"),
            "decoder_dtype": "float32",
            "encoder": {"embed_dim": 16, "depth": 1, "num_heads": 1, "num_classes": 2},
            "bridge": {"hidden_size": 16, "num_heads": 2, "intermediate_size": 32},
        },
        "data": {
            "train": manifest,
            "train_splits": ["train"],
            "validation": manifest,
            "validation_splits": ["validation"],
            "num_workers": 0,
        },
        "augment": {"time_masks": 1, "freq_masks": 1},
        "learning_rate": 1e-2,
        "batch_size": 2,
        "epochs": 4,
        "max_steps": 5,
        "save_steps": 2,
        "eval_steps": 2,
        "keep_checkpoints": 1,
        "logging_steps": 1,
        "device": "cpu",
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))


def write_captioner(folder: Path) -> None:
    """Write an untrained captioner of the recipe's kind."""
    import torch
    from aac_llm import cli
    from aac_llm.models.captioner_model import CaptionModel

    torch.manual_seed(0)
    settings = cli.read(("train", "--config", str(folder / "recipe.yaml"), "--out", str(folder / "unused")))
    CaptionModel.from_config(settings.model).save_pretrained(folder / "captioner")


TRAIN = ("train", "--config", "INPUTS/recipe.yaml", "--out", "out")
CAPTION = (
    *("caption", "INPUTS/sounds", "--model", "INPUTS/captioner", "--out", "captions.jsonl"),
    *("--batch_size", "2", "--max_new_tokens", "4", "--device", "cpu"),
)
SEGMENTS = (*CAPTION, "--segments", "--window_seconds", "1", "--subtitles", "srt")
PREPARE = ("prepare", "jsonl", "INPUTS/clips.jsonl", "--out", "out/clips.jsonl")
KILLED = Step(TRAIN, Point("after the last validation", "kill", r"/checkpoint-5\b"))
ROWS = Point("as rows are written", "torn", r"^captions\.jsonl$", which="middle")
JOBS = (
    Job("train", TRAIN, TRAINING_POINTS),
    Job("train-again", TRAIN, RESUMED_POINTS, before=(KILLED,)),
    Job(
        "caption",
        CAPTION,
        (
            ROWS,
            Point("as rows are put in order", "kill", r" captions\.jsonl$", "rename", "last"),
            Point("between rows", "full", r"^captions\.jsonl$", which="middle"),
            Point("between rows", "interrupt", r"^captions\.jsonl$", which="middle"),
        ),
    ),
    Job(
        "segments",
        SEGMENTS,
        (
            ROWS,
            Point("between subtitles", "kill", r"\.srt$", which="middle"),
            Point("between subtitles", "full", r"\.srt$", which="middle"),
        ),
    ),
    Job("prepare", PREPARE, PREPARE_POINTS),
)
