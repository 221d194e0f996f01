"""Answer questions: the one way that evaluation, validation in training and `Answerer` share.

Questions of like length go together, each clip is decoded once for the questions about it, and the next batch
is decoded while the model answers.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio_common.prefetch import load_ahead
from transformers import GenerationConfig

from r1_aqa.models.chat import pad_left
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.models.windows import Choose, Completion, join_windows


def end_tokens(model: object, tokenizer: object) -> list[int]:
    """Return all tokens that end an answer: the tokenizer's, and those of the model's generation settings."""
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    more = found if isinstance(found, list) else [] if found is None else [found]
    if not all(isinstance(token, int) for token in more):
        raise ValueError(f"generation_config.json: eos_token_id: expected numbers of tokens, got {found!r}")
    return list(dict.fromkeys([tokenizer.eos_token_id, *more]))  # type: ignore[attr-defined]


@torch.no_grad()
def answer_batch(
    prompts: EncodedPrompts, rows: Sequence[int], *, max_new_tokens: int, temperature: float = 0.0
) -> list[tuple[str, bool]]:
    """Return the completions of one batch, and whether `max_new_tokens` ended each; greedy, or sampled.

    Sampled when `temperature` is not 0.

    The model's own generation settings do not count: Qwen2-Audio's sample, with a repetition penalty.
    """
    llm = prompts.llm
    embeddings, mask = pad_left(prompts.embeddings(rows))
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    ends = end_tokens(llm.model, llm.tokenizer)
    ids = llm.generate(
        embeddings,
        mask,
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens,
            pad_token_id=llm.tokenizer.pad_token_id,
            eos_token_id=ends,
            **({"do_sample": False} | sampling),
        ),
    )
    texts = llm.tokenizer.batch_decode(ids, skip_special_tokens=True)
    # An answer that the model itself ended has one of its end tokens.
    has_end = torch.isin(ids, torch.tensor(ends, device=ids.device)).any(1).tolist()
    return [(text, not ended) for text, ended in zip(texts, has_end, strict=True)]


def generate_answers(
    prompts: EncodedPrompts,
    rows: Sequence[int],
    *,
    batch_size: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    choose: Choose = lambda texts, choices: 0,
) -> Iterator[list[Completion]]:
    """Yield the completions of some questions, batch by batch; what cannot be asked ends nothing.

    Args:
        prompts: the questions.
        rows: those to answer, by their number among `prompts.asked`.
        batch_size: questions, or windows of long sounds, at once.
        max_new_tokens: longest answer.
        temperature: sampling temperature, 0 for the likeliest answer.
        choose: which window's completion counts, where there are several.
    """
    parts = [part for row in rows for part in prompts.windows.parts[row]]
    batches = in_batches(prompts, parts, batch_size)
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    yield from join_windows(_answer_parts(prompts, batches, settings), prompts.windows, rows, choose)


def _answer_parts(
    prompts: EncodedPrompts, batches: list[list[int]], settings: dict[str, Any]
) -> Iterator[list[Completion]]:
    with closing(read_ahead(prompts, batches)) as decoded:
        for batch, (sounds, unreadable) in zip(batches, decoded, strict=True):
            prompts.sounds.decoded = sounds
            prompts.sounds.unreadable |= unreadable
            for row in batch:
                prompts.sounds.report(row)
            errors = {row: prompts.sounds.why_not(row) for row in batch}
            good = [row for row in batch if errors[row] is None]
            written = dict(zip(good, answer_batch(prompts, good, **settings) if good else [], strict=True))
            yield [
                Completion(row, None, errors[row])
                if row not in written
                else Completion(
                    row,
                    written[row][0],
                    cut=prompts.sounds.is_cut(row),
                    truncated=written[row][1],
                    complaints=tuple(prompts.sounds.complaints.get(prompts.questions[row].audio, ())),
                )
                for row in batch
            ]


def in_batches(prompts: EncodedPrompts, rows: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return rows of like duration together, and those of one clip side by side."""
    questions, seconds = prompts.questions, prompts.sounds.seconds
    # The row last, so that the order, and with it every batch, is the same each time.
    order = sorted(rows, key=lambda row: (seconds(row), str(questions[row].audio), row))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def read_ahead(
    prompts: EncodedPrompts, batches: Iterable[Sequence[int]]
) -> Generator[tuple[dict[Hashable, np.ndarray], dict[Path, str]], None, None]:
    """Decode the audio of each batch of rows, in a thread while the batch before is answered.

    Nothing more is done there, for a tokenizer cannot be used by two threads at once.

    Yields:
        The samples of a batch's audio by their key, and why other files could not be read.
    """
    needed = (_first_rows(prompts, rows) for rows in batches)
    with closing(load_ahead(needed, prompts.sounds.decode, batches_ahead=1)) as decoded:
        for loaded, failures in decoded:
            yield (
                {prompts.sounds.key(row): samples for row, samples in loaded},
                {prompts.questions[row].audio: reason for row, reason in failures.items()},
            )


def _first_rows(prompts: EncodedPrompts, rows: Sequence[int]) -> list[int]:
    """Return one row for each sound that is not encoded yet, nor known to be unreadable."""
    first: dict[Hashable, int] = {}
    for row in rows:
        if prompts.sounds.why_not(row) is None and prompts.needs_sound(row):
            first.setdefault(prompts.sounds.key(row), row)
    return list(first.values())
