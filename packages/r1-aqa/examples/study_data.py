"""Questions of the study (study.py): sounds synthesised, answers known by construction.

`write_common` writes what every seed is tested on, `write_seed` what a seed learns from; no scene is in two
files.

    validation.jsonl, test_in.jsonl   scenes of one or two sounds in 3 s, like those of training
    test_out.jsonl                    by halves (column `shift`): `pair`, two kinds of sound that are never
                                      together in training; `three`, three sounds in 4 s
    seed-S/start.jsonl                what the starting models learn from
    seed-S/thinking.jsonl             the same questions, with what is heard written before the answer
    seed-S/post.jsonl                 fine-tuning and reinforcement; post-thinking.jsonl likewise

A question is of one of five kinds (column `kind`): which sound is there, which comes first, how many, which
is loudest, which is heard at the same time. Column `scene` is the recording that it is about.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile
from audio_common.scenes.scene import Scene, random_scene, render
from audio_common.scenes.text import label, questions
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.files import write_atomically
from r1_aqa.models.prompt import format_prompt

SECONDS, LONG_SECONDS = 3.0, 4.0
COMMON = {"validation": 900_000_000, "test_in": 910_000_000, "test_out": 920_000_000}
"""First scene of each common file; those of seed S begin at S million."""
POST = 500_000
"""First scene of post-training, after the seed's first."""


@dataclass(frozen=True)
class Sizes:
    """Numbers of scenes; a scene has three to four questions."""

    start: int = 1200
    post: int = 480
    validation: int = 120
    test_in: int = 500
    test_out: int = 200


def is_held_out(scene: Scene) -> bool:
    """Return whether a scene has one of the pairs of kinds, about one in six, that only the test may have."""
    pair = "+".join(sorted(scene.kinds))
    return len(scene.kinds) == 2 and zlib.crc32(pair.encode()) % 6 == 0


def draw_scenes(first: int, count: int, shift: str = "") -> Iterator[tuple[int, Scene]]:
    """Yield `count` scenes and their seeds, of training's distribution or of one of the shifts."""
    seed, found = first, 0
    while found < count:
        if shift == "three":
            scene = random_scene(seed, num_events=3, seconds=LONG_SECONDS)
        else:
            scene = random_scene(seed, num_events=2 if shift else 1 + seed % 2, seconds=SECONDS)
        if shift == "three" or is_held_out(scene) == bool(shift):
            found += 1
            yield seed, scene
        seed += 1


def ask(folder: Path, first: int, count: int, shift: str = "") -> list[Question]:
    """Write the sound of scenes, and return the questions about them."""
    asked = []
    for seed, scene in draw_scenes(first, count, shift):
        path = folder / f"{seed}.flac"
        memory = io.BytesIO()
        soundfile.write(memory, render(scene), 16_000, format="FLAC")
        write_atomically(path, memory.getvalue())
        extra = {"scene": str(seed), "shift": shift or "none", "heard": describe(scene)}
        asked += [
            Question(
                id=f"{seed}-{number}",
                audio=path,
                question=question.text,
                choices=tuple(question.choices),
                answer=question.choices[question.answer],
                extra=extra | {"kind": question.kind},
            )
            for number, question in enumerate(questions(scene, seed))
        ]
    return asked


def describe(scene: Scene) -> str:
    """Return what is heard, in order: what a thinking model learns to write before it answers."""
    return ", then ".join(" with ".join(label(event.kind) for event in group) for group in scene.groups())


def with_thinking(question: Question) -> Question:
    """Return a question whose answer is written after what is heard.

    Its text is the whole prompt and it has no options, so that fine-tuning with the prompt `choices` asks
    exactly what reinforcement asks with `think_short`.
    """
    text = format_prompt(question.question, question.choices, "think_short")
    answer = f"<think>{question.extra['heard']}</think><answer>{question.answer}</answer>"
    return replace(question, question=text, choices=(), answer=answer)


def write_common(folder: Path, sizes: Sizes) -> None:
    """Write the files that all seeds share."""
    sound = folder / "audio"
    write_questions(folder / "validation.jsonl", ask(sound, COMMON["validation"], sizes.validation))
    write_questions(folder / "test_in.jsonl", ask(sound, COMMON["test_in"], sizes.test_in))
    first, half = COMMON["test_out"], sizes.test_out // 2
    shifted = ask(sound, first, half, "pair") + ask(sound, first + POST, half, "three")
    write_questions(folder / "test_out.jsonl", shifted)


def write_seed(folder: Path, seed: int, sizes: Sizes) -> None:
    """Write the files of one seed."""
    own, sound = folder / f"seed-{seed}", folder / "audio"
    start = ask(sound, seed * 1_000_000, sizes.start)
    post = ask(sound, seed * 1_000_000 + POST, sizes.post)
    write_questions(own / "start.jsonl", start)
    write_questions(own / "thinking.jsonl", [with_thinking(question) for question in start])
    write_questions(own / "post.jsonl", post)
    write_questions(own / "post-thinking.jsonl", [with_thinking(question) for question in post])
