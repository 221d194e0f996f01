"""Every rollout of a training with its rewards, as Parquet files that any data frame library reads.

A part is written after each scoring and never changed, so a kill loses at most the running one. Columns:
step, question_id, prompt, choices, answer, completion, completion_length, reward, advantage, and
`reward.NAME` for each reward function.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_PART = re.compile(r"step-(\d+)-(\d+)\.parquet")


class RolloutLog:
    """Writes rollouts to a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def append(self, step: int, rows: Sequence[dict[str, Any]]) -> Path:
        """Write the rollouts of an update; more of the same update (resampled questions) go beside them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = sum(1 for each in self.folder.glob(f"step-{step:06d}-*.parquet"))
        path = self.folder / f"step-{step:06d}-{number:02d}.parquet"
        partial = path.with_suffix(".partial")
        pq.write_table(pa.Table.from_pylist([_flatten(step, row) for row in rows]), partial)
        partial.replace(path)
        return path

    def drop_after(self, step: int) -> None:
        """Forget what a killed run sampled after the checkpoint of this update."""
        for path, found in _parts(self.folder):
            if found > step:
                path.unlink()


def read_rollouts(folder: str | Path) -> list[dict[str, Any]]:
    """All rollouts of a training in their order.

    Raises:
        FileNotFoundError: the folder has none.
    """
    parts = _parts(Path(folder))
    if not parts:
        raise FileNotFoundError(f"{folder} has no rollouts (step-*.parquet); give OUT/rollouts of a training")
    return [row for path, _ in parts for row in pq.read_table(path).to_pylist()]


def _flatten(step: int, row: dict[str, Any]) -> dict[str, Any]:
    rewards = {f"reward.{name}": value for name, value in row["rewards"].items()}
    return {"step": step} | {name: value for name, value in row.items() if name != "rewards"} | rewards


def _parts(folder: Path) -> list[tuple[Path, int]]:
    found = [(path, _PART.fullmatch(path.name)) for path in sorted(folder.glob("step-*.parquet"))]
    return [(path, int(match[1])) for path, match in found if match]
