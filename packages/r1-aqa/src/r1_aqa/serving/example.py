"""A sound to try the page with: a synthesized scene and a question about it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from audio_common.scenes.scene import KINDS, random_scene, render
from audio_common.scenes.text import label, questions

SECONDS = 3.0
"""The quickstart's models hear no more."""
FIRST_SEED = 900_000_000
"""Scenes that no quickstart was trained on."""


class Example(NamedTuple):
    """A sound, and a question about it."""

    path: Path
    question: str
    options: tuple[str, ...]


def write_example(folder: Path, seed: int) -> Example:
    """Write a scene of two sounds as a WAV file, and return it with one of its questions.

    The options are worded as the quickstart words them, whose models know no other words.
    """
    import soundfile

    words = {label(kind): kind.capitalize() for kind in KINDS}
    scene = random_scene(FIRST_SEED + seed, num_events=2, seconds=SECONDS)
    path = folder / f"scene-{seed}.wav"
    soundfile.write(path, render(scene), 16_000)
    known = questions(scene, seed)
    asked = known[-1 - seed % len(known)]
    return Example(path, asked.text, tuple(words.get(choice, choice) for choice in asked.choices))
