"""An index, its model and its calibration, opened once to answer one query after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from audio_common.workers import DecodeLimits, DecodePool

from ml_clap.config.serve import MOST_HITS, ServeConfig
from ml_clap.data.language_names import find_language
from ml_clap.data.languages import SONAR_LANGUAGES
from ml_clap.models.checkpoint import find_model
from ml_clap.models.glap import GLAP
from ml_clap.models.loading import load_model
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.tokenizer import SonarTokenizer, check_texts
from ml_clap.search.about import describe_archive, folders_of
from ml_clap.search.answers import (
    SearchResult,
    choose_thresholds,
    clock,
    find_calibration,
    judge,
    short_name,
)
from ml_clap.search.audio_index import AudioIndex, Hit
from ml_clap.search.calibration import Calibration
from ml_clap.search.engines import EngineName
from ml_clap.search.filters import Filter
from ml_clap.search.hit_list import Picture
from ml_clap.search.picture import take_picture
from ml_clap.search.queries import Query, embed_queries
from ml_clap.search.store import sound_path

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which hits of a query are wanted."""

    top_k: int = 5
    folder: str = ""
    """Look only in this folder below the index's root; empty: everywhere."""
    show_all: bool = False
    """Show also hits below the calibrated threshold."""


@dataclass(frozen=True)
class Found:
    """What a search found, and what a page shows with it."""

    result: SearchResult
    vector: np.ndarray
    """Of the query, (dim,)."""
    notices: tuple[str, ...] = ()


class Archive:
    """An index opened for a server; not for several threads at once, but for `file_of` and `span_of`.

    Args:
        index: the opened index.
        model: the one that made it.
        calibration: of the model, if there is one.
        limits: of decoding one sound.
    """

    def __init__(
        self,
        index: AudioIndex,
        model: DualEncoder,
        calibration: Calibration | None = None,
        limits: DecodeLimits | None = None,
    ) -> None:
        index.verify(model)
        self.index = index
        self.model = model
        self.calibration = calibration
        # An approximate index is built by `ml-clap index --engine faiss`: not while a visitor waits for it.
        self.engine: EngineName = "auto" if (index.folder / "faiss-ivf").is_dir() else "numpy"
        self.pool = DecodePool(limits or DecodeLimits())
        self.about = describe_archive(index, model)
        self.folders = folders_of(index)
        self.languages = languages_of(model)

    @classmethod
    def open(cls, config: ServeConfig) -> Archive:
        """Open the index that is to be served, and load its model.

        Raises:
            AudioIndexError: there is no index, it is empty, or another model made it.
            CalibrationError: the calibration is of another model.
        """
        index = AudioIndex.open(config.index)
        name = find_model(config.model or index.settings.model)
        calibration = find_calibration(name, index.settings.fingerprint, config.calibration)
        limits = DecodeLimits(config.decode_seconds, config.decode_megabytes)
        return cls(index, load_model(name, device=config.device), calibration, limits)

    def by_text(self, text: str, language: str, wanted: Wanted) -> Found:
        """Search by a text.

        Raises:
            ValueError: the text is empty, the model does not read the language, or there is no such folder.
        """
        if not text.strip():
            raise ValueError("nothing to search for: write what is to be heard, or give a sound")
        code = find_language(language)
        if code not in self.languages:
            raise ValueError(f"this model does not read {language}: it reads {', '.join(self.languages)}")
        check_texts([text])
        cut: dict[str, CutText] = {}
        query = Query(text=text.strip(), language=code)
        vector = embed_queries(self.model, [query], cut=cut)[0]
        notice = self.model.describe_cut(list(cut.values()))
        return self._find(query, vector, wanted, (notice,) if notice else ())

    def by_sound(self, path: Path, name: str, wanted: Wanted) -> Found:
        """Search by a sound.

        Args:
            path: of its file.
            name: what it is called in the answer.
            wanted: which hits.

        Raises:
            AudioError: it cannot be read; the message calls it by its name.
        """
        waveform = self.pool.load_audio(
            path, sample_rate=self.model.sample_rate, channel=self.index.settings.channel
        )
        vector = embed_queries(self.model, [Query(audio=waveform)], channel=self.index.settings.channel)[0]
        return self._find(Query(audio=name), vector, wanted)

    def like(self, row: int, wanted: Wanted) -> Found:
        """Search for what sounds like a window of the index, without the clip that it is from.

        Raises:
            ValueError: the index has no such window.
        """
        file, start, end = self.span_of(row)
        name = f"{short_name(file, self.index.settings.root)}, {clock(start)} to {clock(end)}"
        vector = np.asarray(self.index.vectors[row], np.float32)
        return self._find(Query(audio=name), vector, wanted, but=lambda hit: hit.file == file)

    def picture(self, found: Found, hit: Hit) -> Picture | None:
        """Return a hit's spectrogram; None where its file cannot be read any more."""
        return take_picture(self.model, found.vector, hit, self.index.settings.channel, self.pool)

    def row_of(self, hit: Hit) -> int:
        """Return the number of a hit's window."""
        spans = self.index.spans
        rows = np.flatnonzero((spans["entry"] == self._numbers[hit.id]) & (spans["start"] == hit.start))
        return int(rows[0])

    def span_of(self, row: int) -> tuple[Path, float, float]:
        """Return a window's file, and its first and last second.

        Raises:
            ValueError: the index has no such window.
        """
        if not 0 <= row < self.index.num_windows:
            raise ValueError(f"the index has windows 0 to {self.index.num_windows - 1}, and no {row}")
        number, start, end = self.index.spans[row].tolist()
        return sound_path(self.index.settings.root, self.index.entries[number].file), start, end

    def close(self) -> None:
        """End the processes that decode."""
        self.pool.close()

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {entry.id: number for number, entry in enumerate(self.index.entries)}

    def _find(
        self,
        query: Query,
        vector: np.ndarray,
        wanted: Wanted,
        notices: tuple[str, ...] = (),
        but: Callable[[Hit], bool] = lambda hit: False,
    ) -> Found:
        if not 1 <= wanted.top_k <= MOST_HITS:
            raise ValueError(f"top_k must be 1 to {MOST_HITS}, got {wanted.top_k}")
        if wanted.folder and wanted.folder not in self.folders:
            raise ValueError(f"the archive has no folder {wanted.folder!r}")
        keep = Filter(folders=(wanted.folder,) if wanted.folder else ())
        (hits,) = self.index.nearest(vector[None], wanted.top_k + 1, engine=self.engine, keep=keep)
        hits = [hit for hit in hits if not but(hit)][: wanted.top_k]
        selection = self.index.select(keep)
        num_searched = self.index.num_windows if selection is None else len(selection.rows)
        thresholds, said = choose_thresholds([query], self.calibration, num_searched)
        (result,) = judge([query], [hits], [None] if wanted.show_all else thresholds)
        # What is shown below the threshold is shown with it.
        return Found(replace(result, threshold=thresholds[0]), vector, (*notices, *said))


def languages_of(model: DualEncoder) -> tuple[str, ...]:
    """Return the codes of the languages that a model reads: those of its tokenizer, else all 202.

    Only SONAR's tokenizer marks languages; the others take a text in any, however well the model knows it.
    """
    if isinstance(model, MLCLAP | GLAP) and isinstance(model.text_encoder.tokenizer, SonarTokenizer):
        return model.text_encoder.tokenizer.languages
    return SONAR_LANGUAGES
