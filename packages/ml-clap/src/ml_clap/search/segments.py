"""One file of an approximate faiss index: some of an index's vectors, as 8-bit codes, written once.

Two kinds: `ivf`, an inverted file (IVF,SQ8), of which a search reads the lists nearest to the query; and
`hnsw`, a graph (HNSW32,SQ8), whose links it follows. A file is read memory-mapped: what a search touches is
in the system's cache, which it gives up where memory is short.

The lists' centres and the ranges of the codes are learnt once, on a sample, and kept in a file of their own
(`trained`): the segments of an inverted file hold no centres, so that a thousand of them take no more memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from ml_clap.files import write_atomically
from ml_clap.search.vectors import BLOCK_ROWS

Kind = Literal["ivf", "hnsw"]

LINKS = 32
"""Neighbours of a vector in the graph; twice as many in its lowest layer."""
SAMPLES_PER_LIST = 64
"""Vectors that a list's centre is learnt from; faiss's k-means warns below 39."""
LEAST_EFFORT: dict[Kind, int] = {"ivf": 8, "hnsw": 32}
"""Lists looked at, or candidates kept while the graph is followed, before a recall asks for more."""
MOST_CANDIDATES = 4096
"""Candidates of a graph: beyond, a scan of all vectors is no slower."""


def choose_lists(rows: int) -> int:
    """Return how many lists so many vectors are put into: the power of two nearest the root of their number.

    >>> choose_lists(200_000), choose_lists(2_000_000)
    (512, 1024)
    """
    return 2 ** round(np.log2(np.sqrt(max(rows, 1))))


def bytes_per_vector(kind: Kind, dim: int) -> int:
    """Return what a vector takes in a segment: its code, and its number or its links."""
    return dim + (8 if kind == "ivf" else 4 * 2 * LINKS + 16)


def train(vectors: np.ndarray, kind: Kind, most_bytes: int) -> Any:
    """Learn centres and ranges from a sample; return faiss's index without vectors.

    Args:
        vectors: (rows, dim), may be memory-mapped.
        kind: of the index.
        most_bytes: memory of the sample; a centre is learnt from 39 vectors even where that takes more.
    """
    faiss = _faiss()
    rows, dim = vectors.shape
    num_lists = choose_lists(rows)
    name = f"IVF{num_lists},SQ8" if kind == "ivf" else f"HNSW{LINKS},SQ8"
    index: Any = faiss.index_factory(dim, name, faiss.METRIC_INNER_PRODUCT)
    most = max(most_bytes // (4 * dim), 39 * num_lists)
    size = min(rows, most, SAMPLES_PER_LIST * num_lists if kind == "ivf" else BLOCK_ROWS)
    sample = np.sort(np.random.default_rng(0).choice(rows, size, replace=False))
    index.train(np.asarray(vectors[sample], np.float32))
    return index


def write_trained(index: Any, path: Path) -> None:
    """Write what `train` learnt."""
    faiss = _faiss()
    write_atomically(path, lambda temporary: faiss.write_index(index, str(temporary)))


def read_trained(path: Path, *, is_mapped: bool) -> Any:
    """Return what `train` learnt; memory-mapped it cannot be added to: faiss would end the process."""
    faiss = _faiss()
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if is_mapped else 0)


def write_segment(trained: Any, vectors: np.ndarray, rows: np.ndarray, path: Path) -> None:
    """Write a segment of the given rows (rising) of the vectors; it is in memory while it is made."""
    faiss = _faiss()
    index = faiss.clone_index(trained)
    for first in range(0, len(rows), BLOCK_ROWS):
        index.add(np.asarray(vectors[rows[first : first + BLOCK_ROWS]], np.float32))
    if isinstance(index, faiss.IndexIVF):
        centres, index.quantizer, index.own_fields = index.quantizer, faiss.IndexFlatIP(index.d), False
    write_atomically(path, lambda temporary: faiss.write_index(index, str(temporary)))
    if isinstance(index, faiss.IndexIVF):
        index.quantizer, index.own_fields = centres, True  # it frees them


def _faiss() -> Any:
    """Return the library, whose own stubs lack half of it."""
    import faiss

    return faiss


class Segment:
    """A segment that is open for searching.

    Attributes:
        rows: (vectors,) int64: the row of each of its vectors in the index now, -1 where it was taken out.
    """

    def __init__(self, path: Path, trained: Any, rows: np.ndarray, *, has_removed: bool) -> None:
        faiss = _faiss()
        self.rows = rows
        self._trained = trained
        self._is_ivf = isinstance(trained, faiss.IndexIVF)
        flag = faiss.IO_FLAG_MMAP if self._is_ivf else faiss.IO_FLAG_MMAP_IFC
        self._index: Any = faiss.read_index(str(path), flag)
        if self._index.ntotal != len(rows):
            raise ValueError(f"{path} holds {self._index.ntotal:,} vectors, and {len(rows):,} are listed")
        self._present = self.mask(None) if has_removed else None

    def mask(self, allowed: np.ndarray | None) -> np.ndarray:
        """Return as bits which vectors a search may find: those of rows that are there and allowed."""
        there = self.rows >= 0
        if allowed is not None:
            there &= allowed[self.rows]  # -1 is the last row: its own flag has said no
        return np.packbits(there, bitorder="little")

    def search(
        self, queries: np.ndarray, k: int, effort: int, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores by the codes and rows (queries, k) of the best; -1 where fewer are found.

        Args:
            queries: (queries, dim) float32.
            k: how many.
            effort: lists looked at, or candidates kept while the graph is followed.
            mask: of `mask`; default: all that are there.
        """
        faiss = _faiss()
        bits = self._present if mask is None else mask
        # The bits must outlive the call: faiss keeps no copy.
        chosen = None if bits is None else faiss.IDSelectorBitmap(bits)
        if self._is_ivf:
            settings = faiss.SearchParametersIVF(sel=chosen, nprobe=effort)
            products, lists = self._trained.quantizer.search(queries, effort)
            scores = np.empty((len(queries), k), np.float32)
            found = np.empty((len(queries), k), np.int64)
            # By C++: the method for Python takes no settings. `search` would look for the lists in the
            # segment, which has no centres, and start 32 threads that read ahead: 1.3 ms of each query.
            arrays = (faiss.swig_ptr(one) for one in (lists, products, scores, found))
            self._index.search_preassigned_c(
                len(queries), faiss.swig_ptr(queries), k, *arrays, False, settings
            )
        else:
            settings = faiss.SearchParametersHNSW(sel=chosen, efSearch=max(effort, k))
            scores, found = self._index.search(queries, k, params=settings)
        return scores, np.where(found < 0, -1, self.rows[found])
