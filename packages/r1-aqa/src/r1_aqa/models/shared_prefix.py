"""Places, positions and attention of rollouts that stand one behind the other after a single prompt.

A question about ten seconds of audio is some 300 tokens, an answer ten: a language model that reads a row of
prompt and rollouts reads the prompt once, not once for each rollout. A mask lets each rollout see the prompt
and itself, and its positions go on where the prompt ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Places of rollouts in the rows of their prompts.

    Attributes:
        slots: `(rollouts, 2)` the row of each rollout, and its place among the rollouts of this row.
        places: rollouts in a row; rows with fewer are filled up with masked ones.
    """

    slots: Tensor
    places: int


def lay_out(rows: Tensor) -> Layout:
    """Return places for rollouts whose prompts are `rows`, in their order."""
    count: dict[int, int] = {}
    slots = []
    for row in rows.tolist():
        slots.append((row, count.get(row, 0)))
        count[row] = count.get(row, 0) + 1
    return Layout(torch.tensor(slots, device=rows.device), max(count.values()))


def prefix_attention(prompt_mask: Tensor, tail_mask: Tensor) -> Tensor:
    """Return which position sees which: `(prompts, T, T)` bool for T = prompt length + places * length.

    Args:
        prompt_mask: `(prompts, prompt length)` bool, padded on the left.
        tail_mask: `(prompts, places, length)` bool, padded on the right.
    """
    _prompts, places, length = tail_mask.shape
    size = prompt_mask.shape[1]
    device = prompt_mask.device
    # The rollout that a position belongs to, -1 for the prompt.
    owner = torch.cat(
        [
            torch.full((size,), -1, device=device),
            torch.arange(places, device=device).repeat_interleave(length),
        ]
    )
    order = torch.arange(len(owner), device=device)
    # Causal, but a rollout sees its prompt and itself alone, never the rollouts packed before it.
    earlier = order[:, None] >= order[None]
    related = (owner[None] == -1) | (owner[:, None] == owner[None])
    valid = torch.cat([prompt_mask, tail_mask.flatten(1)], 1)
    seen = (earlier & related)[None] & valid[:, None]
    # A padded position sees itself, for attention to nothing is not a number.
    return seen | torch.eye(len(owner), dtype=torch.bool, device=device)[None]


def prefix_positions(prompt_mask: Tensor, tail_mask: Tensor) -> Tensor:
    """Return the position of each token, `(prompts, T)`: every rollout goes on where its prompt ends."""
    _prompts, places, length = tail_mask.shape
    head = (prompt_mask.long().cumsum(1) - 1).clamp(min=0)
    start = prompt_mask.long().sum(1)
    # The same positions for all rollouts of a prompt, as if each stood right behind it.
    tail = start[:, None] + torch.arange(length, device=prompt_mask.device).repeat(places)[None]
    return torch.cat([head, tail], 1)


def pack(tails: Tensor, prompts: int, layout: Layout) -> Tensor:
    """Return the rollouts of each prompt in its row, empty places 0: `(prompts, places, length, ...)`.

    Args:
        tails: `(rollouts, length, ...)`.
        prompts: rows.
        layout: where the rollouts go.
    """
    row, place = layout.slots.unbind(1)
    packed = tails.new_zeros(prompts, layout.places, *tails.shape[1:])
    return packed.index_put((row, place), tails)


def unpack(states: Tensor, layout: Layout) -> Tensor:
    """Return the states that predict each token of the rollouts, `(rollouts, length, width)`.

    Args:
        states: `(prompts, 1 + places * length, width)`, from the prompt's last position on.
        layout: where the rollouts are.
    """
    row, place = layout.slots.unbind(1)
    # The prompt's last position predicts the first token of every rollout, each token of a rollout its next.
    last, rest = states[:, :1], states[:, 1:].unflatten(1, (layout.places, -1))
    first = last[:, None].expand(-1, layout.places, -1, -1)
    return torch.cat([first, rest[:, :, :-1]], 2)[row, place]
