"""`r1-aqa quickstart`: train a small audio LLM from nothing, in minutes and without downloads.

Scenes of one or two synthesized sounds with questions about them; a tiny Qwen2-Audio with random weights;
supervised fine-tuning teaches it words, sounds and the answer's format; reinforcement goes on from there.
Accuracy on held-out scenes before, between and after, with silence as control.
"""

from __future__ import annotations

import io
import logging
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.model import ModelConfig
from r1_aqa.config.quickstart import QuickstartConfig
from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.readers import read_questions
from r1_aqa.files import remove_leftovers, replace_folder, write_atomically, write_json
from r1_aqa.lock import sole_writer

if TYPE_CHECKING:
    from r1_aqa.evaluators.statistics import Interval

logger = logging.getLogger(__name__)

SECONDS = 3.0
NEW_TOKENS = 8


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
    """Run all stages in `config.out`, or resume where they were interrupted.

    Raises:
        BusyError: another process writes into `out`.
    """
    with sole_writer(config.out, folder=True):
        return _quickstart(config)


def _quickstart(config: QuickstartConfig) -> QuickstartResult:
    choose_threads()
    from r1_aqa.models.tiny import create_tiny_audio_llm
    from r1_aqa.trainers.train import train_grpo, train_sft

    out = config.out
    logger.info("[1/4] synthesizing %d scenes and questions about them", config.scenes + config.test_scenes)
    files = make_questions(config)
    logger.info("[2/4] a small Qwen2-Audio with random weights")
    remove_leftovers(out)
    if not (out / "base").is_dir():
        texts = tokenizer_texts(files[0])
        sizes: dict[str, Any] = {
            "max_seconds": 3,
            "width": 128,
            "encoder_width": 96,
            "tags": ("<answer>", "</answer>"),
        }
        replace_folder(
            out / "base", lambda folder: create_tiny_audio_llm(folder, texts, **sizes, seed=config.seed)
        )
    scores = {"before": accuracy(config, out / "base", "before", files[2])}
    logger.info("[3/4] supervised fine-tuning")
    train_sft(sft_settings(config, files))
    scores["sft"] = accuracy(config, out / "sft" / "last", "sft", files[2])
    logger.info("[4/4] reinforcement learning")
    train_grpo(grpo_settings(config, files))
    scores["grpo"] = accuracy(config, out / "grpo" / "last", "grpo", files[2], silent=True)
    return report(config, scores, files)


def choose_threads() -> None:
    """Take one thread unless OMP_NUM_THREADS says otherwise."""
    import torch

    if "OMP_NUM_THREADS" in os.environ:
        return
    # Tensors so small keep threads waiting for each other: two on a busy machine take longer than one.
    torch.set_num_threads(1)
    logger.info(
        "one thread, which is the fastest for a model this small; OMP_NUM_THREADS sets another number"
    )


def make_questions(config: QuickstartConfig) -> tuple[Path, Path, Path]:
    """Write questions for fine-tuning, reinforcement and test, once, and return the three files."""
    paths = tuple(config.out / "data" / f"{name}.jsonl" for name in ("sft", "grpo", "test"))
    if not all(path.is_file() for path in paths):
        first = config.seed * 1_000_000
        # Fine-tuning sees three fifths; reinforcement scenes that are new to it.
        half = config.scenes * 3 // 5
        ranges = ((0, half), (half, config.scenes), (config.scenes, config.scenes + config.test_scenes))
        for path, (start, stop) in zip(paths, ranges, strict=True):
            found = synthesize(path.parent / "audio", range(first + start, first + stop))
            write_questions(path, found)
    return paths  # type: ignore[return-value]


