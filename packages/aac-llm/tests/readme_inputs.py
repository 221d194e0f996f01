"""Recordings and data sets, in their published layouts, that the package's README presumes.

Everything is synthesised: four scenes of each set are enough for its commands to run. Names and columns are
those of the publications, so a command that works here works on the real set.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from audio_common.scenes.scene import random_scene, render
from audio_common.scenes.text import caption

RATE = 16_000
SECONDS = 3.0
CAPTIONS = [f"caption_{number}" for number in range(1, 6)]


def make_inputs(folder: Path) -> None:
    """Make everything below `folder`."""
    write_scene(folder / "dog.wav", 1)
    write_scene(folder / "rain.mp3", 2)
    lecture = np.concatenate([render(random_scene(seed, num_events=1, seconds=5.0)) for seed in range(5)])
    soundfile.write(folder / "lecture.mp3", lecture, RATE)
    for number in range(4):
        write_scene(folder / "recordings" / f"day{number % 2}" / f"{number}.flac", 10 + number)
    make_clotho(folder / "data" / "clotho")
    make_audiocaps(folder / "data" / "audiocaps")
    make_wavcaps(folder / "data" / "wavcaps")
    rows = [
        {
            "audio": f"recordings/day{number % 2}/{number}.flac",
            "caption": describe(10 + number),
            "split": "train",
        }
        for number in range(4)
    ]
    (folder / "my_sounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_scene(path: Path, seed: int) -> None:
    """Write a scene of three seconds in the format of the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, render(random_scene(seed, num_events=1 + seed % 2, seconds=SECONDS)), RATE)


def describe(seed: int, variant: int = 0) -> str:
    """Describe the scene of `write_scene`."""
    return caption(random_scene(seed, num_events=1 + seed % 2, seconds=SECONDS), "eng_Latn", variant=variant)


def make_clotho(folder: Path) -> None:
    """Write three tables of five captions a row, metadata beside them, and a folder of sounds for each."""
    for first, part in ((100, "development"), (200, "validation"), (300, "evaluation")):
        seeds = range(first, first + 4)
        rows = [[f"{seed} scene.wav", *(describe(seed, variant) for variant in range(5))] for seed in seeds]
        write_csv(folder / f"clotho_captions_{part}.csv", ["file_name", *CAPTIONS], rows)
        numbers = [[f"{seed} scene.wav", "", str(seed)] for seed in seeds]
        write_csv(folder / f"clotho_metadata_{part}.csv", ["file_name", "keywords", "sound_id"], numbers)
        for seed in seeds:
            write_scene(folder / part / f"{seed} scene.wav", seed)


def make_audiocaps(folder: Path) -> None:
    """Write version 1: a row for each caption, one for a training clip and five for others."""
    for first, part, count in ((400, "train", 1), (500, "val", 5), (600, "test", 5)):
        seeds = range(first, first + 4)
        rows = [
            [str(seed * 10 + variant), f"youtube{seed:04d}", "30", describe(seed, variant)]
            for seed in seeds
            for variant in range(count)
        ]
        write_csv(folder / f"{part}.csv", ["audiocap_id", "youtube_id", "start_time", "caption"], rows)
        for seed in seeds:
            write_scene(folder / "audio" / f"Yyoutube{seed:04d}_30.wav", seed)


def make_wavcaps(folder: Path) -> None:
    """Write two of its parts and the blacklist, which names a clip of each."""
    parts = {"as_final": ("AudioSet", 700, "Yaudioset{}.wav"), "fsd_final": ("FreeSound", 800, "{}")}
    blacklist = {}
    for name, (part, first, pattern) in parts.items():
        seeds = range(first, first + 4)
        entries = [
            {"id": pattern.format(seed), "caption": describe(seed), "duration": SECONDS} for seed in seeds
        ]
        if part == "FreeSound":  # on no list, but a recording of Clotho's evaluation part
            entries.append({"id": "300", "caption": describe(300), "duration": SECONDS})
        path = folder / "json_files" / part / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"num_captions_per_audio": 1, "data": entries}))
        blacklist[part] = [pattern.format(first)]
        for entry in entries:
            stem = Path(str(entry["id"])).stem
            write_scene(folder / "audio" / part / f"{stem}.flac", int(stem.removeprefix("Yaudioset")))
    (folder / "json_files" / "blacklist_exclude_test_ac.json").write_text(json.dumps(blacklist))


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
