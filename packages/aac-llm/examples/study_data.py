"""The data of `study.py`: short scenes of one and two of ESC-10's recordings, in four folds.

A fold is a test: its recordings are heard in the test alone. Of the field recordings of the other folds a
fifth is for validation, and a quarter of the rest is the small training set (split `train-a`; the others are
`train-b`). Clips that were cut from one field recording stay together. A quarter of the pairs of classes
(`held_out_pairs`) is never heard together before the test, in either order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import soundfile
from aac_llm.files import write_atomically
from audio_common.strict_json import json_lines, read_object
from esc10 import (
    NUM_TRAINING_WORDINGS,
    SAMPLE_RATE,
    Recording,
    find_starts,
    join,
    load_event,
    mix,
    origin,
    scene_captions,
)

NUM_FOLDS = 4
LABELS = (
    *("baby_cry", "chainsaw", "clock_tick", "dog_bark", "fire_crackling"),
    *("helicopter", "person_sneeze", "rain", "rooster", "sea_waves"),
)
NUM_UNTAGGED = 3
"""Classes that the encoder's pretraining does not hear."""
NUM_PAIRS = {"train-a": 60, "train-b": 180, "validation": 40, "test": 80}
MAX_SAMPLES = 2 * SAMPLE_RATE
"""Longest event of a scene."""


def tagged_classes(fold: int) -> tuple[str, ...]:
    """Return the classes that the encoder of a fold was pretrained on; each class is left out somewhere."""
    start = fold * NUM_UNTAGGED
    untagged = {LABELS[(start + number) % len(LABELS)] for number in range(NUM_UNTAGGED)}
    return tuple(label for label in LABELS if label not in untagged)


def held_out_pairs(fold: int) -> frozenset[frozenset[str]]:
    """Return the pairs of classes that are together in the test alone: 11 of 45."""
    pairs = list(combinations(LABELS, 2))
    return frozenset(map(frozenset, random.Random(fold).sample(pairs, len(pairs) // NUM_FOLDS)))


def read_recordings(source: Path, fold: int) -> list[Recording]:
    """Read the clips of `clips.jsonl`, with the split of the field recording that each was cut from."""
    rows = [row for _, row in json_lines((source / "clips.jsonl").read_bytes(), "clips.jsonl")]
    splits = {}
    for label in LABELS:
        own = sorted(
            {origin(row["audio"]) for row in rows if row["label"] == label and row["fold"] != fold + 1}
        )
        random.Random(fold).shuffle(own)
        for place, name in enumerate(own):  # of every class, in proportion
            share = place / len(own)
            splits[label, name] = "validation" if share < 0.2 else "train-a" if share < 0.4 else "train-b"
    return [
        Recording(
            source / row["audio"],
            row["label"],
            "test" if row["fold"] == fold + 1 else splits[row["label"], origin(row["audio"])],
        )
        for row in rows
    ]


def draw_pairs(
    recordings: Sequence[Recording], pairs: Sequence[frozenset[str]], count: int, rng: random.Random
) -> list[tuple[list[Recording], list[str]]]:
    """Draw scenes of two recordings, each pair of classes as often as the others, in either order."""
    scenes = []
    for number in range(count):
        labels = sorted(pairs[number % len(pairs)])
        rng.shuffle(labels)
        chosen = [rng.choice([one for one in recordings if one.label == label]) for label in labels]
        scenes.append((chosen, [rng.choice(("then", "while"))]))
    return scenes


def draw_scenes(
    recordings: Sequence[Recording], split: str, fold: int, rng: random.Random
) -> list[tuple[list[Recording], list[str]]]:
    """Draw the scenes of a split: every recording by itself, and pairs; of the test's, half are held out."""
    # All of the training set may meet in pairs; the small one is only ever with itself.
    partners = ("train-a", "train-b") if split == "train-b" else (split,)
    own = [one for one in recordings if one.split in partners]
    held_out = sorted(held_out_pairs(fold), key=sorted)
    seen = [pair for pair in map(frozenset, combinations(LABELS, 2)) if pair not in held_out]
    rng.shuffle(seen)
    scenes = [([one], list[str]()) for one in recordings if one.split == split]
    if split != "test":
        return scenes + draw_pairs(own, seen, NUM_PAIRS[split], rng)
    half = NUM_PAIRS[split] // 2
    return scenes + draw_pairs(own, seen, half, rng) + draw_pairs(own, held_out, half, rng)


def write_fold(source: Path, out: Path, fold: int) -> None:
    """Write OUT/audio/*.flac and, at last, OUT/manifest.jsonl; what is there is left as it is."""
    if (out / "manifest.jsonl").is_file():
        return
    rng = random.Random(fold)
    captions = {label: texts["eng_Latn"] for label, texts in read_object(source / "captions.json").items()}
    recordings = read_recordings(source, fold)
    sounds = {one.audio: load_event(one.audio)[:MAX_SAMPLES] for one in recordings}
    (out / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for split in NUM_PAIRS:
        for number, (chosen, relations) in enumerate(draw_scenes(recordings, split, fold, rng)):
            name = f"{split}-{number:04d}"
            events = [sounds[one.audio] for one in chosen]
            sound = mix(events, find_starts(events, relations))
            soundfile.write(out / "audio" / f"{name}.flac", sound, SAMPLE_RATE)
            own = [captions[one.label] for one in chosen]
            rows.append(
                {
                    "id": name,
                    "audio": f"audio/{name}.flac",
                    "captions": scene_captions(own, relations, "test" if split == "test" else "train", rng),
                    "split": split,
                    "duration": round(len(sound) / SAMPLE_RATE, 3),
                    "dataset": "esc10",
                    "events": [one.label for one in chosen],
                    "recordings": [origin(str(one.audio)) for one in chosen],
                }
            )
    write_atomically(out / "manifest.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def random_captions(source: Path, count: int, seed: int) -> list[tuple[str, str]]:
    """Write keywords and a caption of any one or two classes, in the wordings of training."""
    captions = {label: texts["eng_Latn"] for label, texts in read_object(source / "captions.json").items()}
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        labels = rng.sample(LABELS, rng.choice((1, 2)))
        wordings = [rng.choice(captions[label][:NUM_TRAINING_WORDINGS]) for label in labels]
        caption = join(wordings, [rng.choice(("then", "while")) for _ in labels[1:]])
        texts.append((" ".join(labels).replace("_", " "), caption))
    return texts
