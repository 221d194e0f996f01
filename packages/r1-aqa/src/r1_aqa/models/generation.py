"""Answer questions: the one way that evaluation, validation in training and `Answerer` share.

Questions of like length (text and sound together) go together, each clip is decoded once for the questions of
a batch about it, and the next batch is decoded while the model answers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from audio_common.prefetch import load_ahead
from transformers import GenerationConfig

from r1_aqa.data.sounds import Clip
from r1_aqa.models.asked import Answer, AskedQuestions, Written
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
) -> list[Written]:
    """Return the completions of one batch; greedy, or sampled.

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
    return [Written(text, not ended) for text, ended in zip(texts, has_end, strict=True)]


def generate_answers(
    prompts: EncodedPrompts,
    rows: Sequence[int],
    *,
    batch_size: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    choose: Choose = lambda texts, choices: 0,
) -> Iterator[list[Completion]]:
    """Yield the completions of some questions by the model of `prompts`, batch by batch.

    Args:
        prompts: the questions.
        rows: those to answer, by their number among `prompts.asked`.
        batch_size: questions, or windows of long sounds, at once.
        max_new_tokens: longest answer.
        temperature: sampling temperature, 0 for the likeliest answer.
        choose: which window's completion counts, where there are several.
    """
    answer = partial(answer_batch, prompts, max_new_tokens=max_new_tokens, temperature=temperature)
    yield from answer_questions(prompts, rows, answer, batch_size=batch_size, choose=choose)


def answer_questions(
    asked: AskedQuestions,
    rows: Sequence[int],
    answer: Answer,
    *,
    batch_size: int,
    choose: Choose = lambda texts, choices: 0,
) -> Iterator[list[Completion]]:
    """Yield the completions of some questions, batch by batch; what cannot be asked ends nothing.

    Args:
        asked: the questions.
        rows: those to answer, by their number among `asked.asked`.
        answer: asks the model about the rows of a batch.
        batch_size: questions, or windows of long sounds, at once.
        choose: which window's completion counts, where there are several.
    """
    parts = [part for row in rows for part in asked.windows.parts[row]]
    batches = in_batches(asked, parts, batch_size)
    yield from join_windows(_answer_parts(asked, batches, answer), asked.windows, rows, choose)


def _answer_parts(
    asked: AskedQuestions, batches: list[list[int]], answer: Answer
) -> Iterator[list[Completion]]:
    sounds = asked.sounds
    with closing(read_ahead(asked, batches)) as decoded:
        for batch, (samples, unreadable) in zip(batches, decoded, strict=True):
            sounds.decoded = samples
            sounds.unreadable |= unreadable
            for row in batch:
                sounds.report(row)
            written = {row: Written(None, error=sounds.why_not(row)) for row in batch}
            good = [row for row in batch if written[row].error is None]
            written |= dict(zip(good, answer(good) if good else [], strict=True))
            yield [
                Completion(
                    row,
                    text,
                    error,
                    cut=text is not None and sounds.is_cut(row),
                    truncated=truncated,
                    complaints=sounds.complaints_of(row) if text is not None else (),
                )
                for row, (text, truncated, error) in written.items()
            ]


def in_batches(prompts: AskedQuestions, rows: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return rows of like length together, for the model reads as much of each as of the longest."""
    questions, length = prompts.questions, prompts.length
    # The row last, so that the order, and with it every batch, is the same each time.
    order = sorted(rows, key=lambda row: (length(row), str(questions[row].audio), row))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def read_ahead(
    prompts: AskedQuestions, batches: Iterable[Sequence[int]]
) -> Generator[tuple[dict[Clip, np.ndarray], dict[Path, str]], None, None]:
    """Decode the audio of each batch of rows, in a thread while the batch before is answered.

    Nothing more is done there, for a tokenizer cannot be used by two threads at once.

    Yields:
        The samples of a batch's clips, and why other files could not be read.
    """
    needed = (_new_clips(prompts, rows) for rows in batches)
    with closing(load_ahead(needed, prompts.sounds.decode, batches_ahead=1)) as decoded:
        for loaded, failures in decoded:
            yield dict(loaded), {audio: reason for (audio, _), reason in failures.items()}


def _new_clips(prompts: AskedQuestions, rows: Sequence[int]) -> list[Clip]:
    """Return each clip once that is not encoded yet, nor known to be unreadable."""
    wanted = (row for row in rows if prompts.sounds.why_not(row) is None and prompts.needs_sound(row))
    return list(dict.fromkeys(clip for row in wanted for clip in prompts.sounds.clips(row)))
