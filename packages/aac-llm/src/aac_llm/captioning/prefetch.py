"""Sound files to batches of waveforms of like length, decoded by threads while the model works.

soundfile and soxr release Python's lock, so one thread usually keeps up. Each file is opened once to read its
length from the header and decoded once; at most `BATCHES_AHEAD` batches wait. What cannot be read is reported
and left out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

BATCHES_AHEAD = 2
"""Batches of waveforms decoded or being decoded while another one is captioned."""
SAMPLE_RATE = 16_000  # Hz

T = TypeVar("T")


@dataclass(frozen=True)
class BadFile:
    """A sound that could not be captioned, or not all of it."""

    audio: str
    """Its path."""
    reason: str
    index: int
    """Its place among the sounds that were given."""
    partly: bool = False
    """Whether some of its segments were captioned."""


@dataclass(frozen=True)
class BatchLimits:
    """How much sound is captioned at once."""

    seconds: float = 160.0
    """Seconds, padding included; a longer sound is a batch of its own."""
    size: int = 32
    """Sounds."""


def batch_by_length(seconds: Sequence[float], limits: BatchLimits) -> list[list[int]]:
    """Numbers of sounds in batches of like length, longest first: what does not fit shows at once.

    >>> batch_by_length([1.0, 30.0, 4.0, 2.0, 5.0], BatchLimits(10.0, 32))
    [[1], [4, 2], [3, 0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(seconds)), key=lambda index: -seconds[index]):
        last = batches[-1] if batches else []
        longest = seconds[last[0]] if last else math.inf
        if not last or len(last) == limits.size or longest * (len(last) + 1) > limits.seconds:
            batches.append([])
        batches[-1].append(index)
    return batches


def decode_batches(
    paths: Sequence[Path],
    limits: BatchLimits,
    *,
    num_workers: int = 1,
    max_seconds: float = math.inf,
    bad_files: list[BadFile],
) -> Iterator[list[tuple[int, Tensor]]]:
    """Waveforms of files, in batches of like length.

    Args:
        paths: the files.
        limits: of a batch, by the lengths that were decoded, whatever the headers say.
        num_workers: threads that decode.
        max_seconds: a longer file is reported, not decoded.
        bad_files: gets what could not be read.

    Yields:
        Numbers of files with their waveforms (samples,) at 16 kHz.
    """
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="decode")
    try:
        good, seconds = _measure_all(pool, paths, max_seconds, bad_files)
        plan = [[good[place] for place in batch] for batch in batch_by_length(seconds, limits)]
        for indices, futures in _decode_ahead(pool, paths, plan):
            decoded = list(_finish(indices, futures, paths, max_seconds, bad_files))
            lengths = [len(waveform) / SAMPLE_RATE for _, waveform in decoded]
            for batch in batch_by_length(lengths, limits):  # the same batch, unless a header was wrong
                yield [decoded[place] for place in batch]
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_all(
    pool: ThreadPoolExecutor, paths: Sequence[Path], max_seconds: float, bad_files: list[BadFile]
) -> tuple[list[int], list[float]]:
    """Numbers of the files that say how long they are, or do not say it, and their lengths."""
    from audio_common.audio import AudioError

    good, lengths = [], []
    for index, future in enumerate([pool.submit(_measure, path) for path in paths]):
        try:
            length = future.result()
        except (AudioError, OSError) as e:
            bad_files.append(BadFile(str(paths[index]), str(e), index))
            continue
        if max_seconds < length < math.inf:
            bad_files.append(BadFile(str(paths[index]), too_long(length, max_seconds), index))
            continue
        good.append(index)
        lengths.append(length)
    return good, lengths


def too_long(seconds: float, max_seconds: float) -> str:
    """Why a sound is not captioned in one go."""
    return (
        f"{seconds:.1f} s are more than the {max_seconds:.1f} s that fit into the decoder's context; "
        "caption it window by window (--segments)"
    )


def _measure(path: Path) -> float:
    """Seconds by the header; where that is silent, enough for a batch of its own."""
    from audio_common.audio import audio_info

    duration = audio_info(path).duration
    return math.inf if duration is None else duration


def _load(path: Path) -> Tensor:
    from audio_common.audio import load_audio

    return load_audio(path, sample_rate=SAMPLE_RATE)


def _decode_ahead(
    pool: ThreadPoolExecutor, paths: Sequence[Path], plan: Sequence[list[int]]
) -> Iterator[tuple[list[int], list[Future[Tensor]]]]:
    waiting: deque[tuple[list[int], list[Future[Tensor]]]] = deque()
    for batch in plan:
        waiting.append((batch, [pool.submit(_load, paths[index]) for index in batch]))
        if len(waiting) > BATCHES_AHEAD:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _finish(
    indices: Sequence[int],
    futures: Sequence[Future[Tensor]],
    paths: Sequence[Path],
    max_seconds: float,
    bad_files: list[BadFile],
) -> Iterator[tuple[int, Tensor]]:
    from audio_common.audio import AudioError

    for index, future in zip(indices, futures, strict=True):
        try:
            waveform = future.result()
        except (AudioError, OSError) as e:
            bad_files.append(BadFile(str(paths[index]), str(e), index))
            continue
        if (length := len(waveform) / SAMPLE_RATE) > max_seconds:
            bad_files.append(BadFile(str(paths[index]), too_long(length, max_seconds), index))
        else:
            yield index, waveform


def ahead(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; a thread makes the next one while the caller works on one."""
    source = iter(items)

    def take() -> list[T]:
        return list(islice(source, size))

    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        coming: Callable[[], list[T]] = pool.submit(take).result
        while batch := coming():
            coming = pool.submit(take).result
            yield batch
