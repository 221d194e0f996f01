"""`r1-aqa quickstart`: train a small audio LLM from nothing, in minutes and without downloads.

Scenes of one to three synthesized sounds with questions about them; a tiny Qwen2-Audio with random weights;
supervised fine-tuning teaches it words, sounds and the answer's format; reinforcement then raises what it
was taught. Accuracy on held-out scenes before, between and after, with silence as control.
"""

from __future__ import annotations

import io
import logging
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.model import ModelConfig
from r1_aqa.config.quickstart import QuickstartConfig
from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.readers import read_questions
from r1_aqa.files import plain, write_atomically, write_json

logger = logging.getLogger(__name__)

SECONDS = 3.0
NEW_TOKENS = 16


@dataclass(frozen=True)
class QuickstartResult:
    """Accuracy on held-out scenes."""

    before: float
    """Accuracy of the random model."""
    sft: float
    """Accuracy after supervised fine-tuning."""
    grpo: float
    """Accuracy after reinforcement from there."""
    silent: float
    """Accuracy of the last model, given silence."""
    chance: float
    """Accuracy of guesses."""


def quickstart(config: QuickstartConfig) -> QuickstartResult:
    """Run all stages in `config.out`, or resume where they were interrupted."""
    import torch

    torch.set_num_threads(1)  # two threads on a busy machine are slower than one for a model this small
    from r1_aqa.models.tiny import create_tiny_audio_llm
    from r1_aqa.trainers.train import train_grpo, train_sft

    out = config.out
    files = make_questions(config)
    if not (out / "base" / "config.json").is_file():
        logger.info("making a model with random weights: %s", out / "base")
        create_tiny_audio_llm(
            out / "base",
            tokenizer_texts(files[0]),
            max_seconds=3,
            width=128,
            encoder_width=96,
            seed=config.seed,
        )
    scores = {"before": accuracy(config, out / "base", "before", files[2])}
    logger.info("supervised fine-tuning")
    train_sft(sft_settings(config, files))
    scores["sft"] = accuracy(config, out / "sft" / "last", "sft", files[2])
    logger.info("reinforcement learning")
    train_grpo(grpo_settings(config, files))
    scores["grpo"] = accuracy(config, out / "grpo" / "last", "grpo", files[2], silent=True)
    return report(config, scores, files)


def make_questions(config: QuickstartConfig) -> tuple[Path, Path, Path]:
    """Write questions for fine-tuning, reinforcement and test, once, and return the three files."""
    paths = tuple(config.out / "data" / f"{name}.jsonl" for name in ("sft", "grpo", "test"))
    if not all(path.is_file() for path in paths):
        logger.info("synthesizing %d scenes", config.scenes + config.test_scenes)
        first = config.seed * 1_000_000
        # Fine-tuning sees three quarters; reinforcement scenes that are new to it.
        half = config.scenes * 3 // 4
        ranges = ((0, half), (half, config.scenes), (config.scenes, config.scenes + config.test_scenes))
        for path, (start, stop) in zip(paths, ranges, strict=True):
            write_questions(path, synthesize(path.parent / "audio", range(first + start, first + stop)))
    return paths  # type: ignore[return-value]


def synthesize(folder: Path, seeds: Sequence[int]) -> list[Question]:
    """Write scenes as audio files and return the questions about them."""
    import soundfile
    from audio_common.scenes.scene import random_scene, render
    from audio_common.scenes.text import questions

    found = []
    for seed in seeds:
        scene = random_scene(seed, num_events=1 + seed % 2, seconds=SECONDS)
        path = folder / f"{seed}.flac"
        memory = io.BytesIO()
        soundfile.write(memory, render(scene), 16_000, format="FLAC")
        write_atomically(path, memory.getvalue())
        found += [
            Question(
                id=f"{seed}-{number}",
                audio=path,
                question=asked.text,
                choices=tuple(asked.choices),
                answer=asked.choices[asked.answer],
                dataset="scenes",
            )
            for number, asked in enumerate(questions(scene, seed))
        ]
    return found


def tokenizer_texts(file: Path) -> list[str]:
    """Return the texts that the tokenizer is trained on: prompts and answers."""
    from r1_aqa.models.prompt import format_prompt, format_target

    texts = []
    for question in read_questions(file):
        texts.append(format_prompt(question.question, question.choices))
        texts += [format_target(choice) for choice in question.choices]
    return texts


