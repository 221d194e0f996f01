"""A finished model for use from Python: embeddings, similarities, an index and its search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from audio_common.audio import AudioError
from audio_common.prefetch import AudioSpan
from torch import Tensor

from ml_clap.data.languages import resolve
from ml_clap.models.checkpoint import find_model
from ml_clap.models.device import Dtype, choose_device, choose_dtype
from ml_clap.models.encoding import encode_files, encode_texts, encode_waveforms
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.search.audio_index import AudioIndex, Hit
from ml_clap.search.engines import EngineName
from ml_clap.search.index import IndexReport, update_index
from ml_clap.search.queries import Query, embed_queries

if TYPE_CHECKING:
    from typing import Self

    from ml_clap.models.checkpoint import Mode

Audio = str | Path | np.ndarray | Tensor
"""A file, or a waveform `(samples,)` at 16 kHz."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found for one query."""

    query: Query
    hits: list[Hit]
    """The best first."""


class Retriever:
    """Finds audio by text in any of the model's languages, or by other audio.

        >>> retriever = Retriever.from_pretrained("runs/clotho")  # doctest: +SKIP
        >>> retriever.similarity("un chien aboie", ["dog.wav", "rain.wav"], lang="fr")  # doctest: +SKIP
        array([[0.62, 0.08]], dtype=float32)
        >>> retriever.index("recordings", "recordings.index").num_clips  # doctest: +SKIP
        120
        >>> retriever.search("recordings.index", "a dog barks")[0].hits[0].file  # doctest: +SKIP
        PosixPath('/data/recordings/dog.wav')

    One text or one audio may stand alone wherever several are taken; results have as many rows as there are
    items, one then.

    Args:
        model: In evaluation mode.
        name: What an index notes as its model: the folder or hub id to load it from again.
    """

    def __init__(self, model: MLCLAP, name: str = "") -> None:
        self.model = model.eval()
        self.name = name
        self._verified: set[str] = set()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        dtype: Dtype = "float32",
        mode: Mode | None = None,
        text_tokenizer: str | Path | None = None,
    ) -> Self:
        """Load a model.

        Args:
            source: A model folder, a training run (its `best` model, else its `last`), a hub id, or one of
                the authors' checkpoints.
            device: cpu, cuda, cuda:1, mps; `auto`: the GPU if there is one.
            dtype: Precision of the weights. An index is searched with the one that it was made with.
            mode: See `MLCLAP.from_pretrained`.
            text_tokenizer: See `MLCLAP.from_pretrained`.

        Raises:
            ValueError: The source is not a model.
        """
        found, device = find_model(source), choose_device(device)
        model = MLCLAP.from_pretrained(
            found,
            device=device,
            dtype=choose_dtype(dtype, device),
            mode=mode,
            text_tokenizer=text_tokenizer,
        )
        # Absolute, so that an index finds its model again from any folder.
        return cls(model, str(Path(found).absolute() if Path(found).exists() else found))

    def encode_audio(
        self, audio: Audio | Sequence[Audio], *, seconds_per_batch: float = 160.0, num_workers: int = 1
    ) -> np.ndarray:
        """Embed audio, the same whatever it is batched with.

        Args:
            audio: Files, or waveforms `(samples,)` at 16 kHz.
            seconds_per_batch: Seconds of audio encoded at once.
            num_workers: Threads that read files.

        Returns:
            `(items, dim)` float32, L2-normalized, in the order given.

        Raises:
            AudioError: A file cannot be read.
        """
        items: list[Any] = [audio] if isinstance(audio, Audio) else list(audio)
        is_file = [isinstance(item, str | Path) for item in items]
        vectors = np.empty((len(items), self.model.config.embed_dim), np.float32)
        files = [AudioSpan(Path(item)) for item, of_file in zip(items, is_file, strict=True) if of_file]
        waveforms = [
            torch.as_tensor(item, dtype=torch.float32)
            for item, of_file in zip(items, is_file, strict=True)
            if not of_file
        ]
        if files:
            embedded, bad = encode_files(
                self.model, files, seconds_per_batch=seconds_per_batch, num_workers=num_workers
            )
            if bad:
                raise AudioError(bad[0].reason)
            vectors[np.flatnonzero(is_file)] = embedded.numpy()
        if waveforms:
            embedded = encode_waveforms(self.model, waveforms, seconds_per_batch=seconds_per_batch)
            vectors[np.flatnonzero(~np.array(is_file))] = embedded.numpy()
        return vectors

    def encode_text(
        self, texts: str | Sequence[str], lang: str | Sequence[str] = "eng_Latn", *, batch_size: int = 256
    ) -> np.ndarray:
        """Embed texts, all in one language or each in its own.

        Args:
            texts: Captions or queries, as written: normalization is part of the model.
            lang: SONAR's codes (fra_Latn) or ISO 639 (fr).
            batch_size: Texts encoded at once.

        Returns:
            `(texts, dim)` float32, L2-normalized, in the order given.

        Raises:
            ValueError: A language is not known.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        codes = resolve(lang) if isinstance(lang, str) else [resolve(code) for code in lang]
        return encode_texts(self.model, texts, codes, batch_size).numpy()

    def similarity(
        self,
        texts: str | Sequence[str],
        audio: Audio | Sequence[Audio],
        lang: str | Sequence[str] = "eng_Latn",
    ) -> np.ndarray:
        """Return the cosine of every text with every audio: `(texts, items)` float32, from -1 to 1.

        Cosines rank the audio for a text; they are no probabilities.
        """
        return self.encode_text(texts, lang) @ self.encode_audio(audio).T

    def index(self, source: str | Path, out: str | Path, **options: Any) -> IndexReport:
        """Make or update the index of a folder or manifest, encoding only what is new.

        Args:
            source: Folder of audio files, read recursively, or a manifest (.jsonl).
            out: Folder of the index.
            **options: See `ml_clap.search.index.update_index`: windows, dtype, workers, progress.

        Raises:
            AudioIndexError: There is nothing to index, or the index is of another model or other settings.
        """
        return update_index(self.model, Path(source), Path(out), model_name=self.name, **options)

    def search(
        self,
        index: str | Path | AudioIndex,
        texts: str | Sequence[str] = (),
        *,
        audio: Audio | Sequence[Audio] = (),
        lang: str = "eng_Latn",
        top_k: int = 10,
        all_windows: bool = False,
        engine: EngineName = "numpy",
    ) -> list[SearchResult]:
        """Search an index by texts and by audio; gives a result for each, texts first.

        Args:
            index: Its folder, or the opened index where many searches follow one another.
            texts: What to look for.
            audio: What the hits should sound like: files, or waveforms `(samples,)` at 16 kHz.
            lang: Language of the texts.
            top_k: Hits for each query at most.
            all_windows: Let every window be a hit of its own; else a file's best one.
            engine: See `SearchConfig.engine`.

        Raises:
            AudioIndexError: There is no index, it is empty, or another model made it.
        """
        opened = index if isinstance(index, AudioIndex) else AudioIndex.open(index)
        # A fingerprint reads all weights: once is enough.
        if opened.settings.fingerprint not in self._verified:
            opened.verify(self.model)
            self._verified.add(opened.settings.fingerprint)
        texts = [texts] if isinstance(texts, str) else list(texts)
        sounds: list[Any] = [audio] if isinstance(audio, Audio) else list(audio)
        queries = [Query(text=text, language=resolve(lang)) for text in texts]
        queries += [Query(audio=_waveform_or_path(sound)) for sound in sounds]
        if not queries:
            return []
        found = opened.nearest(embed_queries(self.model, queries), top_k, all_windows, engine)
        return [SearchResult(query, hits) for query, hits in zip(queries, found, strict=True)]


def _waveform_or_path(audio: Audio) -> str | Path | Tensor:
    return audio if isinstance(audio, str | Path) else torch.as_tensor(audio, dtype=torch.float32)
