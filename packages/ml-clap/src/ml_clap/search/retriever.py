"""A finished model for use from Python: embeddings, similarities, an index and its search."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from inspect import isfunction
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import torch
from audio_common.audio import AudioError
from audio_common.config import Channel
from audio_common.prefetch import AudioSpan
from audio_common.waveform import as_waveform, one_or_many
from torch import Tensor

from ml_clap.data.languages import resolve
from ml_clap.data.prompts import choose_prompts, read_labels
from ml_clap.models.checkpoint import find_model
from ml_clap.models.device import Dtype
from ml_clap.models.dual_encoder import DualEncoder
from ml_clap.models.encoding import (
    embed_labels,
    encode_files,
    encode_texts,
    encode_waveforms,
    mean_of_each,
)
from ml_clap.models.loading import load_model
from ml_clap.models.tokenizer import check_texts
from ml_clap.models.tower import Tower, open_tower
from ml_clap.models.tower_folder import absolute, check_belongs
from ml_clap.search.answers import SearchResult, choose_thresholds, find_calibration, judge
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.engines import EngineName
from ml_clap.search.filters import Filter
from ml_clap.search.index_report import IndexReport
from ml_clap.search.queries import Query, embed_queries, encode_by_tower, part_of
from ml_clap.search.similarity import tell_apart
from ml_clap.search.updating import update_index

if TYPE_CHECKING:
    from typing import Self

    from ml_clap.models.checkpoint import Mode

logger = logging.getLogger(__name__)

Audio = str | PathLike[str] | bytes | BinaryIO | np.ndarray | Tensor
"""A path, bytes or file object of a sound; or samples, `(samples,)` or `(channels, samples)`."""
Labels = Sequence[str] | Mapping[str, Sequence[str]] | Mapping[str, Mapping[str, Sequence[str]]]
"""Plain labels, label -> descriptions, or label -> language -> descriptions."""


class Retriever:
    """Finds audio by text in any of the model's languages, or by other audio.

        >>> retriever = Retriever.from_pretrained("runs/clotho")  # doctest: +SKIP
        >>> retriever.similarity(["un chien aboie"], ["dog.wav", "rain.wav"], lang="fr")  # doctest: +SKIP
        array([[0.62, 0.08]], dtype=float32)
        >>> retriever.classify("dog.wav", ["dog", "rain"])  # doctest: +SKIP
        [('dog', 0.58), ('rain', 0.11)]
        >>> retriever.index("recordings", "recordings.index").num_clips  # doctest: +SKIP
        120
        >>> retriever.search("recordings.index", "a dog barks")[0].hits[0].file  # doctest: +SKIP
        PosixPath('/data/recordings/dog.wav')

    One text or one sound gives one embedding; a list gives as many as it has, an empty one none. All that is
    not a sound or a text is refused in words. Nothing here builds an autograd graph.

    Args:
        model: The model, or what loads it.
        name: What an index notes as its model: the folder or hub id to load it from again.
        text_tower: Embeds the texts in place of the model (`ml_clap.models.tower.open_tower`).

    Raises:
        TextTowerError: Where both are asked for something: the tower was made for another model.
    """

    def __init__(
        self,
        model: DualEncoder | Callable[[], DualEncoder],
        name: str = "",
        *,
        text_tower: Tower | None = None,
    ) -> None:
        self.name = name
        self.text_tower = text_tower
        self._verified: set[str] = set()
        self._source = model

    @cached_property
    def model(self) -> DualEncoder:
        """The model, in evaluation mode; loaded when it is first asked for, where a function gives it."""
        # A torch module can be called, too.
        model = self._source() if isfunction(self._source) else cast("DualEncoder", self._source)
        model.eval()
        if self.text_tower is not None:
            check_belongs(self.text_tower.settings, model.fingerprint(), "the model")
        return model

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        dtype: Dtype = "float32",
        mode: Mode | None = None,
        text_tokenizer: str | Path | None = None,
        text_tower: str | Path | None = None,
    ) -> Self:
        """Load a model.

        Args:
            source: Any model that `ml_clap.models.loading` lists: a model folder, a training run (its `best`
                model, else its `last`), a hub id, an address, a checkpoint of the authors; of ML-CLAP, GLAP,
                transformers' CLAP, or sentence-transformers.
            device: cpu, cuda, cuda:1, mps; `auto`: the GPU if there is one.
            dtype: Precision of the weights. An index is searched with the one that it was made with.
            mode: See `MLCLAP.from_pretrained`.
            text_tokenizer: See `MLCLAP.from_pretrained`.
            text_tower: Folder of a small tower made for this model (`ml-clap distill`, `project`, `export`),
                which embeds all texts. The model itself is then loaded when a sound needs it.

        Raises:
            ValueError: The source is not a model, or the tower is none; or, when the model is loaded, that
                the tower was made for another.
        """
        found = find_model(source)

        def load() -> DualEncoder:
            return load_model(found, device=device, dtype=dtype, mode=mode, text_tokenizer=text_tokenizer)

        # Absolute, so that an index finds its model again from any folder.
        name = absolute(str(found))
        if text_tower is None:
            return cls(load(), name)
        return cls(load, name, text_tower=open_tower(text_tower, device=device))

    def encode_audio(
        self,
        audio: Any,
        *,
        sample_rate: float = 16_000,
        channel: Channel | None = None,
        seconds_per_batch: float = 160.0,
        num_workers: int = 1,
    ) -> np.ndarray:
        """Embed audio, the same whatever it is batched with.

        Args:
            audio: One sound or several: see `Audio`.
            sample_rate: Of arrays and tensors, Hz; files say theirs.
            channel: What is made of several channels: `mean`, `first`, `loudest`; default: the model's.
            seconds_per_batch: Seconds of audio encoded at once.
            num_workers: Threads that read files.

        Returns:
            `(dim,)` of one sound, `(sounds, dim)` of several, in the order given; float32, L2-normalized.

        Raises:
            AudioError: A sound is none, or cannot be read.
        """
        items, are_many = one_or_many(audio)
        chosen = channel or self.model.channel
        vectors = np.empty((len(items), self.model.embed_dim), np.float32)
        # What is written like a path and is none goes to `as_waveform`, which says what it is.
        paths = {n: Path(item) for n, item in enumerate(items) if _is_there(item)}
        waveforms = {
            n: as_waveform(item, sample_rate=self.model.sample_rate, array_rate=sample_rate, channel=chosen)
            for n, item in enumerate(items)
            if n not in paths
        }
        if paths:
            spans = [AudioSpan(path) for path in paths.values()]
            embedded, bad = encode_files(
                self.model,
                spans,
                seconds_per_batch=seconds_per_batch,
                num_workers=num_workers,
                channel=chosen,
            )
            if bad:
                raise AudioError(bad[0].reason)
            vectors[list(paths)] = embedded.numpy()
        if waveforms:
            sounds = list(waveforms.values())
            embedded = encode_waveforms(self.model, sounds, seconds_per_batch=seconds_per_batch)
            vectors[list(waveforms)] = embedded.numpy()
        return vectors if are_many else vectors[0]

    def encode_text(
        self, texts: str | Iterable[str], lang: str | Sequence[str] = "eng_Latn", *, batch_size: int = 256
    ) -> np.ndarray:
        """Embed texts, all in one language or each in its own.

        Args:
            texts: One caption or query, or several, as written: normalization is part of the model.
            lang: SONAR's codes (fra_Latn) or ISO 639 (fr).
            batch_size: Texts encoded at once.

        Returns:
            `(dim,)` of one text, `(texts, dim)` of several, in the order given; float32, L2-normalized.

        Raises:
            TypeError: What is given is no text.
            ValueError: A text is empty, or a language is not known.
        """
        items, are_many = check_texts(texts)
        if not isinstance(lang, Iterable):
            raise TypeError(f"lang must be a language or one for each text, got {lang!r}")
        codes = resolve(lang) if isinstance(lang, str) else [resolve(code) for code in lang]
        if not isinstance(codes, str) and len(codes) != len(items):
            raise ValueError(f"lang: expected one language or {len(items)}, got {len(codes)}")
        if self.text_tower is not None:
            vectors = encode_by_tower(self.text_tower, items, codes)
        else:
            vectors = encode_texts(self.model, items, codes, batch_size).numpy()
        return vectors if are_many else vectors[0]

    def encode(
        self,
        items: Any,
        lang: str = "eng_Latn",
        *,
        sample_rate: float = 16_000,
        channel: Channel | None = None,
    ) -> np.ndarray:
        """Embed sounds and texts, mixed as they come; `encode_audio` and `encode_text` take one sort each.

        Args:
            items: One or several. A string is a sound where it names a file, else a text.
            lang: Language of the texts.
            sample_rate: Of arrays and tensors, Hz.
            channel: What is made of several channels; default: the model's.

        Returns:
            `(dim,)` of one item, `(items, dim)` of several, in the order given; float32, L2-normalized.

        Raises:
            AudioError: A sound is none, or cannot be read.
            FileNotFoundError: A string ends like a sound file, and there is none.
            ValueError: A text is empty, or the language is not known.
        """
        listed, are_many = one_or_many(items)
        is_text = [isinstance(item, str) and tell_apart(item).kind == "text" for item in listed]
        vectors = np.empty((len(listed), self.model.embed_dim), np.float32)
        for chosen in (True, False):
            places = [place for place, is_it in enumerate(is_text) if is_it is chosen]
            some = [listed[place] for place in places]
            if some and chosen:
                vectors[places] = self.encode_text(some, lang)
            elif some:
                vectors[places] = self.encode_audio(some, sample_rate=sample_rate, channel=channel)
        return vectors if are_many else vectors[0]

    def similarity(
        self,
        texts: str | Iterable[str],
        audio: Audio | Iterable[Audio],
        lang: str | Sequence[str] = "eng_Latn",
        *,
        sample_rate: float = 16_000,
        channel: Channel | None = None,
    ) -> np.ndarray:
        """Return the cosine of every text with every sound, from -1 to 1: a table `(texts, sounds)` float32.

        It is a table also of one text or one sound. Cosines rank the audio for a text; they are no
        probabilities.
        """
        words = np.atleast_2d(self.encode_text(texts, lang))
        sounds = np.atleast_2d(self.encode_audio(audio, sample_rate=sample_rate, channel=channel))
        return words @ sounds.T

    def classify(
        self,
        audio: Any,
        labels: Labels,
        *,
        lang: str = "eng_Latn",
        top_k: int | None = None,
        sample_rate: float = 16_000,
        channel: Channel | None = None,
    ) -> Any:
        """Return (label, cosine) of each label, the best first: a list for one sound, of lists for several.

        Args:
            audio: One sound or several: see `Audio`.
            labels: Plain labels, each put into a sentence; or what describes each: label -> descriptions, or
                label -> language -> descriptions.
            lang: Language of labels and descriptions.
            top_k: Labels given; default: all.
            sample_rate: Of arrays and tensors, Hz.
            channel: What is made of several channels; default: the model's.

        Raises:
            AudioError: A sound is none, or cannot be read.
            ValueError: The labels cannot be used, or are not in `lang`.
        """
        described = choose_prompts(read_labels(labels, lang), [lang])[resolve(lang)]
        vectors = self.encode_audio(audio, sample_rate=sample_rate, channel=channel)
        scores = np.atleast_2d(vectors) @ self._embed_labels(described, resolve(lang)).T
        names = list(labels)
        found = [
            [(names[place], float(row[place])) for place in np.argsort(-row, kind="stable")[:top_k]]
            for row in scores
        ]
        return found if vectors.ndim == 2 else found[0]

    def index(self, source: str | Path, out: str | Path, **options: Any) -> IndexReport:
        """Make or update the index of a folder or manifest, encoding only what is new.

        Args:
            source: Folder of audio files, read recursively, or a manifest (.jsonl).
            out: Folder of the index.
            **options: See `ml_clap.search.updating.update_index`: windows, dtype, workers, progress.

        Raises:
            AudioIndexError: There is nothing to index, or the index is of another model or other settings.
        """
        return update_index(self.model, Path(source), Path(out), model_name=self.name, **options)

    def search(
        self,
        index: str | Path | AudioIndex,
        texts: str | Iterable[str] = (),
        *,
        audio: Any = (),
        add: Any = (),
        subtract: Any = (),
        lang: str = "eng_Latn",
        sample_rate: float = 16_000,
        top_k: int = 10,
        all_windows: bool = False,
        where: str | Sequence[str] = (),
        folder: str | Path | Sequence[str | Path] = (),
        duplicates: float | None = None,
        threshold: float | str | None = "auto",
        engine: EngineName = "numpy",
    ) -> list[SearchResult]:
        """Search an index by texts and by audio; gives a result for each, texts first.

        Args:
            index: Its folder, or the opened index where many searches follow one another.
            texts: What to look for.
            audio: What the hits should sound like: one sound or several, see `Audio`.
            add: Texts, paths of sound files or other `Audio` that each query's hits should be like as well:
                the unit vectors are added, and the sum is normalized.
            subtract: The same, subtracted.
            lang: Language of the texts.
            sample_rate: Of arrays and tensors, Hz.
            top_k: Hits for each query at most.
            all_windows: Let every window be a hit of its own; else a file's best one.
            where: Conditions that a clip must fulfil: `label=dog`, `duration<=10`.
            folder: Folders of which a clip must be in one.
            duplicates: Cosine from which clips are collapsed to one hit; None: not.
            threshold: Least score of a hit; `auto`: as the model's calibration says, where it has one; None
                or `none`: every score is a hit.
            engine: See `SearchConfig.engine`.

        Raises:
            AudioIndexError: There is no index, it is empty, or another model made it.
            CalibrationError: The calibration in the model's folder is of another model.
            ValueError: A condition is none, or the parts of a query cancel each other out.
        """
        opened = index if isinstance(index, AudioIndex) else AudioIndex.open(index)
        if self.text_tower is not None:
            check_belongs(self.text_tower.settings, opened.settings.fingerprint, str(opened.folder))
        # A fingerprint reads all weights: once is enough. A tower belongs to the index's model, as it does.
        elif opened.settings.fingerprint not in self._verified:
            opened.verify(self.model)
            self._verified.add(opened.settings.fingerprint)
        channel, language = opened.settings.channel, resolve(lang)
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        plus, minus = (
            tuple(self._part(one, sample_rate, channel, language) for one in one_or_many(some)[0])
            for some in (add, subtract)
        )
        queries = [
            Query(text=text, language=language, plus=plus, minus=minus) for text in check_texts(texts)[0]
        ]
        queries += [
            Query(audio=self._path_or_waveform(one, sample_rate, channel), plus=plus, minus=minus)
            for one in one_or_many(audio)[0]
        ]
        if not queries:
            return []
        keep = Filter.parse(
            [where] if isinstance(where, str) else where,
            [folder] if isinstance(folder, str | Path) else folder,
        )
        needs_model = self.text_tower is None or any(query.has_sound for query in queries)
        vectors = embed_queries(
            self.model if needs_model else None, queries, text_tower=self.text_tower, channel=channel
        )
        if engine == "lancedb" and engine not in opened.engines:
            from ml_clap.search.lance import mirror

            mirror(opened)
        found = opened.nearest(vectors, top_k, all_windows, engine, keep=keep, duplicates=duplicates)
        return judge(queries, found, self._thresholds(opened, queries, keep, threshold))

    def _thresholds(
        self, index: AudioIndex, queries: Sequence[Query], keep: Filter, threshold: float | str | None
    ) -> list[float | None]:
        if threshold != "auto":
            if isinstance(threshold, str) and threshold != "none":
                raise ValueError(f"threshold: a number from -1 to 1, 'auto' or None, got {threshold!r}")
            least = None if threshold is None or threshold == "none" else float(threshold)
            return [least] * len(queries)
        selection = index.select(keep)
        num_windows = index.num_windows if selection is None else len(selection.rows)
        # A calibration is of the model's own scores, not of a text tower's.
        is_calibrated = self.name and self.text_tower is None
        calibration = find_calibration(self.name, index.settings.fingerprint) if is_calibrated else None
        thresholds, notices = choose_thresholds(queries, calibration, num_windows)
        for notice in notices:
            logger.warning(notice)
        return thresholds

    def _part(self, item: Any, rate: float, channel: Channel, language: str) -> Query:
        if isinstance(item, str):
            return part_of(item, language)
        return Query(audio=self._path_or_waveform(item, rate, channel))

    def _embed_labels(self, described: Sequence[Sequence[str]], language: str) -> np.ndarray:
        """Return one vector a class, `(labels, dim)`: the mean of those of its descriptions, normalized."""
        if self.text_tower is None:
            return embed_labels(self.model, described, language).numpy()
        texts = [text for some in described for text in some]
        rows = torch.from_numpy(encode_by_tower(self.text_tower, texts, language))
        return mean_of_each(rows, described).numpy()

    def _path_or_waveform(self, audio: Any, rate: float, channel: Channel) -> str | Path | Tensor:
        if isinstance(audio, str | Path):
            return audio
        return as_waveform(audio, sample_rate=self.model.sample_rate, array_rate=rate, channel=channel)


def _is_there(item: Any) -> bool:
    return isinstance(item, str | PathLike) and os.path.lexists(item)
