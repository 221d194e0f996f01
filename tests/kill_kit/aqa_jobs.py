"""Jobs of r1-aqa: both trainings, one that was killed before, an evaluation, a file of questions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from kill_kit.jobs import PREPARE_POINTS, RESUMED_POINTS, TRAINING_POINTS, Job, Point, Step


def make_inputs(folder: Path) -> None:
    """Write six sounds with two questions each, one that is no sound, a tiny audio LLM, and two recipes.

    Six training questions and two an update: five updates end within the second epoch.
    """
    import soundfile
    from audio_common.scenes.scene import random_scene, render
    from audio_common.scenes.text import questions
    from r1_aqa.data.questions import Question, write_questions
    from r1_aqa.models.prompt import format_prompt
    from r1_aqa.models.tiny import create_tiny_audio_llm

    found, texts = [], []
    for seed in range(6):
        scene = random_scene(seed, num_events=1, seconds=1.1 + 0.1 * seed)
        path = folder / f"{seed}.wav"
        soundfile.write(path, render(scene), 16_000)
        for number, asked in enumerate(questions(scene, seed)[:2]):
            choices = tuple(asked.choices)
            found.append(
                Question(
                    id=f"{seed}-{number}",
                    audio=path,
                    question=asked.text,
                    choices=choices,
                    answer=choices[asked.answer],
                )
            )
            texts += [format_prompt(asked.text, choices), *choices]
    write_questions(folder / "train.jsonl", found[:6])
    write_questions(folder / "validation.jsonl", found[6:8])
    (folder / "damaged.wav").write_bytes(b"no sound")
    damaged = replace(found[0], id="damaged", audio=folder / "damaged.wav")
    write_questions(folder / "test.jsonl", [*found[:8], damaged])
    create_tiny_audio_llm(
        folder / "base", texts, vocab_size=300, width=16, num_layers=1, num_heads=2,
        encoder_width=16, encoder_layers=1, num_mel_bins=8, max_seconds=2,
    )  # fmt: skip
    # Random answers are all wrong: a reward that differs within a group makes gradients.
    (folder / "length.py").write_text(
        "def length(completions, **_):\n    return [len(c) / 9 for c in completions]\n"
    )
    write_recipes(folder)


def write_recipes(folder: Path) -> None:
    """Write the settings of both trainings; JSON is YAML."""
    recipe = {
        "init_from": str(folder / "base"),
        "data": {"train": [str(folder / "train.jsonl")], "validation": [str(folder / "validation.jsonl")]},
        "model": {"dtype": "float32", "lora": {"rank": 2}},
        "batch_size": 2,
        "epochs": 3,
        "max_steps": 5,
        "save_steps": 2,
        "eval_steps": 2,
        "learning_rate": 1e-2,
        "validation": {"max_new_tokens": 2},
        "check_heard": False,
        "device": "cpu",
    }
    grpo = {
        "num_rollouts": 2,
        "max_new_tokens": 3,
        "rewards": [f"{folder / 'length.py'}:length"],
        "max_steps": 4,
    }
    (folder / "sft.yaml").write_text(json.dumps(recipe))
    (folder / "grpo.yaml").write_text(json.dumps(recipe | grpo))


SFT = ("train", "sft", "--config", "INPUTS/sft.yaml", "--out", "out")
GRPO = ("train", "grpo", "--config", "INPUTS/grpo.yaml", "--out", "out")
EVALUATE = (
    *("evaluate", "INPUTS/test.jsonl", "--model", "INPUTS/base", "--out", "out", "--batch_size", "2"),
    *("--max_new_tokens", "3", "--shuffles", "1", "--check_heard", "false", "--device", "cpu"),
)
PREPARE = (
    "prepare",
    "questions",
    "INPUTS/test.jsonl",
    "--out",
    "out/questions.jsonl",
    "--validation_share",
    "0.3",
)
KILLED = Step(SFT, Point("after the last validation", "kill", r"/checkpoint-5\b"))
JOBS = (
    Job("sft", SFT, TRAINING_POINTS),
    Job("sft-again", SFT, RESUMED_POINTS, before=(KILLED,)),
    Job("grpo", GRPO, (TRAINING_POINTS[0], TRAINING_POINTS[2], TRAINING_POINTS[4], TRAINING_POINTS[7])),
    Job(
        "evaluate",
        EVALUATE,
        (
            Point("as answers are written", "torn", "predictions", "open", "middle"),
            Point("between answers and scores", "kill", "scores", "rename"),
            Point("between answers", "full", "predictions", "open", "middle"),
            Point("between answers", "interrupt", "predictions", "open", "middle"),
        ),
    ),
    Job("prepare", PREPARE, PREPARE_POINTS),
)
