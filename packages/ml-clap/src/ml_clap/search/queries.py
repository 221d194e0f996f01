"""What a search looks for: texts in any language, lines of a file, sounds; and their embeddings."""

from __future__ import annotations

import logging
from codecs import BOM_UTF8
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from audio_common.config import Channel
from audio_common.strict_json import is_writable_text

from ml_clap.config.search import SearchConfig
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import BadRow
from ml_clap.files import read_bytes
from ml_clap.search.windows import SILENCE_PEAK

if TYPE_CHECKING:
    from audio_common.workers import DecodeLimits
    from torch import Tensor

    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText
    from ml_clap.models.tower import Tower

logger = logging.getLogger(__name__)


SHORTEST = 1e-3
"""A sum of unit vectors shorter than this has no direction but that of rounding."""


@dataclass(frozen=True)
class Query:
    """What to look for: a text in a language, or a sound."""

    text: str | None = None
    language: str = "eng_Latn"
    audio: str | Path | Tensor | None = None
    """Anything that `as_waveform` takes: a file, or a waveform (samples,) at the model's rate."""
    plus: tuple[Query, ...] = ()
    """Texts and sounds that a hit should be like as well."""
    minus: tuple[Query, ...] = ()
    """Texts and sounds that a hit should not be like."""

    def __str__(self) -> str:
        sound = self.audio if isinstance(self.audio, str | Path) else "the given sound"
        own = f"sounds like {sound}" if self.text is None else f"{self.text} [{self.language}]"
        return "".join([own, *(f" + {part}" for part in self.plus), *(f" - {part}" for part in self.minus)])

    @property
    def has_sound(self) -> bool:
        """Whether it, or a part of it, is a sound: texts alone need no audio encoder."""
        return any(part.text is None for part in (self, *self.plus, *self.minus))

    @property
    def is_composed(self) -> bool:
        """Whether it is made of several texts and sounds."""
        return bool(self.plus or self.minus)


@dataclass
class BadQueries:
    """Queries that are left out, and why."""

    files: dict[str, str] = field(default_factory=dict)
    """Sounds that cannot be read."""
    rows: list[BadRow] = field(default_factory=list)
    """Texts and lines that are none."""

    def __len__(self) -> int:
        """Count them."""
        return len(self.files) + len(self.rows)


def read_queries(config: SearchConfig, bad_rows: list[BadRow] | None = None) -> list[Query]:
    """Return the queries of a command: its texts, its file's lines, its sounds, in this order.

    Args:
        config: the settings.
        bad_rows: gets the texts and lines that are no query; without it the first of them is an error.

    Raises:
        ValueError: the language is unknown, or there is no query.
    """
    default = resolve(config.lang)
    written: list[tuple[str, str | bytes]] = [(f"query {n}", text) for n, text in enumerate(config.query, 1)]
    if config.queries is not None:
        lines = read_bytes(config.queries).removeprefix(BOM_UTF8).splitlines()
        written += [(f"{config.queries}:{n}", line) for n, line in enumerate(lines, 1) if line.strip()]
    queries: list[Query] = []
    bad: list[BadRow] = []
    for where, text in written:
        try:
            queries.append(_parse_line(text, default) if isinstance(text, bytes) else _checked(text, default))
        except ValueError as e:
            bad.append(BadRow(where, str(e)))
    queries += [Query(audio=path) for path in config.audio]
    plus, minus = (tuple(part_of(word, default) for word in words) for words in (config.add, config.subtract))
    if plus or minus:
        queries = [replace(query, plus=plus, minus=minus) for query in queries]
    if bad and (bad_rows is None or not queries):
        raise ValueError(f"{bad[0].where}: {bad[0].message}")
    if not queries:
        raise ValueError(f"{config.queries} holds no query: write one a line")
    if bad_rows is not None:
        bad_rows += bad
    return queries


def part_of(word: str, language: str) -> Query:
    """Return the query that a word of `--add` or `--subtract` is: a sound file's name, or a text.

    Raises:
        FileNotFoundError: it ends like a sound file, and there is none.
        ValueError: it is a folder, or no text.
    """
    from ml_clap.search.similarity import tell_apart

    if tell_apart(word).kind == "audio":
        return Query(audio=Path(word))
    if not word.strip():
        raise ValueError("add, subtract: an empty text; write what is to be heard")
    return _checked(word, language)


def _parse_line(line: bytes, default: str) -> Query:
    try:
        text = line.decode()
    except UnicodeDecodeError as e:
        raise ValueError(f"not UTF-8 text ({e}); sounds to search by are given with --audio") from e
    before, tab, after = text.partition("\t")
    if not tab:
        return _checked(text, default)
    if not after.strip():
        raise ValueError("a language and no text")
    return _checked(after, resolve(before.strip()))


def _checked(text: str, language: str) -> Query:
    # A sound given as --queries by mistake may decode, but holds bytes that no text has.
    if "\0" in text:
        raise ValueError("not text; sounds to search by are given with --audio")
    if not is_writable_text(text):
        raise ValueError(f"not valid Unicode: {text!r}")
    return Query(text=text.strip(), language=language)


