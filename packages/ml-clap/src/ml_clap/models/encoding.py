"""Embeddings of many sounds and texts, each encoded once.

Sounds are sorted by length and batched by seconds, longest first (what does not fit into memory shows at
once), and decoded by threads while the model works on the batch before; soundfile and soxr release Python's
lock. At most `BATCHES_AHEAD` batches wait. What cannot be read is reported and left out.

A sound's embedding depends on it alone, so neither order nor batches matter; but in the reference mode they
do, which is what the argument `batches` is for.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from audio_common.audio import AudioError, audio_info, load_audio
from audio_common.batch import pad_waveforms
from torch import Tensor

if TYPE_CHECKING:
    from ml_clap.models.ml_clap import MLCLAP

BATCHES_AHEAD = 2
"""Batches of waveforms decoded or being decoded while another one is encoded."""
SAMPLE_RATE = 16_000

Progress = Callable[[int, int], None]
"""Called with the number of sounds done and the number of all."""


@dataclass(frozen=True)
class AudioSpan:
    """A file or a part of one; a long file is best encoded in several (see `ml_clap.search.windows`)."""

    path: Path
    offset: float = 0.0
    """Seconds from the file's beginning."""
    duration: float | None = None
    """Seconds; None: to the file's end."""


@dataclass(frozen=True)
class BadFile:
    """A sound that could not be encoded."""

    path: Path
    reason: str
    index: int
    """Its place among the spans that were given."""


@contextmanager
def evaluation_mode(model: MLCLAP) -> Iterator[None]:
    """Within it the model is in evaluation mode; afterwards in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@dataclass(frozen=True)
class _Decoded:
    """A batch on its way to the model: the spans' numbers and what the threads make of them."""

    indices: list[int]
    waveforms: list[Future[Tensor]]


def encode_spans(
    model: MLCLAP,
    spans: Sequence[AudioSpan],
    *,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    progress: Progress | None = None,
    bad_files: list[BadFile] | None = None,
    batches: Sequence[Sequence[int]] | None = None,
) -> Iterator[tuple[list[int], Tensor]]:
    """Encode files or parts of files.

    Args:
        model: in evaluation mode.
        spans: what to encode.
        seconds_per_batch: sound encoded at once, padding included; a longer span is a batch of its own.
        num_workers: threads that decode.
        progress: told after each batch.
        bad_files: gets what could not be read or encoded; without it that is an error.
        batches: numbers of spans to encode together, in this order, instead of batches by length.

    Yields:
        The numbers of some spans, and their embeddings `(n, dim)` float32 on the CPU. Together they are all
        spans but the bad ones, in no particular order.

    Raises:
        AudioError: a file cannot be read, and `bad_files` is not given.
        ValueError: the model is in training mode, or an argument is impossible.
    """
    _check(model, seconds_per_batch, num_workers)
    bad: list[BadFile] = [] if bad_files is None else bad_files
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="decode")
    try:
        if batches is None:
            batches = _plan_batches(pool, spans, seconds_per_batch, bad)
        _raise_first(bad if bad_files is None else [])
        done = set(range(len(spans))).difference(*batches)  # what cannot even be measured
        for decoded in _decode_ahead(pool, spans, batches):
            indices, embeddings = _encode_decoded(model, decoded, spans, bad)
            _raise_first(bad if bad_files is None else [])
            if indices:
                yield indices, embeddings
            done.update(decoded.indices)
            if progress is not None:
                progress(len(done), len(spans))
    finally:
        pool.shutdown(cancel_futures=True)


def encode_files(
    model: MLCLAP,
    spans: Sequence[AudioSpan],
    *,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    progress: Progress | None = None,
    batches: Sequence[Sequence[int]] | None = None,
) -> tuple[Tensor, list[BadFile]]:
    """All at once what `encode_spans` gives batch by batch.

    Returns:
        `(spans, dim)` float32 on the CPU, in the order of `spans`, NaN where one is bad; and the bad ones. If
        `batches` name a span twice, its first embedding counts.
    """
    embeddings = torch.full((len(spans), model.config.embed_dim), torch.nan)
    bad: list[BadFile] = []
    for indices, rows in encode_spans(
        model,
        spans,
        seconds_per_batch=seconds_per_batch,
        num_workers=num_workers,
        progress=progress,
        bad_files=bad,
        batches=batches,
    ):
        first = embeddings[indices].isnan().any(dim=1)
        embeddings[torch.tensor(indices)[first]] = rows[first]
    return embeddings, list({file.index: file for file in sorted(bad, key=lambda file: file.index)}.values())


def encode_waveforms(
    model: MLCLAP, waveforms: Sequence[Tensor], *, seconds_per_batch: float = 160.0
) -> Tensor:
    """Encode sounds in memory.

    Args:
        model: in evaluation mode.
        waveforms: each `(samples,)` at 16 kHz.
        seconds_per_batch: sound encoded at once, padding included.

    Returns:
        `(waveforms, dim)` float32 on the CPU, in the order given.
    """
    _check(model, seconds_per_batch, 1)
    embeddings = torch.empty(len(waveforms), model.config.embed_dim)
    seconds = [len(waveform) / SAMPLE_RATE for waveform in waveforms]
    for indices in batch_by_seconds(seconds, seconds_per_batch):
        embeddings[indices] = _embed(model, [waveforms[index] for index in indices])
    return embeddings


