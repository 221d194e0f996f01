"""Compose captioned scenes of your own labelled sounds: docs/tutorials/aac-llm.md.

    python packages/aac-llm/examples/compose.py drums/clips.csv drums/captions.json drums/scenes

The table has a row for each sound: `audio` (relative to the table), `label` and `split` (train, validation or
test); the other file says in a clause what is heard of each label, as label -> language -> list of
sentences, of which the first English one is taken. Written are OUT/audio/*.flac, each sound alone and pairs,
one after the other, and OUT/scenes.jsonl with captions and times for `aac-llm prepare jsonl`. A scene's
sounds are all of its own split, so that test scenes are made of sounds which nobody has trained on.
"""

from __future__ import annotations

import csv
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from audio_common import load_audio
from jsonargparse import auto_cli

SAMPLE_RATE = 16_000
MAX_SECONDS = 2.0
"""A sound is faded out after so long."""
PAUSE = 0.25
"""Seconds between two sounds."""
ALONE = ("{}.", "Only {}.")
IN_ORDER = ("{}, then {}.", "First {}, then {}.")
"""Wordings of a caption; a clip has all of them. The fewer, the sooner a captioner attends to the sound."""


@dataclass(frozen=True)
class Sound:
    """A sound with the clause that says what it is."""

    samples: np.ndarray
    clause: str


def compose(
    table: Path,
    captions: Path,
    out: Path,
    train: int = 600,
    validation: int = 40,
    test: int = 100,
    seed: int = 0,
) -> None:
    """Write scenes and their list.

    Args:
        table: the sounds, CSV with the columns audio, label and split.
        captions: JSON, label -> language -> sentences.
        out: folder to write.
        train: number of training scenes of two sounds, beside each sound alone.
        validation: likewise for validation.
        test: likewise for the test.
        seed: for the choice of the sounds.
    """
    clauses = {
        label: as_clause(texts["eng"][0]) for label, texts in json.loads(captions.read_text("utf-8")).items()
    }
    sounds = read_sounds(table, clauses)
    rng = random.Random(seed)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for split, number in {"train": train, "validation": validation, "test": test}.items():
        # Each sound alone once: a second time it would be the same clip.
        scenes = [[sound] for sound in sounds[split]] + [draw_two(sounds[split], rng) for _ in range(number)]
        rows += [write_scene(out, f"{split}-{index:04d}", scene, split) for index, scene in enumerate(scenes)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (out / "scenes.jsonl").write_text(text, encoding="utf-8")
    print(f"{len(rows)} scenes in {out / 'scenes.jsonl'}")


def as_clause(sentence: str) -> str:
    """Return a sentence as a part of a longer one: "A bell rings." -> "a bell rings"."""
    return sentence[0].lower() + sentence[1:].rstrip(".")


def read_sounds(table: Path, clauses: dict[str, str]) -> dict[str, list[Sound]]:
    """Return split -> its sounds, without those in which nothing is heard."""
    sounds: dict[str, list[Sound]] = {}
    for row in csv.DictReader(table.read_text("utf-8").splitlines()):
        samples = level(load_audio(table.parent / row["audio"]).numpy())
        if len(samples) < SAMPLE_RATE // 20:
            print(f"left out, too short or silent: {row['audio']}")
        else:
            sounds.setdefault(row["split"], []).append(Sound(samples, clauses[row["label"]]))
    return sounds


def level(samples: np.ndarray) -> np.ndarray:
    """Cut silence off both ends and what is beyond `MAX_SECONDS`, and scale the loudest sample to 0.5."""
    loud = np.flatnonzero(np.abs(samples) > 1e-3)
    if not loud.size:
        return samples[:0]
    samples = samples[loud[0] : loud[-1] + 1][: int(MAX_SECONDS * SAMPLE_RATE)].copy()
    fade = min(len(samples), SAMPLE_RATE // 20)
    samples[-fade:] *= np.linspace(1, 0, fade, dtype=samples.dtype)
    return samples * (0.5 / np.abs(samples).max())


def draw_two(sounds: list[Sound], rng: random.Random) -> list[Sound]:
    """Draw two sounds that are not called the same, every label as often as any other."""
    clauses = rng.sample(sorted({sound.clause for sound in sounds}), 2)
    return [rng.choice([sound for sound in sounds if sound.clause == clause]) for clause in clauses]


def write_scene(out: Path, name: str, sounds: list[Sound], split: str) -> dict:
    """Write sounds one after the other as FLAC, and return the scene's row."""
    pause = np.zeros(int(PAUSE * SAMPLE_RATE), dtype=np.float32)
    parts, events = [pause], []
    for sound in sounds:
        onset = sum(map(len, parts)) / SAMPLE_RATE
        offset = onset + len(sound.samples) / SAMPLE_RATE
        events.append({"text": sound.clause, "onset": round(onset, 2), "offset": round(offset, 2)})
        parts += [sound.samples, pause]
    soundfile.write(out / "audio" / f"{name}.flac", np.concatenate(parts), SAMPLE_RATE)
    patterns = ALONE if len(sounds) == 1 else IN_ORDER
    texts = [pattern.format(*(sound.clause for sound in sounds)) for pattern in patterns]
    return {
        "id": name,
        "audio": f"audio/{name}.flac",
        "captions": [text[0].upper() + text[1:] for text in texts],
        "split": split,
        "licence": "CC0-1.0",
        "timestamps": events,
    }


if __name__ == "__main__":
    auto_cli(compose)
