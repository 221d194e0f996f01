"""What an engine is: it finds the best rows of some vectors; and how good an approximate one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

FLAT_ROWS = 200_000
"""Number of vectors above which faiss searches approximately."""
TARGET_RECALL = 0.99
"""Share of the exact ten best that an approximate search should find; more lists are probed until it does."""


@dataclass(frozen=True)
class Selection:
    """The rows that a search may return."""

    rows: np.ndarray
    """Their numbers (int64, rising)."""
    sql: str
    """The same as a condition of SQL on the table's columns, see `Filter.sql`."""


class Engine(Protocol):
    """Finds the best rows of the vectors that it was made from."""

    description: str
    """What it is and how exact."""

    def search(
        self, queries: np.ndarray, k: int, selection: Selection | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows (queries, k) of the best, best first; see `vectors.search_exact`."""


def recall_without_self(found: np.ndarray, exact: np.ndarray, rows: np.ndarray) -> float:
    """Return the share of the exact neighbors that were found, a query's own row not counted."""
    hits = total = 0
    for mine, theirs, row in zip(found, exact, rows, strict=True):
        wanted = set(theirs) - {row}
        hits += len(wanted & set(mine))
        total += len(wanted)
    return hits / total
