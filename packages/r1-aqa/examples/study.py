"""Make and keep the runs of docs/r1-aqa-study.md: reinforcement against fine-tuning, with the power to tell.

    python packages/r1-aqa/examples/study.py --out runs/aqa-study --workers 2
    python packages/r1-aqa/examples/study_report.py runs/aqa-study

Each run is a file, `runs/START-ARM-RATE-SEED.json`, with the verdict on every question; one that is there is
not made again, so the command can be killed and started again at any moment, with other workers, and seeds
can be added later. What makes the comparison fair:

- a seed has its own scenes, weights and order of questions; all seeds are tested on the same scenes;
- fine-tuning and reinforcement start from the same model and learn from the same questions: `sft` sees each
  once, as `grpo` does (equal samples), `sft-compute` as often as costs what `grpo` costs (equal computing);
- both train the same parameters, all of them, in updates of the same size;
- the learning rate of each arm and start is chosen on validation by a seed of its own; further seeds of their
  own tell how much seeds differ, from which the power is calculated and written before any test question is
  asked;
- the last model counts: no checkpoint is chosen.

The starts: `early`, fine-tuned until it knows the form of an answer and some of the sounds; `late`, twice as
long; `thinking`, as long as `late`, on answers after a line that names what is heard.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from audio_common.strict_json import read_object
from r1_aqa.config.model import ModelConfig, PromptStyle
from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.files import replace_folder, write_json
from r1_aqa.lock import sole_writer
from study_data import LONG_SECONDS, Sizes, write_common, write_seed

SEEDS = (0, 1, 2, 3, 4)
CHOICE_SEED = 100
"""Chooses the learning rates, on validation; no result uses it."""
PILOT_SEEDS = (101, 102)
"""Further seeds at the chosen rates, on validation, for the power alone."""
RATES = (1e-4, 3e-4, 1e-3)
STARTS = {"early": 450, "late": 850, "thinking": 850}
"""Updates of fine-tuning from random weights."""
ARMS = {"sft": 1, "sft-compute": 4, "grpo": 1}
"""Passes over the questions of post-training. Four of fine-tuning take about the processor time of one of
reinforcement; the table shows both."""
BATCH_SIZE = 16
"""Questions of an update."""
SILENT = 700
"""Questions of the test that are also asked with silence."""
MODEL = ModelConfig(dtype="float32", strategy="full", freeze_encoder=False, freeze_projector=False)


@dataclass(frozen=True, order=True)
class Run:
    """What tells one run from another; the arm `start` is the starting model itself."""

    seed: int
    start: str
    arm: str
    rate: float

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.start}-{self.arm}-{self.rate:g}-{self.seed}"

    @property
    def is_test(self) -> bool:
        """Whether it answers the test; runs that choose rates or tell the power never hear it."""
        return self.seed in SEEDS

    @property
    def prompt(self) -> PromptStyle:
        """The prompt of rollouts and of the test."""
        return "think_short" if self.start == "thinking" else "answer"

    @property
    def new_tokens(self) -> int:
        """Longest answer."""
        return 48 if self.start == "thinking" else 16


# What is trained


def make_base(out: Path, seed: int) -> None:
    """Write a small Qwen2-Audio with random weights, and a tokenizer of its seed's questions."""
    from r1_aqa.models.prompt import format_prompt, format_target
    from r1_aqa.models.tiny import create_tiny_audio_llm

    folder, texts = out / "starts" / f"base-{seed}", []
    if folder.is_dir():
        return
    for question in read_questions(out / "data" / f"seed-{seed}" / "start.jsonl"):
        texts.append(format_prompt(question.question, question.choices, "think_short"))
        texts += [format_target(choice) for choice in question.choices]
        texts.append(f"<think>{question.extra['heard']}</think>")
    sizes: dict[str, Any] = {"max_seconds": int(LONG_SECONDS), "width": 128, "encoder_width": 96}
    replace_folder(folder, lambda place: create_tiny_audio_llm(place, texts, **sizes, seed=seed))