def encode_texts(
    model: MLCLAP, texts: Sequence[str], languages: str | Sequence[str], batch_size: int = 256
) -> Tensor:
    """Encode texts, all in one language or each in its own; equal ones of one language once.

    Args:
        model: in evaluation mode.
        texts: captions, before normalisation.
        languages: SONAR's codes.
        batch_size: texts encoded at once.

    Returns:
        `(texts, dim)` float32 on the CPU, in the order given.
    """
    if model.training:
        raise ValueError("the model is in training mode, where dropout changes embeddings: call model.eval()")
    codes = [languages] * len(texts) if isinstance(languages, str) else languages
    places: dict[tuple[str, str], int] = {}
    rows = [places.setdefault(pair, len(places)) for pair in zip(texts, codes, strict=True)]
    # By bytes: a character of Chinese or Japanese makes about as many tokens as three Latin ones.
    order = sorted(places, key=lambda pair: len(pair[0].encode("utf-8", "replace")), reverse=True)
    distinct = torch.empty(len(places), model.config.embed_dim)
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        words, tongues = [text for text, _ in batch], [code for _, code in batch]
        with torch.inference_mode():
            vectors = model.encode_text(words, tongues).float().cpu()
        distinct[[places[pair] for pair in batch]] = vectors
    return distinct[rows]


def batch_by_seconds(seconds: Sequence[float], seconds_per_batch: float) -> list[list[int]]:
    """Group numbers of sounds of like length so that none of the batches, padded, holds more than so much.

    Longest first; a longer one is a batch of its own.

    >>> batch_by_seconds([1.0, 30.0, 4.0, 2.0, 5.0], 10.0)
    [[1], [4, 2], [3, 0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(seconds)), key=lambda index: -seconds[index]):
        longest = seconds[batches[-1][0]] if batches else math.inf
        if not batches or longest * (len(batches[-1]) + 1) > seconds_per_batch:
            batches.append([])
        batches[-1].append(index)
    return batches


def _check(model: MLCLAP, seconds_per_batch: float, num_workers: int) -> None:
    if model.training:
        raise ValueError("the model is in training mode, where dropout changes embeddings: call model.eval()")
    if not seconds_per_batch > 0:
        raise ValueError(f"seconds_per_batch must be above 0, got {seconds_per_batch}")
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, got {num_workers}")


def _plan_batches(
    pool: ThreadPoolExecutor, spans: Sequence[AudioSpan], seconds_per_batch: float, bad: list[BadFile]
) -> list[list[int]]:
    measured = [pool.submit(_measure, span) for span in spans]
    good, seconds = [], []
    for index, future in enumerate(measured):
        try:
            seconds.append(future.result())
            good.append(index)
        except (AudioError, OSError) as e:
            bad.append(BadFile(spans[index].path, str(e), index))
    return [[good[place] for place in batch] for batch in batch_by_seconds(seconds, seconds_per_batch)]


def _measure(span: AudioSpan) -> float:
    """Seconds of a span as the file's header has it; where that is silent, enough for a batch of its own."""
    if span.duration is not None:
        return span.duration
    duration = audio_info(span.path).duration
    return math.inf if duration is None else max(0.0, duration - span.offset)


def _load(span: AudioSpan) -> Tensor:
    return load_audio(span.path, sample_rate=SAMPLE_RATE, offset=span.offset, duration=span.duration)


def _decode_ahead(
    pool: ThreadPoolExecutor, spans: Sequence[AudioSpan], batches: Sequence[Sequence[int]]
) -> Iterator[_Decoded]:
    waiting: deque[_Decoded] = deque()
    for batch in batches:
        waiting.append(_Decoded(list(batch), [pool.submit(_load, spans[index]) for index in batch]))
        if len(waiting) > BATCHES_AHEAD:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _encode_decoded(
    model: MLCLAP, decoded: _Decoded, spans: Sequence[AudioSpan], bad: list[BadFile]
) -> tuple[list[int], Tensor]:
    """Embeddings of what could be decoded; the rest goes to `bad`."""
    indices, waveforms = [], []
    for index, future in zip(decoded.indices, decoded.waveforms, strict=True):
        try:
            waveforms.append(future.result())
            indices.append(index)
        except (AudioError, OSError) as e:
            bad.append(BadFile(spans[index].path, str(e), index))
    if not indices:
        return [], torch.empty(0, model.config.embed_dim)
    vectors = _embed(model, waveforms)
    good = vectors.isfinite().all(dim=1)
    for place in (~good).nonzero().flatten().tolist():
        path = spans[indices[place]].path
        bad.append(BadFile(path, f"the embedding of {path} is not finite", indices[place]))
    return [indices[place] for place in good.nonzero().flatten().tolist()], vectors[good]


def _raise_first(bad: Sequence[BadFile]) -> None:
    if bad:
        raise AudioError(bad[0].reason)


def _embed(model: MLCLAP, waveforms: Sequence[Tensor]) -> Tensor:
    padded, lengths = pad_waveforms(waveforms)
    with torch.inference_mode():
        vectors = model.encode_audio(padded.to(model.device), lengths.to(model.device)).float().cpu()
    return vectors.clone()  # outside of inference mode: an ordinary tensor, which autograd may use
