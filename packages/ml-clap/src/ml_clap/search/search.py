"""Search an index by text in any language or by a sound: `ml-clap search`.

A score is the cosine between the query's and a window's embedding, from -1 to 1. It ranks the windows of one
query; scores of different queries, languages or models have no common scale.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_clap.config.search import SearchConfig
from ml_clap.data.languages import resolve
from ml_clap.search.engines import Engine, EngineName, make_engine
from ml_clap.search.queries import Query, embed_audio, embed_queries, embed_text, read_queries
from ml_clap.search.store import (
    AudioIndexError,
    IndexSettings,
    entries_path,
    entry_lines,
    json_line,
    printable,
    read_settings,
    spans_path,
    vectors_path,
    write_atomically,
)
from ml_clap.search.vectors import open_rows

if TYPE_CHECKING:
    from torch import Tensor

    from ml_clap.models.ml_clap import MLCLAP

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


class AudioIndex:
    """An index opened for searching; its vectors stay on disk, memory-mapped.

    Attributes:
        folder: where it is.
        settings: how it was made.
        num_windows: number of vectors.
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
        self._lines = entry_lines(entries_path(folder, generation))  # a line is parsed when it is a hit
        self._engines: dict[str, Engine] = {}
        self._verified: list[MLCLAP] = []

    @classmethod
    def open(cls, folder: str | Path) -> AudioIndex:
        """Open the index in a folder.

        Raises:
            AudioIndexError: if there is none.
        """
        return cls(Path(folder), read_settings(Path(folder)))

    @cached_property
    def num_clips(self) -> int:
        """Number of clips that have a vector."""
        return len(np.unique(self._spans["entry"]))

    def engine(self, name: EngineName = "numpy") -> Engine:
        """The engine of that name over this index's vectors; built at its first use."""
        if name not in self._engines:
            path = self.folder / "faiss-ivf.index"
            self._engines[name] = make_engine(name, self._vectors, path, self._vectors_path.name)
        return self._engines[name]

    def search(
        self,
        model: MLCLAP,
        *,
        text: str | None = None,
        language: str = "eng_Latn",
        audio: str | Path | Tensor | None = None,
        top_k: int = 10,
        all_windows: bool = False,
        engine: EngineName = "numpy",
    ) -> list[Hit]:
        """The clips that a text describes or that sound like a sound, best first.

        Args:
            model: the model that made the index.
            text: what to look for.
            language: its language, as SONAR's code or ISO 639.
            audio: instead of a text: a file, or a waveform (samples,) at 16 kHz.
            top_k: how many hits at most.
            all_windows: every window is a hit of its own; else a file's best one.
            engine: see `SearchConfig.engine`.

        Raises:
            AudioIndexError: if the model is another one than the index's, or the index is empty.
            ValueError: if neither or both of text and audio are given.
        """
        if (text is None) == (audio is None):
            raise ValueError("give a text or an audio to search for, and not both")
        self.verify(model)
        vector = (
            embed_text(model, [text or ""], [resolve(language)])
            if audio is None
            else embed_audio(model, audio)
        )
        return self.nearest(vector, top_k, all_windows, engine)[0]

    def verify(self, model: MLCLAP) -> None:
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
    ) -> list[list[Hit]]:
        """The hits of each of the embeddings (queries, dim) float32, best first."""
        if self.num_windows == 0:
            raise AudioIndexError(
                f"{self.folder} holds no sound: see its bad_files.jsonl, run `ml-clap index`"
            )
        found = self._best_windows(queries, top_k, all_windows, self.engine(engine))
        return [[self._hit(score, row) for score, row in hits] for hits in found]

    def _best_windows(
        self, queries: np.ndarray, top_k: int, all_windows: bool, engine: Engine
    ) -> list[list[tuple[float, int]]]:
        """(score, row) of each query's hits; asks for more rows until every query has `top_k` clips."""
        wanted = top_k if all_windows else 4 * top_k
        while True:
            scores, rows = engine.search(queries, wanted)
            # An approximate engine that finds no more fills up with rows of -1.
            found = [
                [(score, row) for score, row in zip(*both, strict=True) if row >= 0]
                for both in zip(scores.tolist(), rows.tolist(), strict=True)
            ]
            hits = found if all_windows else [self._first_of_each_clip(pairs) for pairs in found]
            if all(len(h) >= top_k or len(f) < wanted for h, f in zip(hits, found, strict=True)):
                return [pairs[:top_k] for pairs in hits]
            wanted *= 4

    def _first_of_each_clip(self, pairs: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
        first: dict[int, tuple[float, int]] = {}
        for score, row in pairs:
            first.setdefault(int(self._spans["entry"][row]), (score, row))
        return list(first.values())

    def _hit(self, score: float, row: int) -> Hit:
        number, start, end = self._spans[row].tolist()
        entry = json.loads(self._lines[number])
        file = Path(self.settings.root, entry["file"])
        return Hit(score, file, start, end, entry["id"], entry["captions"], entry["label"])


def search(config: SearchConfig) -> list[list[Hit]]:
    """Answer the queries, print a table of each one's hits, and return them."""
    from ml_clap.models.ml_clap import MLCLAP
    from ml_clap.search.index import choose_device

    queries = read_queries(config)
    index = AudioIndex.open(config.index)
    if not index.settings.complete:
        logger.warning("%s is not complete: run `ml-clap index` again to finish it", config.index)
    model = MLCLAP.from_pretrained(config.model or index.settings.model, device=choose_device(config.device))
    index.verify(model)
    answers = index.nearest(embed_queries(model, queries), config.top_k, config.all_windows, config.engine)
    print_answers(queries, answers, index, config.engine)
    if config.json:
        record = answers_record(queries, answers, index, config.engine)
        write_atomically(config.json, json_line(record, indent=2))
    return answers


def answers_record(
    queries: Sequence[Query], answers: Sequence[Sequence[Hit]], index: AudioIndex, engine: EngineName
) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "index": str(index.folder),
        "model": index.settings.model,
        "fingerprint": index.settings.fingerprint,
        "num_clips": index.num_clips,
        "num_windows": index.num_windows,
        "engine": index.engine(engine).description,
        "queries": [
            {
                "text": query.text,
                "language": query.language if query.audio is None else None,
                "audio": str(query.audio) if query.audio else None,
                "hits": [dataclasses.asdict(hit) | {"file": str(hit.file)} for hit in hits],
            }
            for query, hits in zip(queries, answers, strict=True)
        ],
    }


