"""A copy of an index in LanceDB, for archives on an object store or in other programs.

The open format stays the source: the copy follows it when it is searched or the index is updated. New windows
are appended; an index from which clips were taken out, or whose manifest says other things now, is written
anew. LanceDB keeps each of these as a version, which its own library can open. What the copy was made of is
noted in `lance.json` in the index, with the copy's version: a table that somebody else has changed is
written anew, and one that is not an index of this model is left alone, with an error.

Up to `FLAT_ROWS` windows LanceDB compares the query with every vector. Above, it uses an inverted file of
8-bit codes, with as many of its lists looked at as the recall asks; both is said with every answer.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.files import write_json
from ml_clap.lock import sole_writer
from ml_clap.search.engines import FLAT_ROWS, TARGET_RECALL, Selection, recall_without_self
from ml_clap.search.store import AudioIndexError
from ml_clap.search.table import table_batches, table_schema
from ml_clap.search.vectors import search_exact

if TYPE_CHECKING:
    from ml_clap.search.audio_index import AudioIndex

logger = logging.getLogger(__name__)

TABLE = "windows"
STATE_FILE = "lance.json"
FINGERPRINT = b"ml_clap.fingerprint"


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
        description: what it is and how exact.
    """

    def __init__(self, table: Any, vectors: np.ndarray, state: LanceState) -> None:
        self.table = table
        self.vectors = vectors
        self.state = state
        self.description = state.describe()

    def search(
        self, queries: np.ndarray, k: int, selection: Selection | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows of the best; rows of -1 at the end where fewer are found.

        A filter is LanceDB's to apply, before it ranks: it then looks at each of the rows that are left, and
        the search is exact.
        """
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        for number, query in enumerate(np.asarray(queries, np.float32)):
            found = self._find(query, k, None if selection is None else selection.sql)
            # Scores of the open format's vectors: its codes and its arithmetic of float16 are coarser.
            products = np.asarray(self.vectors[found], np.float32) @ query
            order = np.lexsort((found, -products))
            scores[number, : len(found)], rows[number, : len(found)] = products[order], found[order]
        return scores, rows

    def _find(self, query: np.ndarray, k: int, sql: str | None) -> np.ndarray:
        """Return the rows of the best, in any order."""
        asked = self.table.search(query, vector_column_name="vector")
        asked = asked.distance_type("dot").select(["row", "_distance"]).limit(k)
        if sql is not None:
            asked = asked.where(sql, prefilter=True).bypass_vector_index()
        elif self.state.num_lists:
            # The codes are of 8 bits: four times as many are ranked again by the vectors themselves.
            asked = asked.nprobes(self.state.num_probes).refine_factor(4)
        return np.asarray(asked.to_arrow()["row"].to_numpy())


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
    if state is None or not _is_current(index, table, state, is_whole=True):
        with sole_writer(path):
            table, state = _follow(index, database, table, state, where, flat_rows)
            write_json(path, state)
    index.engines["lancedb"] = engine = LanceEngine(table, index.vectors, state)
    return engine


def _is_current(index: AudioIndex, table: Any, state: LanceState, *, is_whole: bool) -> bool:
    """Tell whether a table holds an index's windows as they are now: all of them, or the first ones."""
    return (
        table is not None
        and (state.version, state.rows) == (table.version, table.count_rows())
        and state.generation == index.settings.generation
        and (state.rows == index.num_windows if is_whole else state.rows <= index.num_windows)
        and state.entries == _digest(index, state.num_entries)
        and (not is_whole or state.num_entries == len(index.entries))
        and table.schema.equals(table_schema(index))
    )


def _follow(
    index: AudioIndex, database: Any, table: Any, state: LanceState | None, where: str, flat_rows: int
) -> tuple[Any, LanceState]:
    """Return the table, made like the index, and its state."""
    num_lists = 0
    if state is None or not _is_current(index, table, state, is_whole=False):
        logger.info("copying %d windows to LanceDB in %s", index.num_windows, where)
        # One transaction: a kill leaves the version before.
        mode = "create" if table is None else "overwrite"
        table = database.create_table(TABLE, table_batches(index), schema=table_schema(index), mode=mode)
    else:
        num_lists = state.num_lists
        if state.rows < index.num_windows:
            logger.info("adding %d windows to LanceDB in %s", index.num_windows - state.rows, where)
            table.add(table_batches(index, state.rows))
            if num_lists:
                table.optimize()  # puts what is new into the inverted file
    made = LanceState(
        place=where,
        version=table.version,
        generation=index.settings.generation,
        rows=index.num_windows,
        entries=_digest(index, len(index.entries)),
        num_entries=len(index.entries),
        num_lists=num_lists,
    )
    return table, _tune(index, table, made) if index.num_windows > flat_rows else made


def _tune(index: AudioIndex, table: Any, state: LanceState, num_queries: int = 100) -> LanceState:
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
        _, found = LanceEngine(table, index.vectors, state).search(queries, 11)
        recall = recall_without_self(found, exact, rows)
        if recall >= TARGET_RECALL or probes >= num_lists:
            return replace(state, version=table.version, recall_at_10=recall)
        probes = min(2 * probes, num_lists)


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
