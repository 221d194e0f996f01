"""What a search looks for: texts in any language, lines of a file, sounds; and their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from audio_common.config import Channel

from ml_clap.config.search import SearchConfig
from ml_clap.data.languages import resolve
from ml_clap.files import read_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from ml_clap.models.ml_clap import MLCLAP
    from ml_clap.models.tokenizer import CutText


@dataclass(frozen=True)
class Query:
    """What to look for: a text in a language, or a sound."""

    text: str | None = None
    language: str = "eng_Latn"
    audio: str | Path | Tensor | None = None
    """Anything that `as_waveform` takes: a file, or a waveform (samples,) at 16 kHz."""

    def __str__(self) -> str:
        return f"sounds like {self.audio}" if self.text is None else f"{self.text} [{self.language}]"


def read_queries(config: SearchConfig) -> list[Query]:
    """Return the queries of a command: its texts, its file's lines, its sounds, in this order.

    Raises:
        ValueError: a language is unknown, or the file holds no query.
    """
    default = resolve(config.lang)
    queries = [Query(text=text, language=default) for text in config.query]
    if config.queries:
        lines = _decode(read_bytes(config.queries), config.queries).splitlines()
        queries += [
            _parse_line(line, default, f"{config.queries}:{number}")
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
    queries += [Query(audio=path) for path in config.audio]
    if not queries:
        raise ValueError(f"{config.queries} holds no query: write one a line")
    return queries


def _decode(content: bytes, path: Path) -> str:
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as e:
        raise ValueError(f"{path}: not UTF-8 text ({e})") from e
    # A sound given as --queries by mistake may decode, but holds bytes that no text has.
    if "\0" in text:
        raise ValueError(f"{path}: not text; sounds to search by are given with --audio")
    return text


def _parse_line(line: str, default: str, where: str) -> Query:
    before, tab, after = line.partition("\t")
    if not tab:
        return Query(text=line.strip(), language=default)
    if not after.strip():
        raise ValueError(f"{where}: a language and no text")
    try:
        return Query(text=after.strip(), language=resolve(before.strip()))
    except ValueError as e:
        raise ValueError(f"{where}: {e}") from e


def embed_queries(
    model: MLCLAP,
    queries: Sequence[Query],
    *,
    channel: Channel | None = None,
    cut: dict[str, CutText] | None = None,
    bad: dict[int, str] | None = None,
) -> np.ndarray:
    """Return embeddings (queries, dim) float32; texts in whatever languages go through the model together.

    Args:
        model: in evaluation mode.
        queries: what to embed.
        channel: what is made of a sound's channels; default: the model's.
        cut: gets the texts that are longer than the model reads; without it they are logged.
        bad: gets the number of each query whose sound cannot be read, and why; without it that is an error.
            Its row is all zeros.

    Raises:
        AudioError: a sound cannot be read, and `bad` is not given.
    """
    from audio_common.reader import AudioError
    from audio_common.waveform import as_waveform

    from ml_clap.models.encoding import encode_texts, encode_waveforms

    vectors = np.zeros((len(queries), model.config.embed_dim), np.float32)
    texts = [number for number, query in enumerate(queries) if query.text is not None]
    if texts:
        words = [queries[number].text or "" for number in texts]
        codes = [queries[number].language for number in texts]
        vectors[texts] = encode_texts(model, words, codes, cut=cut).numpy()
    for number, query in enumerate(queries):
        audio = query.audio
        if query.text is None and audio is not None:
            try:
                waveform = as_waveform(audio, channel=channel or model.channel)
            except AudioError as e:
                if bad is None:
                    raise
                bad[number] = str(e)
                continue
            vectors[number] = encode_waveforms(model, [waveform])[0].numpy()
    return vectors