def sft_settings(config: QuickstartConfig, files: Sequence[Path]) -> SFTTrainConfig:
    """Return the settings of fine-tuning: all weights are trained, encoder too, for they are random."""
    return SFTTrainConfig(
        out=config.out / "sft",
        init_from=str(config.out / "base"),
        data=DataConfig(train=(files[0],)),
        model=ModelConfig(dtype="float32", strategy="full", freeze_encoder=False, freeze_projector=False),
        epochs=config.sft_epochs,
        batch_size=16,
        learning_rate=5e-4,
        lr_scheduler_type="cosine",
        warmup_ratio=0.05,
        save_steps=50,
        logging_steps=10,
        device="cpu",
        seed=config.seed,
    )


def grpo_settings(config: QuickstartConfig, files: Sequence[Path]) -> GRPOTrainConfig:
    """Return the settings of reinforcement: groups without a difference dropped, frozen encoder."""
    return GRPOTrainConfig(
        out=config.out / "grpo",
        init_from=str(config.out / "sft"),
        data=DataConfig(train=(files[1],)),
        model=ModelConfig(dtype="float32", strategy="full"),
        max_steps=config.grpo_steps,
        epochs=100,  # max_steps decides
        batch_size=min(16, len(read_questions(files[1]))),
        num_rollouts=8,
        max_new_tokens=NEW_TOKENS,
        learning_rate=5e-4,
        lr_scheduler_type="cosine",
        beta=0.02,
        zero_advantage="drop",
        save_steps=20,
        device="cpu",
        seed=config.seed,
    )


def accuracy(config: QuickstartConfig, model: Path, name: str, file: Path, *, silent: bool = False) -> dict:
    """Return the scores of a model on the held-out scenes."""
    from r1_aqa.evaluators.evaluate import evaluate

    return evaluate(
        EvaluateConfig(
            data=str(file),
            model=str(model),
            out=config.out / "scores" / name,
            batch_size=32,
            max_new_tokens=NEW_TOKENS,
            silent=silent,
            device="cpu",
        )
    )


def report(config: QuickstartConfig, scores: dict[str, dict], files: Sequence[Path]) -> QuickstartResult:
    """Write the scores, the curves of both trainings and the page of rollouts, and print the results."""
    from r1_aqa.trainers.curves import write_curves
    from r1_aqa.trainers.rollout_page import show_rollouts

    last = scores["grpo"]
    result = QuickstartResult(
        before=scores["before"]["strict"]["value"],
        sft=scores["sft"]["strict"]["value"],
        grpo=last["strict"]["value"],
        silent=last["runs"]["silent"]["value"],
        chance=last["chance"],
    )
    write_json(config.out / "result.json", asdict(result) | {"scores": plain(scores)})
    write_curves(
        {name: config.out / name / "log.jsonl" for name in ("sft", "grpo")}, config.out / "curves.png"
    )
    page = RolloutsConfig(run=config.out / "grpo", out=config.out / "rollouts.html", data=(files[1],))
    show_rollouts(page)
    first, late = rollout_accuracy(config.out / "grpo" / "log.jsonl")
    print(
        f"held-out accuracy: {result.before:.0%} random, {result.sft:.0%} after SFT, "
        f"{result.grpo:.0%} after GRPO ({result.silent:.0%} with silence, {result.chance:.0%} by chance)\n"
        f"right rollouts of GRPO: {first:.0%} in its first updates, {late:.0%} in its last\n"
        f"curves:   {config.out / 'curves.png'}\n"
        f"scores:   {config.out / 'scores' / 'grpo' / 'scores.png'} (also sft, before)\n"
        f"rollouts: {page.out}\n"
        f"model:    {config.out / 'grpo' / 'last'}\n"
        f"next:     {next_command(config, files[2])}"
    )
    return result


def next_command(config: QuickstartConfig, test: Path) -> str:
    """Return a command that asks the trained model a held-out question."""
    question = read_questions(test)[0]
    words = ["r1-aqa", "answer", str(question.audio), question.question, "--choices", *question.choices]
    return shlex.join([*words, "--model", str(config.out / "grpo")])


def rollout_accuracy(log: Path) -> tuple[float, float]:
    """Return the share of right rollouts in the first and in the last sixth of the updates."""
    from r1_aqa.trainers.curves import read_log

    name = "rewards/accuracy_reward/mean"
    values = [row[name] for row in read_log(log) if name in row]
    part = max(1, len(values) // 6)
    return sum(values[:part]) / part, sum(values[-part:]) / part
