"""An index opened for searching: the clips that a text describes, or that sound like another.

A score is the cosine between the query's and a window's embedding, from -1 to 1. It ranks the windows of one
query; scores of different queries, languages or models have no common scale. From which score on a hit is an
answer, a calibration says (`calibration.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.data.languages import resolve
from ml_clap.files import write_json
from ml_clap.lock import BusyError
from ml_clap.search.duplicates import find_near, pick_distinct
from ml_clap.search.engine import Engine, Selection
from ml_clap.search.engines import EngineName, NumpyEngine, make_engine
from ml_clap.search.filters import Column, Filter, Kind, find_kinds, name_columns
from ml_clap.search.lines import KEPT, Entries, Lines
from ml_clap.search.queries import Query, embed_queries
from ml_clap.search.store import (
    KINDS_SUFFIX,
    SPAN,
    AudioIndexError,
    Entry,
    IndexSettings,
    entries_path,
    read_settings,
    sound_path,
    spans_path,
    vectors_path,
)
from ml_clap.search.vectors import open_rows

if TYPE_CHECKING:
    from torch import Tensor

    from ml_clap.models.dual_encoder import DualEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """A window of a file that answers a query."""

    score: float
    """Cosine similarity, -1 to 1."""
    file: Path
    start: float
    """Seconds from the beginning of the file."""
    end: float
    id: str
    """The clip's id in the manifest, or its path in the folder."""
    captions: dict[str, list[str]]
    """Language to captions, where the manifest has them."""
    label: str | None = None
    licence: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    """Further keys of the manifest."""
    duplicates: tuple[str, ...] = ()
    """Ids of further clips of the same sound, where a search collapses them."""


