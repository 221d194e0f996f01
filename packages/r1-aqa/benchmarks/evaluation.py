"""Questions answered per second: `r1-aqa evaluate` against a loop like the published one, in one run.

    python packages/r1-aqa/benchmarks/evaluation.py --model runs/aqa/start-merged --data QUESTIONS.jsonl

The published loop takes the questions in the file's order, 32 at once, and calls `generate` with features:
the logits of the whole prompt over the whole vocabulary, prompts of other lengths padded together, and every
clip encoded again for every question about it. (Greedy here, with `audio=`: as published it samples, and with
today's transformers it would run deaf.) Ours is what `evaluate` does. The answers must be the same; where two
options are nearly as likely, other padding may decide otherwise in bfloat16, so the share of equal answers is
printed. `--orders 4` asks as `evaluate --shuffles 3` would: every question again with its options in other
orders.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.data.sounds import load_sound
from r1_aqa.evaluators.asking import ask, make_runs
from r1_aqa.evaluators.engines import TransformersEngine
from r1_aqa.evaluators.predictions import PredictionFile
from r1_aqa.models.audio_llm import AudioLLM, load_for_answers
from r1_aqa.models.generation import end_tokens
from r1_aqa.models.prompt import format_prompt


def main() -> None:
    options = read_options()
    torch.set_num_threads(1)
    llm = load_for_answers(str(options.model), dtype=options.dtype)
    questions = read_questions(options.data)[: options.limit]
    config = EvaluateConfig(
        data=str(options.data),
        model=str(options.model),
        out=Path("unused"),
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens,
        shuffles=options.orders - 1,
    )
    runs = make_runs(questions, config)
    asked = [question for questions in runs.values() for question in questions]
    clips = len({question.audio for question in asked})
    print(f"{len(asked)} questions on {clips} clips, {options.batch_size} at once, {options.dtype}")
    theirs, their_time = timed(lambda: published_loop(llm, asked, options))
    ours, our_time = timed(lambda: evaluate_runs(llm, runs, config))
    for name, spent in (("published loop", their_time), ("r1-aqa evaluate", our_time)):
        print(f"{name:16} {len(asked) / spent[0]:6.2f} questions a second, {spent[1]:7.1f} CPU s")
    same = sum(a == b for a, b in zip(theirs, ours, strict=True)) / len(asked)
    print(
        f"{their_time[0] / our_time[0]:.2f} times as fast ({their_time[1] / our_time[1]:.2f} in CPU time); "
        f"{same:.1%} of the answers are equal"
    )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="ask only this many questions, the first ones")
    parser.add_argument("--orders", type=int, default=1)
    parser.add_argument(
        "--batch_size", type=int, default=32, help="questions at once in both; 32 is the published number"
    )
    parser.add_argument("--max_new_tokens", type=int, default=32)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    return parser.parse_args()


def timed(work: Callable[[], list[str]]) -> tuple[list[str], tuple[float, float]]:
    """Return the result of some work, and its seconds by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, (time.perf_counter() - wall, time.process_time() - cpu)


@torch.no_grad()
def published_loop(llm: AudioLLM, questions: Sequence[Question], options: argparse.Namespace) -> list[str]:
    """Answer in file order, from features, with one generate call for each batch."""
    answers: list[str] = []
    for start in range(0, len(questions), options.batch_size):
        batch = questions[start : start + options.batch_size]
        texts = [llm.format_chat(format_prompt(question.question, question.choices)) for question in batch]
        inputs = llm.encode(texts, [load_sound(question.audio, SoundConfig()) for question in batch])
        ids = whole_generate(llm, inputs, options.max_new_tokens)
        answers += llm.tokenizer.batch_decode(ids, skip_special_tokens=True)
    return answers


def whole_generate(llm: AudioLLM, inputs: dict[str, Any], max_new_tokens: int) -> torch.Tensor:
    ids = llm.model.generate(  # type: ignore[operator]
        **{name: value.to(llm.device) for name, value in inputs.items()},
        max_new_tokens=max_new_tokens,
        do_sample=False,
        repetition_penalty=1.0,
        eos_token_id=end_tokens(llm.model, llm.tokenizer),
        pad_token_id=llm.tokenizer.pad_token_id,
    )
    return ids[:, inputs["input_ids"].shape[1] :]


def evaluate_runs(llm: AudioLLM, runs: dict[str, list[Question]], config: EvaluateConfig) -> list[str]:
    """Return the answers of `r1-aqa evaluate`, the model already loaded."""
    answers, engine = [], TransformersEngine(llm, config)
    with tempfile.TemporaryDirectory() as folder:
        file = PredictionFile(Path(folder) / "predictions.jsonl")
        for name, questions in runs.items():
            ask(engine.asked(questions, silent=False), engine, file, name, config)
            answers += [found.output if found else "" for found in file.run(name, len(questions))]
    return [answer or "" for answer in answers]


if __name__ == "__main__":
    main()
