"""Groups of rollouts as tensors: which differ, which are replaced, where they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def cut_at_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    """Ids up to and with the first end token."""
    stop = next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[:stop]


def flat_groups(advantages: Tensor, group: int) -> Tensor:
    """Which groups have no advantage to learn from: `(groups,)` bool."""
    return (advantages.view(-1, group).abs() < 1e-6).all(1)


def replace_groups(
    batch: dict[str, Any], groups: Tensor, found: dict[str, Any], size: int, pad_token_id: int
) -> dict[str, Any]:
    """`batch` with `found`'s groups in place of its own `groups`; what is found beyond them is left out."""
    if not len(groups):
        return batch
    places = (groups[:, None] * size + torch.arange(size, device=groups.device)).flatten()
    merged = dict(batch)
    for name, value in batch.items():
        if not isinstance(value, Tensor) or value.dim() == 0:
            continue
        old, new = value, found[name][: len(places)]
        if value.dim() == 2:
            fill = pad_token_id if name.endswith("_ids") else 0
            old, new = _same_width(old, new, left=name.startswith("prompt"), fill=fill)
        merged[name] = old.clone().index_copy(0, places.to(old.device), new.to(old.dtype))
    return merged


def _same_width(first: Tensor, second: Tensor, *, left: bool, fill: int) -> tuple[Tensor, Tensor]:
    width = max(first.shape[1], second.shape[1])
    padded = [
        nn.functional.pad(
            each, (width - each.shape[1], 0) if left else (0, width - each.shape[1]), value=fill
        )
        for each in (first, second)
    ]
    return padded[0], padded[1]


def scatter(parts: list[Tensor], live: Tensor, ids: Tensor) -> Tensor:
    """Values of the rows that were run in their places, zeros in the others: `(rows, length)`."""
    values = torch.cat(parts)
    return values.new_zeros(ids.shape).index_copy(0, live, values)
