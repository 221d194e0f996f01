"""Embeddings of many sounds and texts, each encoded once.

Sounds are decoded ahead in batches of like length (see `audio_common.prefetch`). What cannot be read is
reported and skipped.

A sound's embedding depends on it alone, so neither order nor batches matter; but in the reference mode they
do, which is what the argument `batches` is for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from audio_common.audio import AudioError
from audio_common.batch import pad_waveforms
from audio_common.config import Channel
from audio_common.prefetch import AudioSpan, BadFile, BatchLimits, batch_by_length, decode_ahead
from torch import Tensor

if TYPE_CHECKING:
    from audio_common.workers import DecodeLimits, DecodePool

    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText

logger = logging.getLogger(__name__)

UNHEARD = "its last piece is not heard, as in the authors' evaluation"
"""What the reference mode does to the end of some long sounds."""

Progress = Callable[[int, int], None]
"""Called with the number of sounds done and the number of all."""


@contextmanager
def evaluation_mode(model: DualEncoder) -> Iterator[None]:
    """Put the model in evaluation mode within the block, and then back into the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def encode_spans(
    model: DualEncoder,
    spans: Sequence[AudioSpan],
    *,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    progress: Progress | None = None,
    bad_files: list[BadFile] | None = None,
    batches: Sequence[Sequence[int]] | None = None,
    channel: Channel | None = None,
    decode_limits: DecodeLimits | DecodePool | None = None,
    complaints: list[BadFile] | None = None,
    skip: Callable[[int, Tensor], bool] | None = None,
) -> Iterator[tuple[list[int], Tensor]]:
    """Encode files or parts of files.

    Args:
        model: in evaluation mode.
        spans: what to encode.
        seconds_per_batch: audio encoded at once, padding included; a longer span is a batch of its own.
        num_workers: threads that decode.
        progress: called after each batch.
        bad_files: gets what could not be read or encoded; without it that is an error.
        batches: numbers of spans to encode together, in this order, instead of batches by length.
        channel: what is made of several channels; default: the model's.
        decode_limits: of time and memory, in processes that decode, or a pool of them; None: in threads of
            this one.
        complaints: gets what is odd about sounds that are encoded nevertheless.
        skip: asked with the number and waveform of each sound; True leaves it out.

    Yields:
        The numbers of some spans, and their embeddings `(n, dim)` float32 on the CPU. Together they are all
        spans but the bad ones, in no particular order.

    Raises:
        AudioError: a file cannot be read, and `bad_files` is not given.
        ValueError: the model is in training mode, or an argument is impossible.
    """
    _check(model, seconds_per_batch)
    waiting = set(range(len(spans)) if batches is None else (index for batch in batches for index in batch))
    bad: list[BadFile] = [] if bad_files is None else bad_files
    decoded = decode_ahead(
        spans,
        BatchLimits(seconds_per_batch),
        num_workers=num_workers,
        bad_files=bad_files,
        batches=batches,
        channel=channel or model.channel,
        sample_rate=model.sample_rate,
        decode_limits=decode_limits,
        complaints=complaints,
    )
    for numbers, sounds in decoded:
        wanted = [both for both in zip(numbers, sounds, strict=True) if skip is None or not skip(*both)]
        waiting -= set(numbers) - {number for number, _ in wanted}
        if not wanted:
            continue
        indices, waveforms = [number for number, _ in wanted], [sound for _, sound in wanted]
        if (reason := _say_too_short(model, waveforms)) is not None:
            short = [BadFile(spans[index].path, f"{spans[index].path} {reason}", index) for index in indices]
            if bad_files is None:
                raise AudioError(short[0].reason)
            bad_files += short
            continue
        if complaints is not None:
            unheard = [
                indices[place] for place in model.find_unheard([len(waveform) for waveform in waveforms])
            ]
            complaints += [BadFile(spans[n].path, f"{spans[n].path}: {UNHEARD}", n, True) for n in unheard]
        vectors = _embed(model, waveforms)
        finite = vectors.isfinite().all(dim=1)
        for place in (~finite).nonzero().flatten().tolist():
            path = spans[indices[place]].path
            reason = f"the embedding of {path} is not finite"
            if bad_files is None:
                raise AudioError(reason)
            bad_files.append(BadFile(path, reason, indices[place]))
        if finite.any():
            yield [indices[place] for place in finite.nonzero().flatten().tolist()], vectors[finite]
        waiting -= {*indices, *(file.index for file in bad)}
        if progress is not None:
            progress(len(spans) - len(waiting), len(spans))
    if progress is not None and waiting:  # the last ones could not be decoded
        progress(len(spans), len(spans))