def synthesize(folder: Path, seeds: Sequence[int]) -> list[Question]:
    """Write scenes as audio files and return the questions about them."""
    import soundfile
    from audio_common.scenes.scene import KINDS, random_scene, render
    from audio_common.scenes.text import label, questions

    # An option of one word is one decision: what is sampled wrong is what was heard wrong, not a misspelling.
    words = {label(kind): kind.capitalize() for kind in KINDS}
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
                choices=tuple(words.get(choice, choice) for choice in asked.choices),
                answer=words.get(asked.choices[asked.answer], asked.choices[asked.answer]),
                dataset="scenes",
                task=asked.kind,
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
    """Return the settings of reinforcement: what keeps the noise of few rollouts below what they teach."""
    return GRPOTrainConfig(
        out=config.out / "grpo",
        init_from=str(config.out / "sft"),
        data=DataConfig(train=(files[1],)),
        model=ModelConfig(dtype="float32", strategy="full", freeze_encoder=False, freeze_projector=False),
        max_steps=config.grpo_steps,
        epochs=100,  # max_steps decides
        # TRL drops what does not fill an update.
        batch_size=min(16, len(read_questions(files[1]))),
        num_rollouts=16,
        max_new_tokens=NEW_TOKENS,
        learning_rate=2e-4,
        lr_scheduler_type="cosine",
        warmup_ratio=0.05,
        beta=0.0,
        # Divided by its deviation, a group with one slip would count more than one that is half right.
        scale_rewards="none",
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
    from r1_aqa.evaluators.scores import chance
    from r1_aqa.trainers.curves import ROLLED_OUT, write_curves
    from r1_aqa.trainers.rollout_page import show_rollouts

    last = scores["grpo"]
    result = QuickstartResult(
        before=scores["before"]["strict"]["value"],
        sft=scores["sft"]["strict"]["value"],
        grpo=last["strict"]["value"],
        silent=last["runs"]["silent"]["value"],
        chance=last["chance"],
    )
    write_json(config.out / "result.json", asdict(result) | {"scores": scores})
    write_curves(
        {name: config.out / name / "log.jsonl" for name in ("sft", "grpo")},
        config.out / "curves.png",
        chances={ROLLED_OUT: chance(read_questions(files[1]))},
    )
    page = RolloutsConfig(run=config.out / "grpo", out=config.out / "rollouts.html", data=(files[1],))
    show_rollouts(page)
    first, late = rollout_accuracy(config.out / "grpo" / "log.jsonl")
    difference = gain(config, read_questions(files[2]))
    print(
        f"held-out accuracy: {result.before:.0%} random, {result.sft:.0%} after SFT, "
        f"{result.grpo:.0%} after GRPO ({result.silent:.0%} with silence, {result.chance:.0%} by chance)\n"
        f"right rollouts of GRPO: {first:.0%} in its first updates, {late:.0%} in its last\n"
        f"{describe_gain(difference)}"
    )
    say_what_next(config, files[2])
    return result


def gain(config: QuickstartConfig, questions: Sequence[Question]) -> Interval:
    """Return by how much more questions are right after reinforcement than before it; clips are drawn."""
    from r1_aqa.evaluators.predictions import PredictionFile
    from r1_aqa.evaluators.statistics import interval
    from r1_aqa.rewards.verdicts import judge

    def right(name: str) -> list[bool]:
        file = PredictionFile(config.out / "scores" / name / "predictions.jsonl")
        found = zip(questions, file.run("given", len(questions)), strict=True)
        return [judge(p.output if p else None, q.choices, q.answer or "").strict for q, p in found]

    changes = [after - before for after, before in zip(right("grpo"), right("sft"), strict=True)]
    return interval(changes, [str(question.audio) for question in questions])


def describe_gain(difference: Interval) -> str:
    """Return in words whether reinforcement helped on the held-out questions."""
    verdict = (
        "it helped" if difference.low > 0 else "it did harm" if difference.high < 0 else "none can be told"
    )
    return (
        f"by reinforcement: {100 * difference.value:+.1f} points of {difference.count} held-out questions "
        f"(95 % interval {100 * difference.low:+.1f} to {100 * difference.high:+.1f}): {verdict}\n"
        "A reward says less about a sound than a right answer does: what a model has not learnt to hear, "
        "so few updates of reinforcement hardly teach it (docs/r1-aqa-study.md)."
    )


def say_what_next(config: QuickstartConfig, test: Path) -> None:
    """Name the pictures, the page and commands that go on with these files."""
    out, question = config.out, read_questions(test)[0]
    ask = ["answer", str(question.audio), question.question, "--choices", *question.choices]
    orders = ["evaluate", str(test), "--model", str(out / "sft"), "--out", str(out / "scores" / "orders")]
    scores = ["score", str(out / "scores" / "grpo" / "predictions.jsonl"), "--data", str(test)]
    commands = (
        [*ask, "--model", str(out / "grpo")],
        [*orders, "--max_new_tokens", str(NEW_TOKENS), "--shuffles", "1"],
        [*scores, "--versus", str(out / "scores" / "sft" / "predictions.jsonl")],
        ["serve", "--model", str(out / "grpo")],
    )
    shown = "\n".join(f"  {shlex.join(['r1-aqa', *words])}" for words in commands)
    print(f"""
Picture, both trainings:    {out / "curves.png"} (each one's own: sft/curves.png, grpo/curves.png)
Picture, accuracies:        {out / "scores" / "grpo" / "scores.png"} (also sft, before)
Page, rollouts with audio:  {out / "rollouts.html"}
Models:                     {out / "sft"}, {out / "grpo"}
Numbers:                    {out / "result.json"}

Ask the model, see whether the order of options matters, and whether reinforcement made a difference; the last
one is a page in the browser for your own questions (extra serve):

{shown}

It knows only the synthesized sounds; the section "Train" of r1-aqa's README goes on to your own questions.
"r1-aqa: command not found"? In the clone `uv tool install ./packages/r1-aqa`, `uv tool update-shell`.""")


def rollout_accuracy(log: Path) -> tuple[float, float]:
    """Return the share of right rollouts in the first and in the last sixth of the updates."""
    from r1_aqa.trainers.curves import read_log

    name = "rewards/accuracy_reward/mean"
    values = [row[name] for row in read_log(log) if name in row]
    part = max(1, len(values) // 6)
    return sum(values[:part]) / part, sum(values[-part:]) / part
