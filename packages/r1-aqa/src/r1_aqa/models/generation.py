"""Greedy answers to encoded questions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import GenerationConfig

from r1_aqa.models.log_probs import pad_left
from r1_aqa.models.prompt_cache import EncodedPrompts


def answer_greedily(
    prompts: EncodedPrompts, rows: Sequence[int], *, batch_size: int, max_new_tokens: int
) -> list[str]:
    """The model's answer to each of some rows, in batches of prompts of like length.

    A question whose sound cannot be read has the answer "", which is wrong.
    """
    order = sorted(rows, key=lambda row: len(prompts.texts[row]))
    answers: dict[int, str] = {}
    for start in range(0, len(order), batch_size):
        batch = [row for row in order[start : start + batch_size] if prompts.is_readable(row)]
        texts = answer_batch(prompts, batch, max_new_tokens=max_new_tokens) if batch else []
        answers |= dict(zip(batch, texts, strict=True))
    return [answers.get(row, "") for row in rows]


@torch.no_grad()
def answer_batch(
    prompts: EncodedPrompts, rows: Sequence[int], *, max_new_tokens: int, temperature: float = 0.0
) -> list[str]:
    """One batch; special tokens are left out. Sampled when `temperature` is not 0.

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


def end_tokens(model: object, tokenizer: object) -> list[int]:
    """All tokens that end an answer: the tokenizer's, and those of the model's generation settings."""
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    more = found if isinstance(found, list) else [] if found is None else [found]
    return list(dict.fromkeys([tokenizer.eos_token_id, *more]))  # type: ignore[attr-defined]
