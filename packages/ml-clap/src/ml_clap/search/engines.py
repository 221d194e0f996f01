"""Nearest vectors by inner product: NumPy (exact, always there) or faiss (an extra).

Both return the same rows: faiss's flat index is exact as well. Above `FLAT_ROWS` vectors faiss uses an
inverted file with 8-bit codes (IVF,SQ8), a quarter of the size of float32 and many times faster, which may
miss some: how much of the exact answer it finds is measured when it is built, and said with every answer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.files import write_atomically, write_json
from ml_clap.search.vectors import BLOCK_ROWS, search_exact

logger = logging.getLogger(__name__)

FLAT_ROWS = 200_000
"""Number of vectors above which faiss searches approximately."""
TARGET_RECALL = 0.99
"""Share of the exact ten best that an approximate search should find; more lists are probed until it does."""


EngineName = Literal["numpy", "faiss", "auto", "lancedb"]


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


@dataclass(frozen=True)
class ApproximateState:
    """What an approximate index was built from, and how good it is."""

    vectors: str
    """Name of the vectors' file."""
    rows: int
    num_lists: int
    num_probes: int
    recall_at_10: float
    """Against the exact search, for stored vectors as queries (themselves not counted)."""
    num_queries: int
    """Queries the recall was measured on."""


class FaissEngine:
    """faiss: flat and exact in memory, or IVF,SQ8 kept in a file.

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

    @classmethod
    def approximate(cls, vectors: np.ndarray, path: Path, name: str) -> FaissEngine:
        """Make an IVF,SQ8 engine: read from `path` if that has the same vectors, else built and kept there.

        Args:
            vectors: (rows, dim).
            path: of the faiss file; its description goes beside it as JSON.
            name: name of the vectors' file, of which a changed index gets another.
        """
        import faiss

        state = _read_state(path)
        if state is None or (state.vectors, state.rows) != (name, len(vectors)):
            logger.info("building the faiss index of %d vectors", len(vectors))
            index, state = build_approximate(vectors, name)
            _write(index, state, path)
        else:
            index = faiss.read_index(str(path))
        index.nprobe = state.num_probes
        return cls(
            index,
            vectors,
            f"faiss IVF{state.num_lists},SQ8, approximate: recall@10 {state.recall_at_10:.3f} "
            f"on {state.num_queries} stored vectors",
        )

    def search(
        self, queries: np.ndarray, k: int, selection: Selection | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows of the best; an approximate search may find fewer: rows of -1 at the end."""
        if selection is not None:
            return search_exact(queries, self.vectors, k, among=selection.rows)
        return self.index.search(np.ascontiguousarray(queries, np.float32), min(k, self.index.ntotal))


def make_engine(engine: EngineName, vectors: np.ndarray, path: Path, name: str) -> Engine:
    """Return the engine asked for; `auto` is faiss where it is installed and pays, else numpy.

    Raises:
        ValueError: faiss is asked for and not installed.
    """
    installed = find_spec("faiss") is not None
    if engine == "faiss" and not installed:
        raise ValueError("--engine faiss needs faiss: install ml-clap[faiss], or use --engine numpy")
    if engine == "numpy" or (engine == "auto" and not (installed and len(vectors) > FLAT_ROWS)):
        return NumpyEngine(vectors)
    if len(vectors) <= FLAT_ROWS:
        return FaissEngine.flat(vectors)
    return FaissEngine.approximate(vectors, path, name)


def build_approximate(vectors: np.ndarray, name: str, num_queries: int = 100) -> tuple[Any, ApproximateState]:
    """Build an IVF,SQ8 index of (rows, dim) vectors that probes as many lists as `TARGET_RECALL` asks."""
    import faiss

    rows, dim = vectors.shape
    num_lists = 2 ** round(np.log2(np.sqrt(rows)))
    generator = np.random.default_rng(0)
    index: Any = faiss.index_factory(dim, f"IVF{num_lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    # 64 points a centre: the least with which faiss's k-means does not warn is 39.
    sample = np.sort(generator.choice(rows, min(rows, 64 * num_lists), replace=False))
    index.train(np.asarray(vectors[sample], np.float32))
    _add(index, vectors)
    queries = np.sort(generator.choice(rows, min(rows, num_queries), replace=False))
    recall = _tune_probes(index, vectors, queries, num_lists)
    return index, ApproximateState(name, rows, num_lists, index.nprobe, recall, len(queries))


def _tune_probes(index: Any, vectors: np.ndarray, rows: np.ndarray, num_lists: int) -> float:
    queries = np.asarray(vectors[rows], np.float32)
    _, exact = search_exact(queries, vectors, 11)
    index.nprobe = 8
    while True:
        _, found = index.search(queries, 11)
        recall = recall_without_self(found, exact, rows)
        if recall >= TARGET_RECALL or index.nprobe >= num_lists:
            return recall
        index.nprobe = min(2 * index.nprobe, num_lists)  # at num_lists it is exact but for the 8-bit codes


def recall_without_self(found: np.ndarray, exact: np.ndarray, rows: np.ndarray) -> float:
    """Return the share of the exact neighbors that were found, a query's own row not counted."""
    hits = total = 0
    for mine, theirs, row in zip(found, exact, rows, strict=True):
        wanted = set(theirs) - {row}
        hits += len(wanted & set(mine))
        total += len(wanted)
    return hits / total


def _add(index: Any, vectors: np.ndarray) -> None:
    for first in range(0, len(vectors), BLOCK_ROWS):
        index.add(np.asarray(vectors[first : first + BLOCK_ROWS], np.float32))


def _read_state(path: Path) -> ApproximateState | None:
    description = path.with_suffix(".json")
    if not (path.exists() and description.exists()):
        return None
    try:
        return ApproximateState(**read_object(description))
    except (ValueError, TypeError) as e:  # TypeError: other fields than it has
        logger.warning("the faiss index %s is built again: %s", path, e)
        return None


def _write(index: Any, state: ApproximateState, path: Path) -> None:
    """Write the index and, last, its description; a read-only archive is searched without."""
    import faiss

    description = path.with_suffix(".json")
    try:
        description.unlink(missing_ok=True)
        write_atomically(path, lambda temporary: faiss.write_index(index, str(temporary)))
        write_json(description, state)
    except (OSError, RuntimeError) as e:
        logger.warning("could not keep the faiss index in %s (%s): it is built again next time", path, e)
