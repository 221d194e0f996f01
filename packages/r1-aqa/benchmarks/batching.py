"""Questions put together by the length of their prompts, against by the seconds of their sounds, in one run.

    python packages/r1-aqa/benchmarks/batching.py --model runs/models/qwen2-audio-tiny --data QUESTIONS.jsonl

A batch is padded to its longest prompt, and with short sounds the text is most of a prompt. Printed is how
many embeddings the language model reads for each one that is of a prompt, over all questions and without the
model's work (`--limit 0` stops there), then the processor seconds of answering the first `--limit` questions
both ways, in turns; what was encoded for one is not kept for the other. The answers must be the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.models import generation
from r1_aqa.models.asked import AskedQuestions
from r1_aqa.models.audio_llm import AudioLLM, load_for_answers
from r1_aqa.models.prompt_cache import EncodedPrompts


def main() -> None:
    options = read_options()
    torch.set_num_threads(1)
    llm = load_for_answers(str(options.model), dtype=options.dtype)
    questions = read_questions(options.data)
    ways: dict[str, Callable[[AskedQuestions, int], float]] = {
        "by seconds": AskedQuestions.length,
        "by tokens": EncodedPrompts.length,  # type: ignore[dict-item]
    }
    for name, length in ways.items():
        print(
            f"{name:10} {padding(encode(llm, questions, length), options.batch_size):.3f} read for each one"
        )
    if not options.limit:
        return
    found = {name: list[str]() for name in ways}
    times = {name: list[float]() for name in ways}
    for _ in range(options.repeats):
        for name, length in ways.items():
            start = time.process_time()
            found[name] = answer(encode(llm, questions[: options.limit], length), options)
            times[name].append(time.process_time() - start)
    slow, fast = (min(times[name]) for name in ways)
    same = sum(a == b for a, b in zip(*found.values(), strict=True)) / len(found["by tokens"])
    print(
        f"{slow:.1f} and {fast:.1f} CPU s: {slow / fast:.2f} times as fast; {same:.1%} of the answers equal"
    )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=64, help="questions that are answered")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--max_new_tokens", type=int, default=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    return parser.parse_args()


def encode(
    llm: AudioLLM, questions: Sequence[Question], length: Callable[[AskedQuestions, int], float]
) -> EncodedPrompts:
    prompts = EncodedPrompts(
        llm, questions, sound=SoundConfig(), style="answer", frozen=True, cache_bytes=2**30
    )
    prompts.length = lambda row: length(prompts, row)  # type: ignore[method-assign]
    return prompts


def padding(prompts: EncodedPrompts, batch_size: int) -> float:
    """Return how many tokens are read for each that is there."""
    rows = range(len(prompts.questions))
    tokens = {row: EncodedPrompts.length(prompts, row) for row in rows}
    batches = generation.in_batches(prompts, rows, batch_size)
    return sum(len(batch) * max(tokens[row] for row in batch) for batch in batches) / sum(tokens.values())


def answer(prompts: EncodedPrompts, options: argparse.Namespace) -> list[str]:
    rows = range(len(prompts.questions))
    batches = generation.generate_answers(
        prompts, rows, batch_size=options.batch_size, max_new_tokens=options.max_new_tokens
    )
    texts = {completion.row: completion.text or "" for batch in batches for completion in batch}
    return [texts[row] for row in rows]


if __name__ == "__main__":
    main()