def encode_files(
    model: DualEncoder,
    spans: Sequence[AudioSpan],
    *,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    progress: Progress | None = None,
    batches: Sequence[Sequence[int]] | None = None,
    channel: Channel | None = None,
    decode_limits: DecodeLimits | None = None,
    complaints: list[BadFile] | None = None,
) -> tuple[Tensor, list[BadFile]]:
    """Encode all at once what `encode_spans` gives batch by batch.

    Returns:
        `(spans, dim)` float32 on the CPU, in the order of `spans`, NaN where one is bad; and the bad ones. If
        `batches` name a span twice, its first embedding counts.
    """
    embeddings = torch.full((len(spans), model.embed_dim), torch.nan)
    bad: list[BadFile] = []
    for indices, rows in encode_spans(
        model,
        spans,
        seconds_per_batch=seconds_per_batch,
        num_workers=num_workers,
        progress=progress,
        bad_files=bad,
        batches=batches,
        channel=channel,
        decode_limits=decode_limits,
        complaints=complaints,
    ):
        first = embeddings[indices].isnan().any(dim=1)
        embeddings[torch.tensor(indices)[first]] = rows[first]
    return embeddings, list({file.index: file for file in sorted(bad, key=lambda file: file.index)}.values())


def encode_waveforms(
    model: DualEncoder, waveforms: Sequence[Tensor], *, seconds_per_batch: float = 160.0
) -> Tensor:
    """Encode sounds in memory.

    Args:
        model: in evaluation mode.
        waveforms: each `(samples,)` at the model's rate.
        seconds_per_batch: seconds of audio encoded at once, padding included.

    Returns:
        `(waveforms, dim)` float32 on the CPU, in the order given.
    """
    _check(model, seconds_per_batch)
    embeddings = torch.empty(len(waveforms), model.embed_dim)
    seconds = [len(waveform) / model.sample_rate for waveform in waveforms]
    for indices in batch_by_length(seconds, BatchLimits(seconds_per_batch)):
        embeddings[indices] = _embed(model, [waveforms[index] for index in indices])
    return embeddings


def encode_texts(
    model: DualEncoder,
    texts: Sequence[str],
    languages: str | Sequence[str],
    batch_size: int = 256,
    *,
    cut: dict[str, CutText] | None = None,
) -> Tensor:
    """Encode texts, all in one language or each in its own; equal ones of one language once.

    Args:
        model: in evaluation mode.
        texts: captions, before normalization.
        languages: SONAR's codes.
        batch_size: texts encoded at once.
        cut: gets the texts that are longer than the model reads; without it they are logged.

    Returns:
        `(texts, dim)` float32 on the CPU, in the order given.
    """
    _check(model)
    codes = [languages] * len(texts) if isinstance(languages, str) else languages
    places: dict[tuple[str, str], int] = {}
    # Captions repeat (labels, several clips of one scene): each distinct one is encoded once.
    rows = [places.setdefault(pair, len(places)) for pair in zip(texts, codes, strict=True)]
    found = model.find_cut(list(dict.fromkeys(texts)))
    if cut is not None:
        cut.update({text.text: text for text in found})
    elif found:
        logger.warning(model.describe_cut(found))
    # By bytes: a character of Chinese or Japanese makes about as many tokens as three Latin ones.
    order = sorted(places, key=lambda pair: len(pair[0].encode("utf-8", "replace")), reverse=True)
    distinct = torch.empty(len(places), model.embed_dim)
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        words, tongues = [text for text, _ in batch], [code for _, code in batch]
        with torch.inference_mode():
            vectors = model.embed_text(words, tongues).float().cpu()
        distinct[[places[pair] for pair in batch]] = vectors
    return distinct[rows]


def embed_labels(
    model: DualEncoder,
    descriptions: Sequence[Sequence[str]],
    language: str,
    *,
    cut: dict[str, CutText] | None = None,
) -> Tensor:
    """Return one embedding a class, `(labels, dim)`, L2-normalized: the mean of those of its descriptions."""
    texts = [text for described in descriptions for text in described]
    return mean_of_each(encode_texts(model, texts, language, cut=cut), descriptions)


def mean_of_each(rows: Tensor, descriptions: Sequence[Sequence[str]]) -> Tensor:
    """Return the mean of each class's `rows`, one a description, L2-normalized: `(labels, dim)`."""
    parts = rows.split([len(described) for described in descriptions])
    return F.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=1)


def _say_too_short(model: DualEncoder, waveforms: Sequence[Tensor]) -> str | None:
    """Return why the model cannot take a batch: its sounds may all be too short."""
    if max(map(len, waveforms)) >= model.min_samples:
        return None
    return f"is too short for the model, which needs {model.min_samples / model.sample_rate:.2f} s"


def _check(model: DualEncoder, seconds_per_batch: float = 1.0) -> None:
    if model.training:
        raise ValueError("the model is in training mode, where dropout changes embeddings: call model.eval()")
    if not seconds_per_batch > 0:
        raise ValueError(f"seconds_per_batch must be above 0, got {seconds_per_batch}")


def _embed(model: DualEncoder, waveforms: Sequence[Tensor]) -> Tensor:
    padded, lengths = pad_waveforms(waveforms)
    with torch.inference_mode():
        vectors = model.embed_audio(padded.to(model.device), lengths.to(model.device)).float().cpu()
    return vectors.clone()  # outside of inference mode: an ordinary tensor, which autograd may use
