"""What a search is for: texts in any language, lines of a file, sounds; and their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml_clap.config.search import SearchConfig
from ml_clap.data.languages import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from ml_clap.models.ml_clap import MLCLAP


@dataclass(frozen=True)
class Query:
    """What to look for: a text in a language, or a sound."""

    text: str | None = None
    language: str = "eng_Latn"
    audio: Path | None = None

    def __str__(self) -> str:
        return f"sounds like {self.audio}" if self.audio else f"{self.text} [{self.language}]"


def read_queries(config: SearchConfig) -> list[Query]:
    """The queries of a command: its texts, its file's lines, its sounds, in this order.

    Raises:
        ValueError: if a language is unknown or the file holds no query.
    """
    default = resolve(config.lang)
    queries = [Query(text=text, language=default) for text in config.query]
    if config.queries:
        lines = config.queries.read_text(encoding="utf-8").splitlines()
        queries += [_parse_line(line, default) for line in lines if line.strip()]
    queries += [Query(audio=path) for path in config.audio]
    if not queries:
        raise ValueError(f"{config.queries} holds no query: write one a line")
    return queries


def _parse_line(line: str, default: str) -> Query:
    before, tab, after = line.partition("\t")
    if not tab:
        return Query(text=line.strip(), language=default)
    return Query(text=after.strip(), language=resolve(before.strip()))


def embed_queries(model: MLCLAP, queries: Sequence[Query]) -> np.ndarray:
    """Embeddings (queries, dim) float32; the texts go through the model together, in whatever languages."""
    texts = [number for number, query in enumerate(queries) if query.text is not None]
    vectors = np.empty((len(queries), model.config.embed_dim), np.float32)
    if texts:
        words = [queries[number].text or "" for number in texts]
        vectors[texts] = embed_text(model, words, [queries[number].language for number in texts])
    for number, query in enumerate(queries):
        if query.audio is not None:
            vectors[number] = embed_audio(model, query.audio)[0]
    return vectors


def embed_text(model: MLCLAP, texts: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    """Embeddings (texts, dim) float32 of texts, each in its language."""
    from ml_clap.models.encoding import encode_texts

    return encode_texts(model, list(texts), list(languages)).numpy()


def embed_audio(model: MLCLAP, audio: str | Path | Tensor) -> np.ndarray:
    """Embedding (1, dim) float32 of a file or of a waveform (samples,) at 16 kHz."""
    import torch
    from audio_common.audio import load_audio

    from ml_clap.models.encoding import encode_waveforms

    return encode_waveforms(model, [audio if isinstance(audio, torch.Tensor) else load_audio(audio)]).numpy()
