"""Nearest vectors by inner product: NumPy (exact, always there) or faiss (an extra).

Both return the same rows: faiss's flat index is exact as well. Above `FLAT_ROWS` vectors faiss uses an
inverted file or, by the name `hnsw`, a graph, of 8-bit codes, memory-mapped and many times faster, which may
miss some: how much of the exact answer it finds is measured when it is built, and said with every answer
(`approximate.py`).
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from ml_clap.search.engine import FLAT_ROWS, Engine, Selection
from ml_clap.search.vectors import BLOCK_ROWS, search_exact

logger = logging.getLogger(__name__)

EngineName = Literal["numpy", "faiss", "hnsw", "auto", "lancedb"]


class NumpyEngine:
    """Exact search straight from the memory-mapped vectors."""

    description = "numpy, exact"

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def search(
        self, queries: np.ndarray, k: int, selection: Selection | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search exactly, see `vectors.search_exact`."""
        return search_exact(queries, self.vectors, k, among=None if selection is None else selection.rows)


class FaissEngine:
    """faiss's flat index: exact, in memory.

    A search among some of the rows is exact: it multiplies with those alone.
    """

    def __init__(self, index: Any, vectors: np.ndarray, description: str) -> None:
        self.index = index
        self.vectors = vectors
        self.description = description

    @classmethod
    def flat(cls, vectors: np.ndarray) -> FaissEngine:
        """Make an exact engine; it holds all vectors in memory as float32."""
        import faiss

        index = faiss.IndexFlatIP(vectors.shape[1])
        _add(index, vectors)
        return cls(index, vectors, "faiss Flat, exact")

    def search(
        self, queries: np.ndarray, k: int, selection: Selection | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search exactly, see `vectors.search_exact`."""
        if selection is not None:
            return search_exact(queries, self.vectors, k, among=selection.rows)
        return self.index.search(np.ascontiguousarray(queries, np.float32), min(k, self.index.ntotal))


def make_engine(engine: EngineName, vectors: np.ndarray, folder: Path, name: str) -> Engine:
    """Return the engine asked for; `auto` is faiss where it is installed and pays, else numpy.

    Args:
        engine: its name.
        vectors: (rows, dim) of an index, memory-mapped.
        folder: of the index, in which an approximate index is kept.
        name: name of the vectors' file, of which a changed index has another.

    Raises:
        ValueError: faiss is asked for and not installed.
    """
    installed = find_spec("faiss") is not None
    if engine in ("faiss", "hnsw") and not installed:
        raise ValueError(f"--engine {engine} needs faiss: install ml-clap[faiss], or use --engine numpy")
    if engine == "numpy" or (engine == "auto" and not (installed and len(vectors) > FLAT_ROWS)):
        return NumpyEngine(vectors)
    if len(vectors) <= FLAT_ROWS:
        return FaissEngine.flat(vectors)
    from ml_clap.search.building import open_approximate

    kind: Literal["ivf", "hnsw"] = "hnsw" if engine == "hnsw" else "ivf"
    place = folder / f"faiss-{kind}"
    try:
        return open_approximate(vectors, place, name, kind)
    except (OSError, RuntimeError) as e:  # a read-only archive is searched all the same
        logger.warning("could not keep the faiss index in %s (%s): it is built again next time", place, e)
    with TemporaryDirectory() as temporary:
        return open_approximate(vectors, Path(temporary), name, kind)


def _add(index: Any, vectors: np.ndarray) -> None:
    for first in range(0, len(vectors), BLOCK_ROWS):
        index.add(np.asarray(vectors[first : first + BLOCK_ROWS], np.float32))