def print_answers(
    queries: Sequence[Query], answers: Sequence[Sequence[Hit]], index: AudioIndex, engine: EngineName
) -> None:
    """A table of each query's hits on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for query, hits in zip(queries, answers, strict=True):
        console.print(Text(printable(str(query))), style="bold")
        table = Table(box=None, pad_edge=False)
        for name in ("score", "from", "to"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("file", overflow="fold")
        described = [describe(hit, query.language) for hit in hits]
        table.add_column("description" if any(described) else "", overflow="ellipsis")
        for hit, words in zip(hits, described, strict=True):
            # As Text: names in [brackets] are no markup.
            file = Text(printable(_short(hit.file, index.settings.root)))
            table.add_row(f"{hit.score:.3f}", clock(hit.start), clock(hit.end), file, Text(words))
        console.print(table)
    asked = "1 query" if len(queries) == 1 else f"{len(queries)} queries"
    searched = f"{index.num_clips:,} clips, {index.num_windows:,} windows"
    console.print(f"{asked} in {searched} ({index.engine(engine).description})", highlight=False)


def describe(hit: Hit, language: str) -> str:
    """A caption of the clip, in the query's language if there is one; else its label, else nothing."""
    captions = hit.captions.get(language) or next(iter(hit.captions.values()), [])
    return captions[0] if captions else hit.label or ""


def clock(seconds: float) -> str:
    """Seconds as a player shows them.

    >>> clock(3725.26)
    '1:02:05.3'
    """
    tenths = round(10 * seconds)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{minutes:02d}:{tenths / 10:04.1f}" if hours else f"{minutes}:{tenths / 10:04.1f}"
    return f"{hours}:{rest}" if hours else rest


def _short(file: Path, root: str) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
