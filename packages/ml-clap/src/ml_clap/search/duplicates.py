"""Hits that are the same sound, collapsed into one.

Two clips are duplicates when their files have the same content, or when the embeddings of the windows that
were found have a cosine of at least a limit: copies in another format, cut or loudness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ml_clap.search.vectors import BLOCK_ROWS, inner_products


def pick_distinct(
    rows: Sequence[int], vectors: np.ndarray, limit: float, content: Callable[[int], object], most: int
) -> list[int]:
    """Return the places of rows that are no duplicate of one before them.

    Args:
        rows: row numbers, best first.
        vectors: all rows, (rows, dim), L2-normalized.
        limit: cosine from which two are duplicates.
        content: a row's content: rows with an equal one are duplicates.
        most: stop at so many.
    """
    kept: list[int] = []
    own = np.empty((most, vectors.shape[1]), np.float32)
    seen: set[object] = set()
    for place, row in enumerate(rows):
        vector, key = np.asarray(vectors[row], np.float32), content(row)
        if key in seen or (own[: len(kept)] @ vector >= limit).any():
            continue
        own[len(kept)] = vector
        kept.append(place)
        seen.add(key)
        if len(kept) == most:
            break
    return kept


def find_near(rows: Sequence[int], vectors: np.ndarray, limit: float) -> list[np.ndarray]:
    """Return for each of some rows the rows whose cosine with it is at least `limit`, itself among them."""
    own = np.asarray(vectors[list(rows)], np.float32)
    near: list[list[np.ndarray]] = [[] for _ in rows]
    for first in range(0, len(vectors), BLOCK_ROWS):
        cosines = inner_products(own, vectors[first : first + BLOCK_ROWS])
        for found, scores in zip(near, cosines, strict=True):
            found.append(first + np.flatnonzero(scores >= limit))
    return [np.concatenate(found) for found in near]