def start_settings(out: Path, start: str, seed: int, device: str) -> SFTTrainConfig:
    """Return the training of a starting model."""
    thinks = start == "thinking"
    file = out / "data" / f"seed-{seed}" / ("thinking.jsonl" if thinks else "start.jsonl")
    return SFTTrainConfig(
        out=out / "starts" / f"{start}-{seed}",
        init_from=str(out / "starts" / f"base-{seed}"),
        data=DataConfig(train=(file,)),
        model=MODEL,
        prompt="choices" if thinks else "answer",
        epochs=100,  # max_steps decides
        max_steps=STARTS[start],
        batch_size=BATCH_SIZE,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_ratio=0.05,
        check_heard=False,  # an early one may not hear yet; its silent control tells
        save_steps=100,
        logging_steps=50,
        device=device,
        seed=seed,
    )


def settings(run: Run, out: Path, device: str) -> SFTTrainConfig | GRPOTrainConfig:
    """Return the training of a run, as `r1-aqa train` would have it."""
    data = out / "data" / f"seed-{run.seed}"
    shared: dict[str, Any] = {
        "out": out / "training" / run.name,
        "init_from": str(out / "starts" / f"{run.start}-{run.seed}" / "last"),
        "model": MODEL,
        "epochs": ARMS[run.arm],
        "batch_size": BATCH_SIZE,
        "learning_rate": run.rate,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.05,
        "check_heard": False,
        "save_steps": 50,
        "logging_steps": 10,
        "device": device,
        "seed": run.seed,
    }
    thinks = run.start == "thinking"
    if run.arm != "grpo":
        file = data / ("post-thinking.jsonl" if thinks else "post.jsonl")
        prompt: PromptStyle = "choices" if thinks else "answer"
        return SFTTrainConfig(data=DataConfig(train=(file,)), prompt=prompt, **shared)
    return GRPOTrainConfig(
        data=DataConfig(train=(data / "post.jsonl",)),
        prompt=run.prompt,
        rewards=("accuracy", "think_format" if thinks else "format"),
        num_rollouts=8,
        max_new_tokens=run.new_tokens,
        beta=0.02,
        zero_advantage="drop",
        **shared,
    )


# Jobs of the workers

_device = "cpu"


def _begin(devices: Any) -> None:
    """Prepare a worker: one thread, its device, no messages."""
    global _device
    _device = devices.get()
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    warnings.filterwarnings("ignore")
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()


def make_start(out: Path, start: str, seed: int) -> None:
    """Train a starting model, unless it is there."""
    from r1_aqa.trainers.train import train_sft

    train_sft(start_settings(out, start, seed, _device))


def keep(out: Path, run: Run) -> None:
    """Train a run that is not there yet, ask it, and write the verdicts."""
    from r1_aqa.trainers.train import train_grpo, train_sft

    path = out / "runs" / f"{run.name}.json"
    if path.is_file():
        return
    used, model, updates = time.process_time(), out / "starts" / f"{run.start}-{run.seed}" / "last", 0
    if run.arm != "start":
        config = settings(run, out, _device)
        result = train_grpo(config) if isinstance(config, GRPOTrainConfig) else train_sft(config)
        model, updates = result.model, result.steps
    found: dict[str, Any] = asdict(run) | {"updates": updates, "device": _device}
    found["cpu_seconds"] = round(time.process_time() - used, 1)
    for split in ("test_in", "test_out") if run.is_test else ("validation",):
        questions = read_questions(out / "data" / f"{split}.jsonl")
        found[split] = answer(run, model, questions)
        if split == "test_in":
            found["silent"] = answer(run, model, questions[:SILENT], silent=True)
    write_json(path, found)
    shutil.rmtree(out / "training" / run.name, ignore_errors=True)


