"""Greedy answers to encoded questions, in batches of like length."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from r1_aqa.encoded_prompts import EncodedPrompts
from r1_aqa.log_probs import pad_left


@torch.no_grad()
def answer_greedily(
    prompts: EncodedPrompts, rows: Sequence[int], *, batch_size: int, max_new_tokens: int
) -> list[str]:
    """The model's answer to each of some rows, special tokens left out."""
    llm, order = prompts.llm, sorted(rows, key=lambda row: len(prompts.texts[row]))
    answers: dict[int, str] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        embeddings, mask = pad_left(prompts.embeddings(batch))
        ids = llm.generate(
            embeddings,
            mask,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=llm.tokenizer.pad_token_id,
            eos_token_id=llm.tokenizer.eos_token_id,
        )
        texts = llm.tokenizer.batch_decode(ids, skip_special_tokens=True)
        answers |= dict(zip(batch, texts, strict=True))
    return [answers[row] for row in rows]
