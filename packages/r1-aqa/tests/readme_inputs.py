"""Recordings and data sets, in their published layouts, that the package's README presumes.

Everything is synthesized: a few scenes of three seconds are enough for its commands to run. Names and keys
are those of the publications, so a command that works here works on the real sets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import soundfile
from audio_common.scenes.scene import random_scene, render
from audio_common.scenes.text import caption, questions

RATE = 16_000
SECONDS = 3.0
LETTERED = """{{ question }}
{% for letter, choice in lettered %}
({{ letter }}) {{ choice }}
{% endfor %}
Answer with the letter.
"""
"""A prompt of one's own."""


def make_inputs(folder: Path) -> None:
    """Make everything below `folder`."""
    write_scene(folder / "street.wav", 1)
    make_own_questions(folder)
    make_avqa(folder)
    make_mmau(folder)
    make_manifest(folder)
    make_swift(folder)
    (folder / "lettered.jinja").write_text(LETTERED, encoding="utf-8")


def write_scene(path: Path, seed: int) -> list[dict[str, Any]]:
    """Write a scene in the format of the file's ending; return questions about it, `answer` an index."""
    scene = random_scene(seed, num_events=1 + seed % 2, seconds=SECONDS)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, render(scene), RATE)
    return [
        {"question": asked.text, "choices": list(asked.choices), "answer": asked.answer}
        for asked in questions(scene, seed)
    ]


def make_own_questions(folder: Path) -> None:
    """Write plain JSONL, and its recordings in a folder of another name."""
    lines = [
        json.dumps({"id": f"{seed}-{number}", "audio": f"{seed}.flac"} | asked)
        for seed in range(100, 112)
        for number, asked in enumerate(write_scene(folder / "recordings" / f"{seed}.flac", seed))
    ]
    (folder / "my-questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_avqa(folder: Path) -> None:
    """Write rows that name videos, and their sounds as VGGSound's are called."""
    rows = []
    for seed in range(200, 206):
        name = f"-HG3Omg_{seed}_{seed:06d}"
        for asked in write_scene(folder / "vggsound" / f"{name}.wav", seed):
            rows.append(
                {
                    "id": len(rows),
                    "video_name": name,
                    "video_id": seed,
                    "question_text": asked["question"],
                    "multi_choice": asked["choices"],
                    "answer": asked["answer"],
                    "question_relation": "Sound",
                    "question_type": "Come From",
                }
            )
    # Asked about a picture: `prepare avqa` leaves it out.
    rows.append(rows[0] | {"id": len(rows), "question_relation": "View"})
    (folder / "train_qa.json").write_text(json.dumps(rows), encoding="utf-8")


def make_mmau(folder: Path) -> None:
    """Write test-mini's file of questions, and beside it the folder of its sounds."""
    rows = []
    for seed in range(300, 304):
        sound = f"./test-mini-audios/{seed}.wav"
        for number, asked in enumerate(write_scene(folder / sound, seed)):
            rows.append(
                {
                    "id": f"{seed}-{number}",
                    "audio_id": sound,
                    "question": asked["question"],
                    "choices": asked["choices"],
                    "answer": asked["choices"][asked["answer"]],
                    "dataset": "scenes",
                    "task": "sound",
                    "split": "test-mini",
                    "category": "Reasoning",
                    "sub-category": "Acoustic Scene Reasoning",
                    "difficulty": "easy",
                    "source": "synthesized",
                }
            )
    (folder / "mmau-test-mini.json").write_text(json.dumps(rows), encoding="utf-8")


def make_manifest(folder: Path) -> None:
    """Write a manifest of clips with captions, as the other packages use it."""
    rows = []
    for seed in range(400, 404):
        write_scene(folder / "clips" / f"{seed}.wav", seed)
        rows.append(
            {
                "id": str(seed),
                "audio": f"clips/{seed}.wav",
                "captions": [
                    caption(random_scene(seed, num_events=1 + seed % 2, seconds=SECONDS), "eng_Latn")
                ],
                "split": "train",
                "duration": SECONDS,
            }
        )
    write_lines(folder / "manifest.jsonl", rows)


def make_swift(folder: Path) -> None:
    """Write questions as ms-swift has them, about the same clips."""
    (asked, *_) = write_scene(folder / "clips" / "400.wav", 400)
    turns = [{"role": "user", "content": f"<audio>{asked['question']}"}]
    answer = asked["choices"][asked["answer"]]
    rows = [{"messages": turns, "audios": ["clips/400.wav"], "solution": f"<answer>{answer}</answer>"}]
    write_lines(folder / "swift.jsonl", rows)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
