"""Log-probabilities of all rollouts of a question in one row: the prompt is read once, forward and backward.

A question about ten seconds of sound is some 300 tokens, an answer ten. In a batch of G rollouts the prompt
would go through the language model G times. Here a row holds the prompt and then its rollouts one after
another; a mask lets each rollout see the prompt and itself, and its positions go on where the prompt ends.
Logits and gradients are those of the rollouts one by one (`tests/models/test_shared_prefix.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from r1_aqa.models.audio_llm import Family, head_of, keep_last, language_model
from r1_aqa.models.log_probs import Prompts, embedding_of, pad_left, unwrap


@dataclass(frozen=True)
class Layout:
    """Where rollouts lie.

    Attributes:
        slots: `(rollouts, 2)` the row of each rollout, and its place among the rollouts of this row.
        places: rollouts in a row; rows with fewer are filled up with masked ones.
    """

    slots: Tensor
    places: int


def lay_out(rows: Tensor) -> Layout:
    """Places for rollouts whose prompts are `rows`, in their order."""
    count: dict[int, int] = {}
    slots = []
    for row in rows.tolist():
        slots.append((row, count.get(row, 0)))
        count[row] = count.get(row, 0) + 1
    return Layout(torch.tensor(slots, device=rows.device), max(count.values()))


def shared_prefix_logits(
    model: nn.Module,
    family: Family,
    prompts: Prompts,
    rows: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
) -> Tensor:
    """As `log_probs.completion_logits`, with each prompt read once: `(rollouts, length, vocabulary)`."""
    layout, length = lay_out(rows), completion_ids.shape[1]
    bare = unwrap(model)
    num_prompts = len(prompts.embeddings or prompts.inputs["input_ids"])  # type: ignore[index]
    row, place = layout.slots.unbind(1)
    tails = embedding_of(bare)(completion_ids)
    packed = tails.new_zeros(num_prompts, layout.places, length, tails.shape[-1])
    packed = packed.index_put((row, place), tails).flatten(1, 2)
    tail_mask = completion_mask.new_zeros(num_prompts, layout.places, length)
    tail_mask = tail_mask.index_put((row, place), completion_mask).bool()
    if prompts.embeddings is not None:
        merged, mask = pad_left(prompts.embeddings)
        inputs: dict[str, Any] = {"inputs_embeds": merged.to(tails), "attention_mask": mask}
    else:
        assert prompts.inputs is not None
        inputs = prompts.inputs
    count = layout.places * length
    with (
        keep_last(head_of(bare, family), count + 1),
        _append(language_model(bare, family), packed, inputs["attention_mask"].bool(), tail_mask),
    ):
        logits = model(**inputs, use_cache=False).logits
    last, rest = logits[:, -count - 1 : -count], logits[:, -count:].unflatten(1, (layout.places, length))
    first = last[:, None].expand(-1, layout.places, -1, -1)
    return torch.cat([first, rest[:, :, :-1]], 2)[row, place]


def prefix_attention(prompt_mask: Tensor, tail_mask: Tensor) -> Tensor:
    """What sees what: `(prompts, T, T)` bool for T = prompt length + places * length.

    Args:
        prompt_mask: `(prompts, prompt length)` bool, padded on the left.
        tail_mask: `(prompts, places, length)` bool, padded on the right.
    """
    _prompts, places, length = tail_mask.shape
    size = prompt_mask.shape[1]
    device = prompt_mask.device
    owner = torch.cat(
        [
            torch.full((size,), -1, device=device),
            torch.arange(places, device=device).repeat_interleave(length),
        ]
    )
    order = torch.arange(len(owner), device=device)
    earlier = order[:, None] >= order[None]
    related = (owner[None] == -1) | (owner[:, None] == owner[None])
    valid = torch.cat([prompt_mask, tail_mask.flatten(1)], 1)
    seen = (earlier & related)[None] & valid[:, None]
    # A padded position sees itself, for attention to nothing is not a number.
    return seen | torch.eye(len(owner), dtype=torch.bool, device=device)[None]


def prefix_positions(prompt_mask: Tensor, tail_mask: Tensor) -> Tensor:
    """Position of each token, `(prompts, T)`: every rollout goes on where its prompt ends."""
    _prompts, places, length = tail_mask.shape
    head = (prompt_mask.long().cumsum(1) - 1).clamp(min=0)
    start = prompt_mask.long().sum(1)
    tail = start[:, None] + torch.arange(length, device=prompt_mask.device).repeat(places)[None]
    return torch.cat([head, tail], 1)


@contextmanager
def _append(inner: nn.Module, packed: Tensor, prompt_mask: Tensor, tail_mask: Tensor) -> Iterator[None]:
    """Within it the language model is given each prompt with its rollouts."""
    seen, positions = prefix_attention(prompt_mask, tail_mask), prefix_positions(prompt_mask, tail_mask)

    def expand(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        merged = kwargs["inputs_embeds"]
        whole = torch.cat([merged, packed.to(merged)], 1)
        bias = torch.zeros(seen.shape, dtype=whole.dtype, device=whole.device)
        bias = bias.masked_fill(~seen, torch.finfo(whole.dtype).min)[:, None]
        return args, kwargs | {"inputs_embeds": whole, "attention_mask": bias, "position_ids": positions}

    handle = inner.register_forward_pre_hook(expand, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
