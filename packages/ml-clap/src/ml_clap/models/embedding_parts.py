"""Parts of a bulk job that hold embeddings: Parquet with a list of vectors in each row, `vectors`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ml_clap.bulk.places import open_read


def read_rows(part: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return some columns of a part, without its vectors.

    Raises:
        ValueError: the part is damaged.
    """
    rows: list[dict[str, Any]] = _read(part, columns).to_pylist()
    return rows


def read_vectors(part: str) -> list[np.ndarray]:
    """Return for each row of a part its vectors, `(vectors, dim)` float32; `(0, 0)` where it has none."""
    column = _read(part, ("vectors",)).column("vectors").combine_chunks()
    counts = column.value_lengths().to_numpy(zero_copy_only=False)
    vectors = column.flatten()
    if not len(vectors):
        return [np.empty((0, 0), np.float32)] * len(counts)
    flat = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return np.split(flat.reshape(len(vectors), -1), np.cumsum(counts)[:-1])


def _read(part: str, columns: Sequence[str]) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        with open_read(part) as file:
            return pyarrow.parquet.read_table(file, columns=list(columns))
    except pyarrow.ArrowException as error:
        raise ValueError(
            f"{part} is damaged: {error}; remove it, and the same command makes it again"
        ) from error