def embed_queries(
    model: DualEncoder | None,
    queries: Sequence[Query],
    *,
    text_tower: Tower | None = None,
    channel: Channel | None = None,
    cut: dict[str, CutText] | None = None,
    bad: dict[int, str] | None = None,
    decode_limits: DecodeLimits | None = None,
) -> np.ndarray:
    """Return embeddings (queries, dim) float32; texts in whatever languages go through the model together.

    That of a composed query is the normalized sum of its parts' embeddings, the subtracted ones negative.

    Args:
        model: in evaluation mode; None where all queries are texts, and there is a tower for them.
        queries: what to embed.
        text_tower: embeds the texts in place of the model.
        channel: what is made of a sound's channels; default: the model's.
        cut: gets the texts that are longer than the model reads; without it they are logged.
        bad: gets the number of each query whose sound cannot be read, or whose parts cancel each other out,
            and why; without it that is an error. Its row is all zeros.
        decode_limits: of time and memory, in a process that decodes files; None: in this one.

    Raises:
        AudioError: a sound cannot be read, and `bad` is not given.
        ValueError: the parts of a query cancel each other out, and `bad` is not given.
    """
    parts: list[Query] = []
    places: dict[int, int] = {}  # by identity: queries share their further parts, and each is embedded once
    summands: list[tuple[int, int, int]] = []  # (query, sign, place of the part)
    for number, query in enumerate(queries):
        for sign, some in ((1, (query, *query.plus)), (-1, query.minus)):
            for part in some:
                place = places.setdefault(id(part), len(parts))
                parts += [part] if place == len(parts) else []
                summands.append((number, sign, place))
    unread: dict[int, str] | None = None if bad is None else {}
    rows = _embed_parts(model, text_tower, parts, channel, cut, unread, decode_limits)
    vectors = np.zeros((len(queries), rows.shape[1]), np.float32)
    for number, sign, place in summands:
        vectors[number] += sign * rows[place]
        if bad is not None and unread and place in unread:
            bad[number] = unread[place]
    for number, query in enumerate(queries):
        length = float(np.linalg.norm(vectors[number]))
        if bad is not None and number in bad:
            vectors[number] = 0.0
        elif query.is_composed and length > SHORTEST:
            vectors[number] /= length
        elif query.is_composed:
            reason = f"{query}: its parts cancel each other out"
            if bad is None:
                raise ValueError(reason)
            bad[number], vectors[number] = reason, 0.0
    return vectors


def _embed_parts(
    model: DualEncoder | None,
    text_tower: Tower | None,
    queries: Sequence[Query],
    channel: Channel | None,
    cut: dict[str, CutText] | None,
    bad: dict[int, str] | None,
    decode_limits: DecodeLimits | None,
) -> np.ndarray:
    """Return the embeddings of texts and sounds, each by itself; arguments as of `embed_queries`."""
    texts = [number for number, query in enumerate(queries) if query.text is not None]
    words = [queries[number].text or "" for number in texts]
    codes = [queries[number].language for number in texts]
    if text_tower is not None and len(texts) == len(queries):
        return encode_by_tower(text_tower, words, codes, cut=cut)  # neither torch nor the model is needed
    if model is None:
        raise ValueError("a query by sound needs the model: give it")
    from audio_common.reader import AudioError
    from audio_common.waveform import as_waveform
    from audio_common.workers import DecodePool

    from ml_clap.models.encoding import encode_texts, encode_waveforms

    vectors = np.zeros((len(queries), model.embed_dim), np.float32)
    if texts and text_tower is not None:
        vectors[texts] = encode_by_tower(text_tower, words, codes, cut=cut)
    elif texts:
        vectors[texts] = encode_texts(model, words, codes, cut=cut).numpy()
    with ExitStack() as stack:
        pool = None if decode_limits is None else stack.enter_context(DecodePool(decode_limits))
        for number, query in enumerate(queries):
            audio = query.audio
            if query.text is not None or audio is None:
                continue
            try:
                chosen, rate = channel or model.channel, model.sample_rate
                if pool is not None and isinstance(audio, str | Path):
                    waveform = pool.load_audio(audio, sample_rate=rate, channel=chosen)
                else:
                    waveform = as_waveform(audio, sample_rate=rate, array_rate=rate, channel=chosen)
                if float(waveform.abs().max()) <= SILENCE_PEAK:
                    raise AudioError(f"{query} holds no sound: there is nothing to compare with")
            except AudioError as e:
                if bad is None:
                    raise
                bad[number] = str(e)
                continue
            vectors[number] = encode_waveforms(model, [waveform])[0].numpy()
    return vectors


def encode_by_tower(
    tower: Tower, texts: Sequence[str], codes: str | Sequence[str], *, cut: dict[str, CutText] | None = None
) -> np.ndarray:
    """Return a tower's vectors of texts `(texts, dim)` float32; what it cuts is noted in `cut`, or logged."""
    found = tower.find_cut(list(dict.fromkeys(texts)))
    if cut is not None:
        cut.update({text.text: text for text in found})
    elif found:
        logger.warning(tower.describe_cut(found))
    return tower.encode(texts, codes)
