"""Answer questions: the one way that evaluation, validation in training and `Answerer` share.

Questions of like length go together, each clip is decoded once for the questions about it, and the next batch
is decoded while the model answers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio_common.prefetch import load_ahead
from transformers import GenerationConfig

from r1_aqa.models.chat import pad_left
from r1_aqa.models.prompt_cache import EncodedPrompts


@dataclass(frozen=True)
class Completion:
    """A model's answer to a question, as it was written.

    Attributes:
        row: the question's.
        text: the completion without special tokens, None when the question could not be asked.
        error: why there is no text.
    """

    row: int
    text: str | None
    error: str | None = None


def end_tokens(model: object, tokenizer: object) -> list[int]:
    """Return all tokens that end an answer: the tokenizer's, and those of the model's generation settings."""
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    more = found if isinstance(found, list) else [] if found is None else [found]
    return list(dict.fromkeys([tokenizer.eos_token_id, *more]))  # type: ignore[attr-defined]


@torch.no_grad()
def answer_batch(
    prompts: EncodedPrompts, rows: Sequence[int], *, max_new_tokens: int, temperature: float = 0.0
) -> list[str]:
    """Return the completions of one batch; greedy, or sampled when `temperature` is not 0.

    The model's own generation settings do not count: Qwen2-Audio's sample, with a repetition penalty.
    """
    llm = prompts.llm
    embeddings, mask = pad_left(prompts.embeddings(rows))
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    ids = llm.generate(
        embeddings,
        mask,
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens,
            pad_token_id=llm.tokenizer.pad_token_id,
            eos_token_id=end_tokens(llm.model, llm.tokenizer),
            **({"do_sample": False} | sampling),
        ),
    )
    return llm.tokenizer.batch_decode(ids, skip_special_tokens=True)


def generate_answers(
    prompts: EncodedPrompts,
    rows: Sequence[int],
    *,
    batch_size: int,
    max_new_tokens: int,
    temperature: float = 0.0,
) -> Iterator[list[Completion]]:
    """Yield the completions of some questions, batch by batch; audio that cannot be read ends nothing."""
    batches = in_batches(prompts, rows, batch_size)
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    with closing(read_ahead(prompts, batches)) as decoded:
        for batch, (sounds, unreadable) in zip(batches, decoded, strict=True):
            prompts.sounds.decoded = sounds
            prompts.sounds.unreadable |= unreadable
            errors = {row: prompts.sounds.unreadable.get(prompts.questions[row].audio) for row in batch}
            for row in batch:
                prompts.sounds.report(row)
            good = [row for row in batch if errors[row] is None]
            written = dict(zip(good, answer_batch(prompts, good, **settings) if good else [], strict=True))
            yield [Completion(row, written.get(row), errors[row]) for row in batch]


def in_batches(prompts: EncodedPrompts, rows: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return rows of like duration together, and those of one clip side by side."""
    questions, seconds = prompts.questions, prompts.sounds.seconds
    # The row last, so that the order, and with it every batch, is the same each time.
    order = sorted(rows, key=lambda row: (seconds(row), str(questions[row].audio), row))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def read_ahead(
    prompts: EncodedPrompts, batches: Iterable[Sequence[int]]
) -> Generator[tuple[dict[Path, np.ndarray], dict[Path, str]], None, None]:
    """Decode the audio of each batch of rows, in a thread while the batch before is answered.

    Nothing more is done there, for a tokenizer cannot be used by two threads at once.

    Yields:
        The samples of a batch's audio, and why other files could not be read.
    """
    needed = (_first_rows(prompts, rows) for rows in batches)
    with closing(load_ahead(needed, prompts.sounds.decode, batches_ahead=1)) as decoded:
        for loaded, failures in decoded:
            yield (
                {prompts.questions[row].audio: samples for row, samples in loaded},
                {prompts.questions[row].audio: reason for row, reason in failures.items()},
            )


def _first_rows(prompts: EncodedPrompts, rows: Sequence[int]) -> list[int]:
    """Return one row for each file that is not encoded yet, nor known to be unreadable."""
    first: dict[Path, int] = {}
    for row in rows:
        audio = prompts.questions[row].audio
        if audio not in prompts.sounds.unreadable and prompts.needs_sound(row):
            first.setdefault(audio, row)
    return list(first.values())