class AudioIndex:
    """An index opened for searching; its vectors and its clips' records stay on disk, memory-mapped.

    Attributes:
        folder: where it is.
        settings: how it was made.
        num_windows: number of vectors.
        lines: the clips' records as they are in the file.
        entries: the same, parsed when they are asked for; by their line numbers.
        engines: those that are open, by name.
    """

    def __init__(self, folder: Path, settings: IndexSettings) -> None:
        self.folder = folder
        self.settings = settings
        generation = settings.generation
        # In this order, because a run may be adding to it: clips and vectors are written before their spans.
        self._spans = open_rows(spans_path(folder, generation))
        self.num_windows = len(self._spans)
        self._vectors_path = vectors_path(folder, generation)
        self._vectors = open_rows(self._vectors_path)[: self.num_windows]
        if self._spans.dtype != SPAN or self._vectors.shape[1:] != (settings.dim,):
            raise AudioIndexError(f"{folder} is damaged: its files do not fit its index.json; make it anew")
        self._entries_path = entries_path(folder, generation)
        self.lines: Sequence[bytes] = Lines(self._entries_path)
        self.entries: Sequence[Entry] = Entries(self.lines, self._entries_path)
        self.engines: dict[str, Engine] = {}
        self._verified: list[DualEncoder] = []
        self._selected: tuple[Filter, Selection] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> AudioIndex:
        """Open the index in a folder.

        Raises:
            AudioIndexError: there is none.
        """
        return cls(Path(folder), read_settings(Path(folder)))

    @cached_property
    def num_clips(self) -> int:
        """Number of clips that have a vector."""
        return int(np.count_nonzero(np.bincount(self._spans["entry"])))

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """The keys of the clips, as a filter and a table have them."""
        return name_columns(self._kinds())

    def _kinds(self) -> dict[str, Kind]:
        """Return the kinds of the clips' keys; of a large index they are kept beside the records."""
        if len(self.entries) <= KEPT:
            return find_kinds(self.entries)
        status = self._entries_path.stat()
        place, state = self._entries_path.with_suffix(KINDS_SUFFIX), [status.st_size, status.st_mtime_ns]
        with suppress(OSError, ValueError):
            kept = read_object(place)
            if kept["of"] == state:
                return dict(kept["kinds"])
        kinds = find_kinds(self.entries)
        with suppress(OSError):  # a read-only archive
            write_json(place, {"of": state, "kinds": kinds})
        return kinds

    @property
    def vectors(self) -> np.ndarray:
        """The embeddings (windows, dim), memory-mapped."""
        return self._vectors

    @property
    def spans(self) -> np.ndarray:
        """Which clip, from where to where, each window is: (windows,) of `SPAN`."""
        return self._spans

    def engine(self, name: EngineName = "numpy") -> Engine:
        """Return the engine of that name over this index's vectors; it is built at its first use.

        Raises:
            ValueError: it is not installed, or is LanceDB's and `lance.mirror` has not opened it.
        """
        if name not in self.engines:
            if name == "lancedb":
                raise ValueError("open the LanceDB copy first: ml_clap.search.lance.mirror(index)")
            try:
                self.engines[name] = make_engine(name, self._vectors, self.folder, self._vectors_path.name)
            except BusyError as e:
                logger.warning("%s; until then the search is exact, and slower", e.args[0].partition(":")[0])
                return NumpyEngine(self._vectors)
        return self.engines[name]

    def select(self, keep: Filter) -> Selection | None:
        """Return the windows of the clips that a filter lets through; None where it lets through all.

        Raises:
            ValueError: no clip has a key of the filter, or its value is of another kind.
        """
        if not keep:
            return None
        if self._selected is None or self._selected[0] != keep:  # a search asks twice: to find and to judge
            numbers = keep.select(self.entries, self.settings.root, self.columns)
            entry_of = self._spans["entry"]
            is_kept = np.zeros(max(len(self.entries), 1 + int(entry_of.max(initial=0))), bool)
            is_kept[numbers] = True
            rows = np.flatnonzero(is_kept[entry_of])
            sql = keep.sql(self.columns, self.settings.root)
            self._selected = keep, Selection(rows, sql)
        return self._selected[1]

    def search(
        self,
        model: DualEncoder,
        *,
        text: str | None = None,
        language: str = "eng_Latn",
        audio: str | Path | Tensor | None = None,
        top_k: int = 10,
        all_windows: bool = False,
        engine: EngineName = "numpy",
        keep: Filter | None = None,
        duplicates: float | None = None,
    ) -> list[Hit]:
        """Return the clips that a text describes or that sound like another, best first.

        Args:
            model: the model that made the index.
            text: what to look for.
            language: its language, as SONAR's code or ISO 639.
            audio: instead of a text: a file, or a waveform (samples,) at the model's rate.
            top_k: how many hits at most.
            all_windows: every window is a hit of its own; else a file's best one.
            engine: see `SearchConfig.engine`.
            keep: the clips to look at; default: all.
            duplicates: see `SearchConfig.duplicates`.

        Raises:
            AudioIndexError: the model is another one than the index's, or the index is empty.
            ValueError: neither or both of text and audio are given.
        """
        if (text is None) == (audio is None):
            raise ValueError("give a text or an audio to search for, and not both")
        if text is not None:
            from ml_clap.models.tokenizer import check_texts  # here: it imports torch

            check_texts([text])
        self.verify(model)
        query = Query(text=text, language=resolve(language), audio=audio)
        vectors = embed_queries(model, [query], channel=self.settings.channel)
        return self.nearest(vectors, top_k, all_windows, engine, keep=keep, duplicates=duplicates)[0]

    def verify(self, model: DualEncoder) -> None:
        """Refuse a model other than the one that made the index: its vectors mean something else."""
        if any(model is known for known in self._verified):  # a fingerprint reads all weights: once is enough
            return
        fingerprint = model.fingerprint()
        if fingerprint != self.settings.fingerprint:
            raise AudioIndexError(
                f"{self.folder} was made with the model {self.settings.model} (fingerprint "
                f"{self.settings.fingerprint}), this one's fingerprint is {fingerprint}: use that model, "
                "or make another index"
            )
        self._verified.append(model)

    def nearest(
        self,
        queries: np.ndarray,
        top_k: int = 10,
        all_windows: bool = False,
        engine: EngineName = "numpy",
        *,
        keep: Filter | None = None,
        duplicates: float | None = None,
    ) -> list[list[Hit]]:
        """Return the hits of each of the embeddings (queries, dim) float32, best first.

        Filters come before the ranking: `top_k` hits are returned where so many clips pass them.
        """
        if self.num_windows == 0:
            raise AudioIndexError(
                f"{self.folder} holds no sound: see its bad_files.jsonl, run `ml-clap index`"
            )
        selection = self.select(keep or Filter())
        found = self._best_windows(queries, top_k, all_windows, self.engine(engine), selection, duplicates)
        if duplicates is None:
            return [[self._hit(score, row) for score, row in hits] for hits in found]
        return [self._with_duplicates(hits, duplicates, selection) for hits in found]

    def _best_windows(
        self,
        queries: np.ndarray,
        top_k: int,
        all_windows: bool,
        engine: Engine,
        selection: Selection | None,
        duplicates: float | None,
    ) -> list[list[tuple[float, int]]]:
        """Return (score, row) of each query's hits; asks for rows until every query has `top_k` of them."""
        # Several windows of a clip are one hit, and so may several clips: more rows than hits are asked for.
        wanted = top_k if all_windows and duplicates is None else 4 * top_k
        while True:
            scores, rows = engine.search(queries, wanted, selection)
            # An approximate engine that finds no more fills up with rows of -1.
            found = [
                [(score, row) for score, row in zip(*both, strict=True) if row >= 0]
                for both in zip(scores.tolist(), rows.tolist(), strict=True)
            ]
            hits = found if all_windows else [self._first_of_each_clip(pairs) for pairs in found]
            if duplicates is not None:
                hits = [self._distinct(pairs, duplicates, top_k) for pairs in hits]
            if all(len(h) >= top_k or len(f) < wanted for h, f in zip(hits, found, strict=True)):
                return [pairs[:top_k] for pairs in hits]
            wanted *= 4

    def _distinct(
        self, pairs: Sequence[tuple[float, int]], limit: float, most: int
    ) -> list[tuple[float, int]]:
        def content(row: int) -> object:
            # Windows of one file differ though they come from the same content.
            number, start, _ = self._spans[row].tolist()
            return (self.entries[number].sha256 or row, start)

        places = pick_distinct([row for _, row in pairs], self._vectors, limit, content, most)
        return [pairs[place] for place in places]

    def _with_duplicates(
        self, hits: Sequence[tuple[float, int]], limit: float, selection: Selection | None
    ) -> list[Hit]:
        """Return hits, each with the other clips that are the same sound; a clip counts for one hit."""
        rows = [row for _, row in hits]
        entry_of = self._spans["entry"]
        taken = {int(entry_of[row]) for row in rows}
        allowed = None if selection is None else set(entry_of[selection.rows].tolist())
        numbers_of: dict[str, list[int]] = {}
        for number in np.unique(entry_of).tolist():
            numbers_of.setdefault(self.entries[number].sha256, []).append(number)
        collapsed = []
        for (score, row), near in zip(hits, find_near(rows, self._vectors, limit), strict=True):
            content = self.entries[int(entry_of[row])].sha256
            same = {*entry_of[near].tolist(), *(numbers_of[content] if content else ())} - taken
            others = sorted(same if allowed is None else same & allowed)
            taken.update(others)
            names = tuple(self.entries[number].id for number in others)
            collapsed.append(replace(self._hit(score, row), duplicates=names))
        return collapsed

    def _first_of_each_clip(self, pairs: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
        first: dict[int, tuple[float, int]] = {}
        for score, row in pairs:
            first.setdefault(int(self._spans["entry"][row]), (score, row))
        return list(first.values())

    def _hit(self, score: float, row: int) -> Hit:
        number, start, end = self._spans[row].tolist()
        if number >= len(self.lines):
            raise AudioIndexError(
                f"{self._entries_path} is damaged: it has no line {number + 1}; make it anew"
            )
        entry = self.entries[number]
        file = sound_path(self.settings.root, entry.file)
        return Hit(
            score=score,
            file=file,
            start=start,
            end=end,
            id=entry.id,
            captions=entry.captions,
            label=entry.label,
            licence=entry.licence,
            metadata=entry.metadata,
        )
