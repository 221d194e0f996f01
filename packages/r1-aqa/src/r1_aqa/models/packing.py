"""Several short prompts with their answers in one row, so that a batch of unlike lengths has less padding.

In a batch every row is as long as the longest one. Here questions are laid one behind another into rows of
that length, as many as fit. A mask lets each see itself alone and its positions begin at 0, so that logits
and gradients are those of the batch (`tests/models/test_packing.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.head import Project, reading_head
from r1_aqa.models.log_probs import Prompts


def fill_rows(lengths: Sequence[int]) -> list[list[int]]:
    """Return which examples share a row: the longest first, each into the first row that has room.

    No row is longer than the longest example (first fit decreasing).

    >>> fill_rows([3, 10, 4, 6])
    [[1], [3, 2], [0]]
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for example in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        row = next((row for row, left in enumerate(room) if left >= lengths[example]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(max(lengths))
        rows[row].append(example)
        room[row] -= lengths[example]
    return rows


@dataclass(frozen=True)
class Packed:
    """Places of examples in rows of equal length.

    Attributes:
        source: `(rows, length)` int64, which of all tokens (prompts', then answers', then one of padding)
            stands at each place.
        owner: `(rows, length)` int64, which example it belongs to; -1 for padding.
        positions: `(rows, length)` int64, its position in its example.
        predicts: `(examples, answer length, 2)` int64, row and place of what predicts each answer token.
    """

    source: Tensor
    owner: Tensor
    positions: Tensor
    predicts: Tensor


def pack(prompt_mask: Tensor, rows: Tensor, answer_mask: Tensor) -> Packed:
    """Lay prompts with their answers into rows.

    Args:
        prompt_mask: `(prompts, prompt length)`, 1 for tokens.
        rows: `(examples,)` int64, the prompt of each example.
        answer_mask: `(examples, answer length)`, 1 for tokens, padded on the right.
    """
    num_prompts, width = prompt_mask.shape
    size = answer_mask.shape[1]
    heads = [mask.nonzero()[:, 0] + place * width for place, mask in enumerate(prompt_mask)]
    begin = num_prompts * width
    tails = [mask.nonzero()[:, 0] + begin + place * size for place, mask in enumerate(answer_mask)]
    examples = [torch.cat([heads[row], tail]) for row, tail in zip(rows.tolist(), tails, strict=True)]
    shared = fill_rows([len(example) for example in examples])
    length = max(len(example) for example in examples)
    padding = begin + answer_mask.numel()
    source = rows.new_full((len(shared), length), padding)
    owner, positions = torch.full_like(source, -1), torch.zeros_like(source)
    predicts = rows.new_zeros(len(examples), size, 2)
    for row, members in enumerate(shared):
        start = 0
        for member in members:
            tokens, head = examples[member], len(heads[int(rows[member])])
            place = slice(start, start + len(tokens))
            source[row, place], owner[row, place] = tokens, member
            positions[row, place] = torch.arange(len(tokens), device=rows.device)
            predicts[member, :, 0] = row
            # The prompt's last token predicts the first of the answer; past its end any place will do.
            ahead = start + head - 1 + torch.arange(size, device=rows.device)
            predicts[member, :, 1] = ahead.clamp(max=length - 1)
            start += len(tokens)
    return Packed(source, owner, positions, predicts)


def packed_attention(owner: Tensor) -> Tensor:
    """Return which position sees which, `(rows, length, length)` bool: its own example's, up to itself."""
    length = owner.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=owner.device).tril()
    same = owner[:, :, None] == owner[:, None]
    # Padding sees padding, for attention to nothing is not a number.
    return same & earlier


def packed_logits(
    llm: AudioLLM, prompts: Prompts, rows: Tensor, completion_ids: Tensor, completion_mask: Tensor
) -> Tensor:
    """Return what `completion_logits` returns, with several examples in a row."""
    inputs = prompts.for_model()
    packed = pack(inputs["attention_mask"], rows, completion_mask)
    seen = packed_attention(packed.owner)

    def lay(kwargs: dict[str, Any]) -> dict[str, Any]:
        # Inside the model's call, for what wraps it may hold the embeddings in parts.
        tails = llm.embed(completion_ids)  # (examples, answer length, width)
        heads = kwargs["inputs_embeds"].to(tails)
        tokens = torch.cat([heads.flatten(0, 1), tails.flatten(0, 1), tails.new_zeros(1, tails.shape[-1])])
        whole = tokens[packed.source]  # (rows, length, width)
        bias = torch.zeros(seen.shape, dtype=whole.dtype, device=whole.device)
        bias = bias.masked_fill(~seen, torch.finfo(whole.dtype).min)[:, None]
        return {"inputs_embeds": whole, "attention_mask": bias, "position_ids": packed.positions}

    def read(project: Project, hidden: Tensor) -> Tensor:
        row, place = packed.predicts.unbind(-1)
        return project(hidden[row, place])  # (examples, answer length, vocabulary)

    with reading_head(llm.head(), read), llm.taking_embeddings(), llm.giving(lay):
        return llm.model(**inputs, use_cache=False).logits