def answer(run: Run, model: Path, questions: Sequence[Question], *, silent: bool = False) -> list[int]:
    """Return for each question whether the greedy answer is right, by the strict verdict."""
    from r1_aqa.models.audio_llm import load_for_answers
    from r1_aqa.models.generation import generate_answers
    from r1_aqa.models.prompt_cache import EncodedPrompts
    from r1_aqa.rewards.verdicts import judge

    llm = load_for_answers(str(model), dtype="float32", device=_device)
    prompts = EncodedPrompts(
        llm,
        questions,
        sound=SoundConfig(),
        style=run.prompt,
        frozen=True,
        cache_bytes=2**30,
        silent=silent,
    )
    verdicts = [0] * len(questions)
    rows = range(len(questions))
    for batch in generate_answers(prompts, rows, batch_size=64, max_new_tokens=run.new_tokens):
        for completion in batch:
            asked = questions[completion.row]
            right = judge(completion.text, asked.choices, asked.answer or "").strict
            verdicts[completion.row] = int(right)
    return verdicts


# All runs


def choose_rate(out: Path, start: str, arm: str) -> float:
    """Return the learning rate whose run of `CHOICE_SEED` has most validation questions right."""
    runs = [Run(CHOICE_SEED, start, arm, rate) for rate in RATES]
    right = {run.rate: sum(read_object(out / "runs" / f"{run.name}.json")["validation"]) for run in runs}
    return max(right, key=lambda rate: right[rate])


def chosen(out: Path, starts: Iterable[str], seeds: Iterable[int]) -> list[Run]:
    """Return the runs of some seeds at the chosen rates, seed by seed, and their starts."""
    rates = {(start, arm): choose_rate(out, start, arm) for start in starts for arm in ARMS}
    return [
        run
        for seed in seeds
        for start in starts
        for run in (
            Run(seed, start, "start", 0.0),
            *(Run(seed, start, arm, rates[start, arm]) for arm in reversed(ARMS)),
        )
    ]


def study(
    out: Path, starts: Sequence[str], seeds: Sequence[int], sizes: Sizes, devices: Sequence[str]
) -> None:
    """Make all runs that are not there yet."""
    from study_report import write_power

    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    for device in devices:
        queue.put(device)
    everyone = (CHOICE_SEED, *PILOT_SEEDS, *seeds)
    with ProcessPoolExecutor(len(devices), spawn, _begin, (queue,)) as pool:

        def finish(name: str, jobs: Sequence[Callable[[], None]]) -> None:
            began = time.monotonic()
            waiting = [pool.submit(job) for job in jobs]
            for number, done in enumerate(as_completed(waiting), 1):
                done.result()
                print(f"{name}: {number} of {len(jobs)}, {time.monotonic() - began:.0f} s", flush=True)

        data = out / "data"
        files = [
            (data / f"seed-{seed}" / "post-thinking.jsonl", partial(write_seed, data, seed, sizes))
            for seed in everyone
        ]
        files.append((data / "test_out.jsonl", partial(write_common, data, sizes)))
        finish("data", [job for path, job in files if not path.is_file()])
        finish("bases", [partial(make_base, out, seed) for seed in everyone])
        # The longest first, and those that choose rates before the others.
        order = [(start, seed) for seed in everyone for start in sorted(starts, key=lambda s: -STARTS[s])]
        finish("starts", [partial(make_start, out, start, seed) for start, seed in order])
        choices = [
            Run(CHOICE_SEED, start, arm, rate) for arm in reversed(ARMS) for start in starts for rate in RATES
        ]
        finish("learning rates", [partial(keep, out, run) for run in choices])
        finish(
            "pilots", [partial(keep, out, run) for run in chosen(out, starts, (CHOICE_SEED, *PILOT_SEEDS))]
        )
        write_power(out, len(seeds))
        finish("test", [partial(keep, out, run) for run in chosen(out, starts, seeds)])


def main() -> None:
    """Make the runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="number of seeds that are tested")
    parser.add_argument("--workers", type=int, default=1, help="runs at once, each on one thread of the CPU")
    parser.add_argument("--gpu_workers", type=int, default=0, help="further runs at once, on the GPU")
    args = parser.parse_args()
    if not 1 <= args.seeds <= len(SEEDS):
        parser.error(f"--seeds must be in 1 .. {len(SEEDS)}, got {args.seeds}")
    devices = ["cuda"] * args.gpu_workers + ["cpu"] * args.workers
    with sole_writer(args.out, folder=True):
        study(args.out, args.starts, SEEDS[: args.seeds], Sizes(), devices)


if __name__ == "__main__":
    main()
