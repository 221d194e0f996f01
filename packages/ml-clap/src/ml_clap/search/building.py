"""Build an approximate faiss index, and keep up with the vectors where it is.

Each file is written once and `state.json` last, so that a kill leaves what was there before. New vectors
become a new segment, which takes up the smaller ones; a vector that was taken out is passed over; a segment
of which half is gone is made again. Centres are learnt anew where there are four times as many vectors, or a
quarter, or few of those that they were learnt from. After each change the recall is measured again. No step
holds more in memory than `SEGMENT_BYTES` of codes, or of the sample.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ml_clap.files import write_json
from ml_clap.lock import sole_writer
from ml_clap.search.approximate import (
    STATE_FILE,
    ApproximateEngine,
    ApproximateState,
    SegmentState,
    most_effort,
    read_state,
)
from ml_clap.search.engine import TARGET_RECALL, recall_without_self
from ml_clap.search.segments import (
    LEAST_EFFORT,
    Kind,
    bytes_per_vector,
    read_trained,
    train,
    write_segment,
    write_trained,
)
from ml_clap.search.vectors import BLOCK_ROWS, match_hashes, search_exact, write_array

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 256 * 2**20
"""Size of a segment, which is in memory while it is made."""
DAMAGE = (OSError, RuntimeError, ValueError)
"""What NumPy and faiss raise where a file is missing or damaged."""
NUM_QUERIES = 100
"""Stored vectors that the recall is measured on."""
NUM_CHECKED = 16
"""Vectors of a segment that are compared with the index's when it is opened."""


def open_approximate(vectors: np.ndarray, folder: Path, name: str, kind: Kind) -> ApproximateEngine:
    """Bring the approximate index in a folder up to date, and open it.

    Args:
        vectors: (rows, dim) of the index, memory-mapped.
        folder: of the approximate index; made if it is not there.
        name: name of the vectors' file.
        kind: of the approximate index.

    Raises:
        BusyError: another process is building it.
        OSError, RuntimeError: the folder cannot be written to, and what is in it is not of these vectors.
    """
    state = read_state(folder)
    if state is not None and is_current(state, folder, vectors, name):
        with suppress(*DAMAGE):  # or another process replaces it just now
            return ApproximateEngine(folder, state, vectors)
    folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder, folder=True):
        state = _update(vectors, folder, name, kind)
        return ApproximateEngine(folder, state, vectors)


def is_current(state: ApproximateState, folder: Path, vectors: np.ndarray, name: str) -> bool:
    """Tell whether an approximate index holds just these vectors."""
    return (state.vectors, state.rows) == (name, len(vectors)) and _fits(state, folder, vectors)


