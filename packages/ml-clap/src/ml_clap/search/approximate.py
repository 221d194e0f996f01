"""The approximate faiss index of an index's vectors, memory-mapped, with exact scores.

A folder `faiss-ivf` or `faiss-hnsw` in the index:
- `state.json`: what is in it, and how much of the exact answer it finds (`ApproximateState`);
- `trained-N.index`: centres and code ranges, learnt once on a sample;
- `segment-N.index`: some of the vectors as 8-bit codes (`segments.py`);
- `rows-N.npy`: which row of the vectors each of a segment's is now, -1 where it was taken out;
- `hashes-N.npy`: what each of them was, by which it is found again in another generation of the vectors.

`building.py` makes these and keeps up with the vectors. What a search finds by the codes it ranks again by
the vectors themselves, reading those alone: scores are exact, and some of the best hits may be missing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.search.engine import FLAT_ROWS, Selection
from ml_clap.search.segments import MOST_CANDIDATES, Kind, Segment, choose_lists, read_trained
from ml_clap.search.vectors import search_exact, top_columns

logger = logging.getLogger(__name__)

REFINED = 4
"""Candidates by the codes that are ranked again by the vectors, for each hit that is asked for."""
STATE_FILE = "state.json"


@dataclass(frozen=True, kw_only=True)
class SegmentState:
    """A segment's files and size."""

    segment: str
    rows: str
    hashes: str
    num_bytes: int
    """Of the segment's file: reading a mapped file that was cut off would end the process."""
    num_vectors: int
    num_removed: int = 0

    @property
    def num_live(self) -> int:
        """Vectors that a search can find."""
        return self.num_vectors - self.num_removed


@dataclass(frozen=True, kw_only=True)
class ApproximateState:
    """What an approximate index holds, and how good it is: `state.json`."""

    kind: Kind
    vectors: str
    """Name of the vectors' file, which another generation of the index has another of."""
    rows: int
    """Vectors of that file, all of which are in."""
    trained: str
    trained_rows: int
    """Vectors that there were when the centres were learnt."""
    segments: tuple[SegmentState, ...] = ()
    last_number: int = 0
    """Of the files."""
    effort: int = 0
    """Lists looked at (`ivf`), or candidates kept while the graph is followed (`hnsw`)."""
    recall_at_10: float = 0.0
    """Against the exact search, for stored vectors as queries (themselves not counted)."""
    num_queries: int = 0

    def describe(self) -> str:
        """Say what it is and how exact."""
        name = f"IVF{choose_lists(self.trained_rows)},SQ8" if self.kind == "ivf" else "HNSW32,SQ8"
        return (
            f"faiss {name}, approximate: recall@10 {self.recall_at_10:.3f} on {self.num_queries} "
            "stored vectors"
        )


class ApproximateEngine:
    """Searches an approximate index, and ranks what it finds by the vectors themselves.

    Args:
        folder: of the approximate index.
        state: what `state.json` says.
        vectors: (rows, dim) of the index, memory-mapped.

    Raises:
        FileNotFoundError, RuntimeError, ValueError: a file is not there, or damaged.
    """

    def __init__(self, folder: Path, state: ApproximateState, vectors: np.ndarray) -> None:
        for one in state.segments:
            if (folder / one.segment).stat().st_size != one.num_bytes:
                raise ValueError(f"{folder / one.segment} is cut off")
        self.state = state
        self.vectors = vectors
        self.description = state.describe()
        self._trained = read_trained(folder / state.trained, is_mapped=True)
        self._segments = [
            Segment(
                folder / one.segment,
                self._trained,
                np.load(folder / one.rows, mmap_mode="r"),
                has_removed=one.num_removed > 0,
            )
            for one in state.segments
        ]
        self._masks: tuple[Selection, list[np.ndarray]] | None = None

    def search(
        self, queries: np.ndarray, k: int, selection: Selection | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows of the best; rows of -1 at the end where fewer are found.

        A selection of up to `FLAT_ROWS` rows is searched exactly. In a larger one more lists are looked at:
        as many times more as it is smaller than the whole.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if selection is not None and len(selection.rows) <= FLAT_ROWS:
            return search_exact(queries, self.vectors, k, among=selection.rows)
        k = min(k, len(self.vectors))
        effort = self._effort(selection)
        found = [
            segment.search(queries, min(REFINED * k, len(segment.rows)), effort, mask)
            for segment, mask in zip(self._segments, self._masks_of(selection), strict=True)
        ]
        scores = np.concatenate([one for one, _ in found], axis=1)
        rows = np.concatenate([one for _, one in found], axis=1)
        scores[rows < 0] = -np.inf
        best = top_columns(scores, REFINED * k)
        return rank_exactly(queries, np.take_along_axis(rows, best, 1), self.vectors, k)

    def _effort(self, selection: Selection | None) -> int:
        share = 1.0 if selection is None else len(selection.rows) / max(len(self.vectors), 1)
        return min(int(np.ceil(self.state.effort / share)), most_effort(self.state))

    def _masks_of(self, selection: Selection | None) -> Sequence[np.ndarray | None]:
        """Return each segment's mask; that of the last selection is kept, for a search asks several times."""
        if selection is None:
            return [None] * len(self._segments)
        known = self._masks  # another thread may replace it
        if known is None or known[0] is not selection:
            allowed = np.zeros(len(self.vectors), bool)
            allowed[selection.rows] = True
            self._masks = known = selection, [segment.mask(allowed) for segment in self._segments]
        return known[1]


def most_effort(state: ApproximateState) -> int:
    """Return how many lists there are, or how many candidates are worth while."""
    return choose_lists(state.trained_rows) if state.kind == "ivf" else MOST_CANDIDATES


def rank_exactly(
    queries: np.ndarray, rows: np.ndarray, vectors: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k candidates of highest inner product with each query, and their scores.

    Args:
        queries: (queries, dim) float32.
        rows: (queries, candidates) int64; -1 is none.
        vectors: (rows, dim), may be memory-mapped: the candidates' alone are read.
        k: how many.

    Returns:
        scores (queries, k) float32 in falling order, and rows (queries, k); -inf and -1 where there are
        fewer.
    """
    best_scores = np.full((len(queries), k), -np.inf, np.float32)
    best_rows = np.full((len(queries), k), -1, np.int64)
    for number, (query, some) in enumerate(zip(queries, rows, strict=True)):
        candidates = np.sort(some[some >= 0])
        products = np.asarray(vectors[candidates], np.float32) @ query
        order = np.argsort(-products, kind="stable")[:k]
        best_scores[number, : len(order)] = products[order]
        best_rows[number, : len(order)] = candidates[order]
    return best_scores, best_rows


def read_state(folder: Path) -> ApproximateState | None:
    """Return what an approximate index holds; None where there is none, or one that cannot be read."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        found = read_object(path)
        found["segments"] = tuple(SegmentState(**one) for one in found["segments"])
        return ApproximateState(**found)
    except (ValueError, TypeError, KeyError) as e:  # TypeError: other fields than it has
        logger.warning("the faiss index in %s is built again: %s", folder, e)
        return None
