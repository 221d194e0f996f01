"""Recordings and data sets, in their published layouts, that the package's README presumes.

Everything is synthesized: a few scenes of each set are enough for its commands to run. Names and columns are
those of the publications, so a command that works here works on the real set.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import soundfile
from audio_common.scenes.scene import Scene, random_scene, render
from audio_common.scenes.text import caption

RATE = 16_000
SECONDS = 3.0
CAPTIONS = [f"caption_{number}" for number in range(1, 6)]
LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn", "spa_Latn", "nld_Latn", "cat_Latn", "jpn_Jpan", "zho_Hans")
CLASSES = 4
FOLDS = 4


def make_inputs(folder: Path) -> None:
    """Make everything below `folder`."""
    write_scene(folder / "query.wav", 1)
    for number in range(4):
        write_scene(folder / "recordings" / f"day{number % 2}" / f"{number}.flac", 10 + number)
    make_clotho(folder / "data" / "clotho")
    make_audiocaps(folder / "data" / "audiocaps")
    make_wavcaps(folder / "data")
    make_esc10(folder / "data" / "esc10")
    make_published_wavcaps(folder / "data" / "WavCaps")
    make_esc50(folder / "data" / "ESC-50-master")
    make_tuxpaint(folder / "data" / "tuxpaint")
    make_mine(folder / "data" / "mine.jsonl")


def draw_scene(seed: int) -> Scene:
    """Return a scene of one event or two."""
    return random_scene(seed, num_events=1 + seed % 2, seconds=SECONDS)


def write_scene(path: Path, seed: int) -> None:
    """Write the scene of a number in the format of the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, render(draw_scene(seed)), RATE)


def make_clotho(folder: Path) -> None:
    """Write three tables of five captions a row, and a folder of sounds for each."""
    for first, part in ((100, "development"), (200, "validation"), (300, "evaluation")):
        seeds = range(first, first + 8)
        rows = [
            [f"{seed} scene.wav", *(caption(draw_scene(seed), "eng_Latn", variant=v) for v in range(5))]
            for seed in seeds
        ]
        write_csv(folder / f"clotho_captions_{part}.csv", ["file_name", *CAPTIONS], rows)
        for seed in seeds:
            write_scene(folder / part / f"{seed} scene.wav", seed)


def make_audiocaps(folder: Path) -> None:
    """Write a row for each caption: one for a training clip, five for others."""
    for first, part, num_captions in ((400, "train", 1), (500, "val", 5), (600, "test", 5)):
        seeds = range(first, first + 4)
        rows = [
            [str(seed * 10 + v), f"youtube{seed:04d}", "30", caption(draw_scene(seed), "eng_Latn", variant=v)]
            for seed in seeds
            for v in range(num_captions)
        ]
        write_csv(folder / f"{part}.csv", ["audiocap_id", "youtube_id", "start_time", "caption"], rows)
        for seed in seeds:
            write_scene(folder / "audio" / f"Yyoutube{seed:04d}_30.wav", seed)


def make_wavcaps(folder: Path) -> None:
    """Write the authors' JSON, with captions in two languages, and a folder of sounds."""
    entries = [
        {
            "id": str(seed),
            "audio": f"{seed}.flac",
            "caption_1": caption(draw_scene(seed), "eng_Latn", variant=0),
            "source_lang_1": "eng_Latn",
            "caption_2": caption(draw_scene(seed), "fra_Latn", variant=0),
            "source_lang_2": "fra_Latn",
        }
        for seed in range(700, 704)
    ]
    write_json(folder / "wavcaps.json", {"num_captions_per_audio": 2, "data": entries})
    for seed in range(700, 704):
        write_scene(folder / "wavcaps" / f"{seed}.flac", seed)


def make_published_wavcaps(folder: Path) -> None:
    """Write one part of WavCaps with its lists of test recordings, of which one is here, and its sounds."""
    entries = [
        {"id": str(seed), "caption": caption(draw_scene(seed), "eng_Latn"), "duration": SECONDS}
        for seed in range(900, 906)
    ]
    write_json(folder / "json_files/FreeSound/fsd_final.json", {"num_captions_per_audio": 1, "data": entries})
    for name, listed in (("test_ac", ["900"]), ("ub8k_esc50_vggsound", [])):
        lists = {"AudioSet": [], "FreeSound": listed}
        write_json(folder / f"json_files/blacklist/blacklist_exclude_{name}.json", lists)
    for seed in range(900, 906):
        write_scene(folder / "FreeSound" / f"{seed}.flac", seed)


def make_esc50(folder: Path) -> None:
    """Write ESC-50's table and a few of its sounds."""
    columns = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    rows = []
    for number, (label, scenes) in enumerate(find_single_events(CLASSES, 1).items()):
        name = f"{1 + number % 5}-{number}-A-{number}.wav"
        rows.append([name, str(1 + number % 5), str(number), label, "True", str(number), "A"])
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "audio" / name, render(scenes[0]), RATE)
    write_csv(folder / "meta" / "esc50.csv", columns, rows)


def make_mine(path: Path) -> None:
    """Write a manifest as aac-llm has it, with captions in a list and a key of one's own."""
    rows = []
    for seed in range(800, 804):
        write_scene(path.parent / "mine" / f"{seed}.flac", seed)
        rows.append(
            {
                "audio": f"mine/{seed}.flac",
                "captions": [caption(draw_scene(seed), "eng_Latn")],
                "recorder": "mine",
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_esc10(folder: Path) -> None:
    """Write recordings of four classes in four folds, their list, and captions in eight languages."""
    by_class = find_single_events(CLASSES, 3 * FOLDS)
    clips, captions = [], {}
    for label, scenes in by_class.items():
        captions[label] = {
            language: [caption(scenes[0], language, variant=variant) for variant in range(4)]
            for language in LANGUAGES
        }
        for number, scene in enumerate(scenes):
            fold = 1 + number % FOLDS
            name = f"{fold}-{len(clips):05d}-A.ogg"
            (folder / "audio").mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / "audio" / name, render(scene), RATE)
            clips.append({"audio": f"audio/{name}", "label": label, "fold": fold})
    (folder / "clips.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    write_json(folder / "captions.json", captions)


def find_single_events(num_classes: int, num_scenes: int) -> dict[str, list[Scene]]:
    """Return so many scenes of one event for each of the first classes that have been drawn often enough."""
    drawn: dict[str, list[Scene]] = {}
    for seed in count(1000):
        scene = random_scene(seed, num_events=1, seconds=SECONDS)
        drawn.setdefault(scene.events[0].kind, []).append(scene)
        full = [label for label, scenes in drawn.items() if len(scenes) >= num_scenes]
        if len(full) >= num_classes:
            return {label: drawn[label][:num_scenes] for label in full[:num_classes]}
    raise AssertionError("unreachable")


def make_tuxpaint(folder: Path) -> None:
    """Write stamps as Debian's package has them: beside each sound a text with a line for each locale."""
    for name, scenes in find_single_events(2, 1).items():
        path = folder / "animals" / f"{name}.ogg"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, render(scenes[0]), RATE)
        locales = {"fr": "fra_Latn", "de": "deu_Latn", "ja": "jpn_Jpan"}
        texts = [f"{locale}.utf8={caption(scenes[0], code)}" for locale, code in locales.items()]
        english = caption(scenes[0], "eng_Latn")
        path.with_suffix(".txt").write_text("\n".join([english, *texts, ""]), encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def write_json(path: Path, value: Any) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