def hash_rows(rows: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of each row: (rows,) uint64."""
    digests = (blake2b(row.tobytes(), digest_size=8).digest() for row in np.ascontiguousarray(rows))
    return np.frombuffer(b"".join(digests), np.uint64)


def _fits(state: ApproximateState, folder: Path, vectors: np.ndarray) -> bool:
    """Compare some of each segment's vectors with those that are there under their rows."""
    for one in state.segments:
        try:
            rows = np.load(folder / one.rows, mmap_mode="r")
            hashes = np.load(folder / one.hashes, mmap_mode="r")
        except (OSError, ValueError):
            return False
        some = np.linspace(0, len(rows) - 1, min(NUM_CHECKED, len(rows))).astype(int)
        some = some[rows[some] >= 0]
        if len(some) and rows[some].max() >= len(vectors):
            return False
        if not np.array_equal(hash_rows(vectors[rows[some]]), hashes[some]):
            return False
    return True


def _update(vectors: np.ndarray, folder: Path, name: str, kind: Kind) -> ApproximateState:
    """Make the approximate index hold these vectors, write it down, and return its state."""
    state = _read_whole(folder, vectors)
    if state is None or not 0.25 <= len(vectors) / state.trained_rows <= 4:
        state = _begin(vectors, folder, name, kind, 0 if state is None else state.last_number)
    elif state.vectors != name or state.rows > len(vectors) or not _fits(state, folder, vectors):
        state = _find_again(state, vectors, folder)
        if 4 * sum(one.num_live for one in state.segments) < len(vectors):  # another model's, as like as not
            state = _begin(vectors, folder, name, kind, state.last_number)
    state = _add(replace(state, vectors=name, rows=len(vectors)), vectors, folder)
    state = _tune(state, vectors, folder)
    write_json(folder / STATE_FILE, state)
    _remove_strays(state, folder)
    return state


def _read_whole(folder: Path, vectors: np.ndarray) -> ApproximateState | None:
    """Return what is in the folder, if all files of it are there and whole."""
    state = read_state(folder)
    try:
        if state is not None:
            ApproximateEngine(folder, state, vectors)
            for one in state.segments:
                if len(np.load(folder / one.hashes, mmap_mode="r")) != one.num_vectors:
                    raise ValueError(f"{folder / one.hashes} has another length")
    except DAMAGE as e:
        logger.warning("the faiss index in %s is built again: %s", folder, e)
        return None
    return state


def _begin(vectors: np.ndarray, folder: Path, name: str, kind: Kind, last_number: int) -> ApproximateState:
    logger.info("building the faiss index of %d vectors", len(vectors))
    trained = f"trained-{last_number + 1:06d}.index"
    write_trained(train(vectors, kind, SEGMENT_BYTES), folder / trained)
    return ApproximateState(
        kind=kind,
        vectors=name,
        rows=len(vectors),
        trained=trained,
        trained_rows=len(vectors),
        last_number=last_number + 1,
    )


def _find_again(state: ApproximateState, vectors: np.ndarray, folder: Path) -> ApproximateState:
    """Return a state whose segments have the rows that their vectors have now; some are gone."""
    new = np.concatenate(
        [hash_rows(vectors[first : first + BLOCK_ROWS]) for first in range(0, len(vectors), BLOCK_ROWS)]
    )
    old = [np.load(folder / one.hashes) for one in state.segments]
    places = match_hashes(np.concatenate(old), new)
    segments, number, first = [], state.last_number, 0
    for one in state.segments:
        rows, first = places[first : first + one.num_vectors], first + one.num_vectors
        number += 1
        removed = int((rows < 0).sum())
        changed = replace(one, rows=f"rows-{number:06d}.npy", num_removed=removed)
        write_array(folder / changed.rows, rows)
        segments.append(changed)
    gone = sum(one.num_removed for one in segments)
    logger.info("%d vectors of the faiss index are gone, and passed over", gone)
    return replace(state, segments=tuple(segments), last_number=number)


def _add(state: ApproximateState, vectors: np.ndarray, folder: Path) -> ApproximateState:
    """Return a state with further segments, of all rows that are in none."""
    most = max(1, SEGMENT_BYTES // bytes_per_vector(state.kind, vectors.shape[1]))
    missing = np.ones(len(vectors), bool)
    for one in state.segments:
        rows = np.load(folder / one.rows, mmap_mode="r")
        missing[rows[rows >= 0]] = False
    kept = _keep_segments(state.segments, int(missing.sum()), most)
    for one in set(state.segments) - set(kept):
        rows = np.load(folder / one.rows, mmap_mode="r")
        missing[rows[rows >= 0]] = True
    wanted = np.flatnonzero(missing)
    if not len(wanted):
        return replace(state, segments=tuple(kept))
    logger.info("adding %d vectors to the faiss index", len(wanted))
    trained = read_trained(folder / state.trained, is_mapped=False)
    number = state.last_number
    for rows in np.array_split(wanted, -(-len(wanted) // most)):
        number += 1
        made = SegmentState(
            segment=f"segment-{number:06d}.index",
            rows=f"rows-{number:06d}.npy",
            hashes=f"hashes-{number:06d}.npy",
            num_bytes=0,
            num_vectors=len(rows),
        )
        write_segment(trained, vectors, rows, folder / made.segment)
        made = replace(made, num_bytes=(folder / made.segment).stat().st_size)
        write_array(folder / made.rows, rows.astype(np.int64))
        hashes = [hash_rows(vectors[rows[at : at + BLOCK_ROWS]]) for at in range(0, len(rows), BLOCK_ROWS)]
        write_array(folder / made.hashes, np.concatenate(hashes))
        kept.append(made)
    return replace(state, segments=tuple(kept), last_number=number)


def _keep_segments(segments: Sequence[SegmentState], num_new: int, most: int) -> list[SegmentState]:
    """Return the segments that stay; the others are made again, together with what is new.

    Those are segments of which half is gone, and those no larger than what is added with them: so there are
    about as many as the logarithm of the additions, and a vector is added as often.
    """
    kept = []
    for one in sorted(segments, key=lambda one: one.num_live):
        if 2 * one.num_removed > one.num_vectors or (num_new and one.num_live <= min(num_new, most // 2)):
            num_new += one.num_live
        else:
            kept.append(one)
    return sorted(kept, key=lambda one: one.segment)


def _tune(state: ApproximateState, vectors: np.ndarray, folder: Path) -> ApproximateState:
    """Return a state whose effort is what the recall asks, doubled from the least, and that recall."""
    size = min(len(vectors), NUM_QUERIES)
    rows = np.sort(np.random.default_rng(0).choice(len(vectors), size, replace=False))
    queries = np.asarray(vectors[rows], np.float32)
    _, exact = search_exact(queries, vectors, 11)
    most = most_effort(state)
    effort = min(LEAST_EFFORT[state.kind], most)
    while True:
        state = replace(state, effort=effort, num_queries=size)
        _, found = ApproximateEngine(folder, state, vectors).search(queries, 11)
        recall = recall_without_self(found, exact, rows)
        if recall >= TARGET_RECALL or effort >= most:
            return replace(state, recall_at_10=recall)
        effort = min(2 * effort, most)


def _remove_strays(state: ApproximateState, folder: Path) -> None:
    """Delete the files of states before; a system that keeps open files from it keeps them a while."""
    current = {
        state.trained,
        *(name for one in state.segments for name in (one.segment, one.rows, one.hashes)),
    }
    for pattern in ("trained-*.index", "segment-*.index", "rows-*.npy", "hashes-*.npy"):
        for path in folder.glob(pattern):
            if path.name not in current:
                with suppress(PermissionError):
                    path.unlink()
    for before in ("index", "json"):  # one file and its description, until there were segments
        folder.with_suffix(f".{before}").unlink(missing_ok=True)
