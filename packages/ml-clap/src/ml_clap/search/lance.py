"""A copy of an index in LanceDB, for archives on an object store or in other programs.

The open format stays the source: the copy follows it when it is searched or the index is updated. What is
new is appended, what was taken out is deleted, a clip of which the manifest says other things now is both,
and the rest stays where it is. LanceDB keeps each step as a version, which its own library can open. What the
copy was made of is noted in the index: `lance.json` with the copy's version, `lance-hashes.npy` (a hash of
each row's record and window, by which it is found again) and `lance-rows.npy` (which window of the index it
is now, -1 where it was deleted). A table that somebody else has changed is written anew, as is one of which
less than half stays, and one that is not an index of this model is left alone, with an error.

Up to `FLAT_ROWS` windows, or of a filter, LanceDB compares the query with every vector. Above, it uses an
inverted file of 8-bit codes, with as many of its lists looked at as the recall asks, and what it finds is
ranked again by the open format's vectors; both is said with every answer.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from hashlib import blake2b
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.files import write_json
from ml_clap.lock import sole_writer
from ml_clap.search.engine import FLAT_ROWS, TARGET_RECALL, Selection, recall_without_self
from ml_clap.search.store import AudioIndexError
from ml_clap.search.table import table_batches, table_schema
from ml_clap.search.vectors import match_hashes, search_exact, write_array

if TYPE_CHECKING:
    from ml_clap.search.audio_index import AudioIndex

logger = logging.getLogger(__name__)

TABLE = "windows"
STATE_FILE = "lance.json"
HASHES_FILE = "lance-hashes.npy"
ROWS_FILE = "lance-rows.npy"
FINGERPRINT = b"ml_clap.fingerprint"
DELETED_AT_ONCE = 10_000
"""Rows that one condition of SQL names."""


@dataclass(frozen=True, kw_only=True)
class LanceState:
    """What a LanceDB copy was made of, and how good it is: `lance.json` in the index."""

    place: str
    """Folder or URL."""
    version: int
    """The table's, when it was written."""
    generation: int
    rows: int
    entries: str
    """Digest of the clips' records that the rows are of."""
    num_entries: int
    num_lists: int = 0
    """Of the inverted file; 0: every vector is compared."""
    num_probes: int = 0
    recall_at_10: float = 1.0
    """Against the exact search, for stored vectors as queries (themselves not counted)."""
    num_queries: int = 0

    def describe(self) -> str:
        """Say what it is and how exact."""
        how = "exact"
        if self.num_lists:
            how = (
                f"IVF{self.num_lists},SQ8, approximate: recall@10 {self.recall_at_10:.3f} on "
                f"{self.num_queries} stored vectors"
            )
        return f"lancedb, {how}, version {self.version}"


