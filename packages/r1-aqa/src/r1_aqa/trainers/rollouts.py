"""Rollouts of a training: their groups as tensors, and a log of all of them.

The log is a folder of Parquet files that any data frame library reads. A part is written after each scoring
and never changed, so a kill loses at most the running one. Columns: step, question_id, prompt, choices,
answer, completion, completion_length, reward, advantage, and `reward.NAME` for each reward function.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from r1_aqa.files import write_atomically
from r1_aqa.trainers.rollout_groups import NO_ADVANTAGE

_PART = re.compile(r"step-(\d+)-(\d+)\.parquet")


def cut_at_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    """Return ids up to and including the first end token."""
    stop = next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[:stop]


def flat_groups(advantages: Tensor, group: int) -> Tensor:
    """Return which groups of `group` rollouts have no advantage to learn from: `(groups,)` bool."""
    return (advantages.view(-1, group).abs() < NO_ADVANTAGE).all(1)


def nothing_to_learn(advantages: Tensor, mask: Tensor) -> str:
    """Return why rollouts teach nothing, `equal_rewards` or `all_cut`; empty if they teach something.

    Args:
        advantages: `(rollouts,)`.
        mask: `(rollouts, length)`, 1 for tokens that count: none of a rollout that was cut and is ignored.
    """
    differs = advantages.abs() >= 1e-6  # see `flat_groups`
    if not differs.any():
        return "equal_rewards"
    return "" if (differs & mask.any(1)).any() else "all_cut"


def replace_groups(
    batch: dict[str, Any], groups: Tensor, found: dict[str, Any], size: int, pad_token_id: int
) -> dict[str, Any]:
    """Return `batch` with the groups of `found` in place of its own `groups`; more than these are left out.

    Args:
        batch: tensors whose first axis is rollouts.
        groups: `(n,)` int64, the groups to replace.
        found: the same tensors of at least n other groups, maybe of another length.
        size: rollouts of a group.
        pad_token_id: fills up ids; masks and log-probabilities are filled up with 0.
    """
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
            # Prompts are padded on the left, completions on the right.
            old, new = _same_width(old, new, left=name.startswith("prompt"), fill=fill)
        merged[name] = old.clone().index_copy(0, places.to(old.device), new.to(old.dtype))
    return merged


def scatter(parts: list[Tensor], live: Tensor, ids: Tensor) -> Tensor:
    """Return the values of the rows that were run in their places, zeros in the others: `(rows, length)`."""
    # Rows that were not run have no token that counts, so their zeros are never read.
    values = torch.cat(parts)
    return values.new_zeros(ids.shape).index_copy(0, live, values)


def _same_width(first: Tensor, second: Tensor, *, left: bool, fill: int) -> tuple[Tensor, Tensor]:
    width = max(first.shape[1], second.shape[1])

    def pad(value: Tensor) -> Tensor:
        missing = width - value.shape[1]
        return nn.functional.pad(value, (missing, 0) if left else (0, missing), value=fill)

    return pad(first), pad(second)


# -- the log --------------------------------------------------------------------------------------------


class RolloutLog:
    """Writes rollouts to a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def append(self, step: int, rows: Sequence[dict[str, Any]]) -> Path:
        """Write the rollouts of an update; more of the same update (resampled questions) go beside them."""
        # A part for each scoring: a Parquet file cannot be appended to.
        number = len(list(self.folder.glob(f"step-{step:06d}-*.parquet")))
        path = self.folder / f"step-{step:06d}-{number:02d}.parquet"
        memory = io.BytesIO()
        pq.write_table(_table([_flatten(step, row) for row in rows]), memory)
        write_atomically(path, memory.getvalue())
        return path

    def drop_after(self, step: int) -> None:
        """Remove what a killed run sampled after the checkpoint of this update."""
        for path, found in _parts(self.folder):
            if found > step:
                path.unlink()


def read_rollouts(folder: str | Path) -> list[dict[str, Any]]:
    """Return all rollouts of a training in their order.

    Raises:
        FileNotFoundError: the folder has none.
    """
    parts = _parts(Path(folder))
    if not parts:
        raise FileNotFoundError(f"{folder} has no rollouts (step-*.parquet); give the folder of a training")
    return [row for path, _ in parts for row in pq.read_table(path).to_pylist()]


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as a table whose types are those of every other part."""
    table = pa.Table.from_pylist(rows)
    for place, field in enumerate(table.schema):
        # A reward that applies to no rollout of this part would have a type of its own.
        if pa.types.is_null(field.type) and field.name.startswith("reward."):
            table = table.set_column(place, field.name, table[field.name].cast(pa.float64()))
    return table


def _flatten(step: int, row: dict[str, Any]) -> dict[str, Any]:
    rewards = {f"reward.{name}": value for name, value in row["rewards"].items()}
    return {"step": step} | {name: value for name, value in row.items() if name != "rewards"} | rewards


def _parts(folder: Path) -> list[tuple[Path, int]]:
    found = [(path, _PART.fullmatch(path.name)) for path in sorted(folder.glob("step-*.parquet"))]
    return [(path, int(match[1])) for path, match in found if match]
