"""GRPO updates: each question read and encoded once for all its rollouts, against once for each rollout.

    python packages/r1-aqa/benchmarks/grpo.py --model runs/models/qwen2-audio-tiny --seconds 10

Both ways are one update of the same trainer with the same adapters, questions, rewards and seeds; `share`
alone differs. Without it every rollout carries its own features through the encoder, in sampling and in the
old, reference and policy passes, and its own copy of the prompt through the language model: what the smallest
subclass of TRL's trainer does. Each update has new questions, so that nothing is left from the one before.
The model is never trained on real answers here, so what it says means nothing, but takes the time of real
rollouts. Every way runs in a process of its own, for its peak of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = ("each rollout", "shared")


def main() -> None:
    options = read_options()
    if options.way:
        print(json.dumps(measure(options)))
        return
    rows = {way: json.loads(run([*sys.argv, "--way", way])) for way in WAYS}
    for way, row in rows.items():
        print(
            f"{way:13} {row['seconds']:7.2f} s an update, {row['cpu_seconds']:7.2f} CPU s, "
            f"peak {row['megabytes']:6.0f} MB"
        )
    naive, shared = (rows[way] for way in WAYS)
    print(
        f"{options.seconds:.0f} s of sound: {naive['seconds'] / shared['seconds']:.2f} times as fast "
        f"({naive['cpu_seconds'] / shared['cpu_seconds']:.2f} in CPU time), "
        f"peak memory {shared['megabytes'] / naive['megabytes']:.2f} times"
    )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="folder of an audio LLM (none: a random tiny one)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the sounds")
    parser.add_argument("--updates", type=int, default=2, help="updates to time, after one that is not timed")
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--num_rollouts", type=int, default=8)
    parser.add_argument("--max_new_tokens", type=int, default=16)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def run(words: list[str]) -> str:
    finished = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True)
    return finished.stdout.splitlines()[-1]


def measure(options: argparse.Namespace) -> dict[str, float]:
    import torch
    from r1_aqa.models.audio_llm import load_audio_llm
    from r1_aqa.models.prompt_cache import EncodedPrompts
    from r1_aqa.trainers.grpo import grpo_arguments
    from r1_aqa.trainers.grpo_trainer import AudioGRPOTrainer
    from r1_aqa.trainers.train import set_up, trainer_arguments
    from transformers import TrainerCallback, set_seed

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        questions = make_questions(Path(folder), options)
        config = make_config(Path(folder), questions, options)
        set_seed(0)
        llm = load_audio_llm(config.init_from, config.model)
        adapters, frozen = set_up(llm, config.model)
        prompts = EncodedPrompts(
            llm, questions, sound=config.sound, style="answer", frozen=frozen, cache_bytes=2**30
        )

        class Clock(TrainerCallback):
            started: tuple[float, float] = (0.0, 0.0)

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == 1:
                    self.started = time.perf_counter(), time.process_time()

        clock = Clock()
        trainer = AudioGRPOTrainer(
            llm,
            prompts,
            rewards=[length],
            config=config,
            args=grpo_arguments(
                config, **trainer_arguments(config, len(questions)) | {"save_strategy": "no"}
            ),
            peft_config=adapters,
            callbacks=[clock],
        )
        trainer.train()
        wall, cpu = time.perf_counter() - clock.started[0], time.process_time() - clock.started[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": wall / options.updates, "cpu_seconds": cpu / options.updates, "megabytes": peak}


def length(completions: list[str], **_: Any) -> list[float]:
    """Differs between rollouts, so that every group is learned from."""
    return [float(len(text)) for text in completions]


def make_questions(folder: Path, options: argparse.Namespace) -> list[Any]:
    """Write scenes and return a question on each; enough for every update."""
    import soundfile
    from audio_common.scenes.scene import random_scene, render
    from audio_common.scenes.text import questions
    from r1_aqa.data.questions import Question

    found = []
    for seed in range((options.updates + 1) * options.batch_size):
        scene = random_scene(seed, num_events=2, seconds=options.seconds)
        soundfile.write(folder / f"{seed}.wav", render(scene), 16_000)
        asked = questions(scene, seed)[0]
        found.append(
            Question(
                id=str(seed),
                audio=folder / f"{seed}.wav",
                question=asked.text,
                choices=tuple(asked.choices),
                answer=asked.choices[asked.answer],
            )
        )
    return found


def make_config(folder: Path, questions: list[Any], options: argparse.Namespace) -> Any:
    from r1_aqa.config.model import LoRAConfig, ModelConfig
    from r1_aqa.config.train import DataConfig, GRPOTrainConfig
    from r1_aqa.models.prompt import format_prompt
    from r1_aqa.models.tiny import create_tiny_audio_llm

    model = options.model
    if model is None:
        texts = [format_prompt(question.question, question.choices) for question in questions]
        model = create_tiny_audio_llm(folder / "model", texts, max_seconds=30)
    return GRPOTrainConfig(
        out=folder / "out",
        init_from=str(model),
        data=DataConfig(train=(folder / "unused.jsonl",)),
        model=ModelConfig(dtype=options.dtype, lora=LoRAConfig(dropout=0.0)),
        batch_size=options.batch_size,
        num_rollouts=options.num_rollouts,
        max_new_tokens=options.max_new_tokens,
        max_steps=options.updates + 1,
        precision="bf16" if options.dtype == "bfloat16" else "fp32",
        share=options.way == "shared",
        device="cpu" if not has_gpu() else "auto",
    )


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()