class LanceEngine:
    """Searches a LanceDB table.

    Attributes:
        table: LanceDB's.
        state: what the table is.
        rows: by the table's `row`, the number of the window in the index now.
        description: what it is and how exact.
    """

    def __init__(self, table: Any, vectors: np.ndarray, state: LanceState, rows: np.ndarray) -> None:
        self.table = table
        self.vectors = vectors
        self.state = state
        self.rows = rows
        self.description = state.describe()

    def search(
        self, queries: np.ndarray, k: int, selection: Selection | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows of the best; rows of -1 at the end where fewer are found.

        A filter is LanceDB's to apply, before it ranks. Of up to `FLAT_ROWS` rows that are left it looks at
        each, and the search is exact; of more at as many times more lists as they are fewer than all.
        """
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        for number, query in enumerate(np.asarray(queries, np.float32)):
            found = self._find(query, k, selection)
            # Scores of the open format's vectors: its codes and its arithmetic of float16 are coarser.
            products = np.asarray(self.vectors[found], np.float32) @ query
            order = np.lexsort((found, -products))
            scores[number, : len(found)], rows[number, : len(found)] = products[order], found[order]
        return scores, rows

    def _find(self, query: np.ndarray, k: int, selection: Selection | None) -> np.ndarray:
        """Return the rows of the best, in any order."""
        asked = self.table.search(query, vector_column_name="vector")
        asked = asked.distance_type("dot").select(["row", "_distance"]).limit(k)
        if selection is not None:
            asked = asked.where(selection.sql, prefilter=True)
        if selection is not None and len(selection.rows) <= FLAT_ROWS:
            asked = asked.bypass_vector_index()
        elif self.state.num_lists:
            share = 1.0 if selection is None else len(selection.rows) / self.state.rows
            probes = min(int(np.ceil(self.state.num_probes / share)), self.state.num_lists)
            # The codes are of 8 bits: four times as many are ranked again by the vectors themselves.
            asked = asked.nprobes(probes).refine_factor(4)
        return self.rows[np.asarray(asked.to_arrow()["row"].to_numpy())]


def mirror(index: AudioIndex, place: str | None = None, *, flat_rows: int = FLAT_ROWS) -> LanceEngine:
    """Bring the LanceDB copy of an index up to date; the index's engine `lancedb` then searches it.

    Args:
        index: the open format.
        place: folder or URL (`s3://bucket/path`); default: where the last copy is, else `lance` in the index.
        flat_rows: above so many windows the search is approximate.

    Raises:
        AudioIndexError: another table of that name is there.
        ValueError: LanceDB is not installed.
    """
    if find_spec("lancedb") is None or find_spec("pyarrow") is None:
        raise ValueError("--engine lancedb needs LanceDB: install ml-clap[lancedb], or use --engine numpy")
    import lancedb

    path = index.folder / STATE_FILE
    known = read_lance_state(index.folder)
    where = place or (known.place if known is not None else str((index.folder / "lance").absolute()))
    if "://" not in where:
        where = str(Path(where).absolute())
    database = lancedb.connect(where)
    state = known if known is not None and known.place == where else None
    table = database.open_table(TABLE) if TABLE in _table_names(database) else None
    if table is not None and (table.schema.metadata or {}).get(FINGERPRINT) is None:
        raise AudioIndexError(f"{where} holds a table {TABLE} that is no index: give another place")
    made_by = None if table is None else table.schema.metadata[FINGERPRINT].decode()
    if made_by is not None and made_by != index.settings.fingerprint:
        raise AudioIndexError(f"{where} is the copy of an index of another model: give another place")
    rows = None if state is None else _read_array(index.folder / ROWS_FILE)
    if state is None or rows is None or not _is_current(index, table, state):
        with sole_writer(path):
            table, state, rows = _follow(index, database, table, state, where, flat_rows)
            write_json(path, state)
    index.engines["lancedb"] = engine = LanceEngine(table, index.vectors, state, rows)
    return engine


def _is_own(index: AudioIndex, table: Any, state: LanceState) -> bool:
    """Tell whether a table is as this index has left it."""
    return (
        table is not None
        and (state.version, state.rows) == (table.version, table.count_rows())
        and table.schema.equals(table_schema(index))
    )


def _is_current(index: AudioIndex, table: Any, state: LanceState) -> bool:
    """Tell whether a table holds an index's windows as they are now."""
    return (
        _is_own(index, table, state)
        and state.generation == index.settings.generation
        and (state.rows, state.num_entries) == (index.num_windows, len(index.entries))
        and state.entries == _digest(index, state.num_entries)
    )


def _follow(
    index: AudioIndex, database: Any, table: Any, state: LanceState | None, where: str, flat_rows: int
) -> tuple[Any, LanceState, np.ndarray]:
    """Return the table, made like the index, its state, and which window each of its rows is."""
    new, num_lists = hash_windows(index), 0
    hashes, rows = (_read_array(index.folder / name) for name in (HASHES_FILE, ROWS_FILE))
    is_own = state is not None and hashes is not None and rows is not None and _is_own(index, table, state)
    live = np.flatnonzero(rows >= 0) if is_own and rows is not None else np.empty(0, np.int64)
    places = match_hashes(hashes[live], new) if len(live) and hashes is not None else live
    if 2 * np.count_nonzero(places >= 0) < len(new) or state is None or hashes is None or rows is None:
        logger.info("copying %d windows to LanceDB in %s", index.num_windows, where)
        # One transaction: a kill leaves the version before.
        mode = "create" if table is None else "overwrite"
        table = database.create_table(TABLE, table_batches(index), schema=table_schema(index), mode=mode)
        hashes, rows = new, np.arange(len(new))
    else:
        num_lists = state.num_lists
        rows[live] = places
        gone = live[places < 0]
        missing = np.setdiff1d(np.arange(len(new)), rows)
        logger.info("adding %d windows to LanceDB in %s, deleting %d", len(missing), where, len(gone))
        for first in range(0, len(gone), DELETED_AT_ONCE):
            table.delete(f"row IN ({', '.join(map(str, gone[first : first + DELETED_AT_ONCE].tolist()))})")
        if len(missing):
            table.add(table_batches(index, missing, len(rows)))
        hashes, rows = np.concatenate([hashes, new[missing]]), np.concatenate([rows, missing])
        if num_lists:
            table.optimize()  # puts what is new into the inverted file
    write_array(index.folder / HASHES_FILE, hashes)
    write_array(index.folder / ROWS_FILE, rows)
    made = LanceState(
        place=where,
        version=table.version,
        generation=index.settings.generation,
        rows=index.num_windows,
        entries=_digest(index, len(index.entries)),
        num_entries=len(index.entries),
        num_lists=num_lists,
    )
    return table, _tune(index, table, made, rows) if index.num_windows > flat_rows else made, rows


def hash_windows(index: AudioIndex) -> np.ndarray:
    """Return a 64-bit hash of each window's clip, as its record is, and of its times: (windows,) uint64."""
    hashes, number, line = [], -1, b""
    for entry, start, end in index.spans.tolist():
        if entry != number:  # the windows of a clip follow one another
            number, line = entry, index.lines[entry]
        hashes.append(blake2b(line + f" {start} {end}".encode(), digest_size=8).digest())
    return np.frombuffer(b"".join(hashes), np.uint64)


def _tune(
    index: AudioIndex, table: Any, state: LanceState, rows_of: np.ndarray, num_queries: int = 100
) -> LanceState:
    """Build the inverted file if there is none; look at as many of its lists as the recall asks."""
    num_lists = state.num_lists or 2 ** round(np.log2(np.sqrt(state.rows)))
    if not state.num_lists:
        table.create_index(metric="dot", num_partitions=num_lists, index_type="IVF_SQ")
    picked = np.random.default_rng(0).choice(state.rows, min(state.rows, num_queries), replace=False)
    rows = np.sort(picked)
    queries = np.asarray(index.vectors[rows], np.float32)
    _, exact = search_exact(queries, index.vectors, 11)
    probes = min(8, num_lists)
    while True:
        state = replace(state, num_lists=num_lists, num_probes=probes, num_queries=len(rows))
        _, found = LanceEngine(table, index.vectors, state, rows_of).search(queries, 11)
        recall = recall_without_self(found, exact, rows)
        if recall >= TARGET_RECALL or probes >= num_lists:
            return replace(state, version=table.version, recall_at_10=recall)
        probes = min(2 * probes, num_lists)


def _read_array(path: Path) -> np.ndarray | None:
    try:
        return np.load(path)
    except (OSError, ValueError):
        return None


def _digest(index: AudioIndex, num_entries: int) -> str:
    """Return a digest of the first clips' records: clips are appended, and changed in place by a rewrite."""
    digest = hashlib.sha256()
    for line in islice(index.lines, num_entries):
        digest.update(line + b"\n")
    return digest.hexdigest()


def _table_names(database: Any) -> list[str]:
    names: list[str] = []
    page: list[str] = list(database.table_names(limit=1000))
    while page:
        names += page
        page = list(database.table_names(page_token=page[-1], limit=1000))
    return names


def read_lance_state(folder: Path) -> LanceState | None:
    """Return what an index's LanceDB copy was made of; None where there is none, or it cannot be read."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        return LanceState(**read_object(path))
    except (ValueError, TypeError) as e:  # TypeError: other fields than it has
        logger.warning("the LanceDB copy is made again: %s: %s", path, e)
        return None
