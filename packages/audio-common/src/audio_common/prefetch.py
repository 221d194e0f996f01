"""Decode sounds ahead, in threads, into batches of like length, while a model works on the batch before.

soundfile and soxr release Python's lock, so one thread usually keeps up. Each sound is opened once to read
its length from the header, which may be an estimate, and decoded once; batches keep to their limits by the
lengths that were decoded. Memory is bounded: at most `BATCHES_AHEAD` batches wait. With `decode_limits` each
thread decodes in a process of its own, in which no sound can take too long or too much memory, or end the
program (`audio_common.workers`).

    >>> from audio_common.prefetch import BadFile, BatchLimits, decode_ahead
    >>> bad_files: list[BadFile] = []
    >>> batches = decode_ahead(paths, BatchLimits(seconds=160.0), bad_files=bad_files)  # doctest: +SKIP
    >>> for indices, waveforms in batches:  # doctest: +SKIP
    ...     ced(*pad_waveforms(waveforms))
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, compress, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from audio_common.config import Channel
    from audio_common.info import AudioInfo
    from audio_common.reader import AudioError
    from audio_common.workers import DecodeLimits, DecodePool

BATCHES_AHEAD = 2
"""Batches decoded or being decoded while the caller works on another one."""
HEADERS_AT_ONCE = 16
"""Files whose headers a thread reads before another one's turn."""

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class AudioSpan:
    """A file, or a part of one."""

    path: Path
    offset: float = 0.0
    """Seconds from the file's beginning."""
    duration: float | None = None
    """Seconds; None: to the file's end."""


@dataclass(frozen=True)
class BadFile:
    """A sound that could not be used, or not all of it."""

    path: Path
    reason: str
    index: int
    """Its place among the sounds that were given."""
    partly: bool = False
    """Whether some of it was used."""


@dataclass(frozen=True)
class BatchLimits:
    """The most sound in one batch."""

    seconds: float = 160.0
    """Seconds, padding included: the longest sound times their number. A longer one is a batch of its own."""
    size: int | None = None
    """Number of sounds; None: as many as `seconds` allow."""

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"seconds of a batch must be above 0, got {self.seconds}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"size of a batch must be at least 1, got {self.size}")


def batch_by_length(seconds: Sequence[float], limits: BatchLimits) -> list[list[int]]:
    """Group numbers of sounds of like length, longest first: what does not fit into memory shows at once.

    >>> batch_by_length([1.0, 30.0, 4.0, 2.0, 5.0], BatchLimits(10.0))
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


def decode_ahead(
    sounds: Sequence[Path | AudioSpan],
    limits: BatchLimits,
    *,
    sample_rate: int = 16_000,
    channel: Channel = "mean",
    num_workers: int = 1,
    bad_files: list[BadFile] | None = None,
    refuse: Callable[[float], str | None] | None = None,
    batches: Iterable[Sequence[int]] | None = None,
    max_seconds: float | None = None,
    decode_limits: DecodeLimits | DecodePool | None = None,
    complaints: list[BadFile] | None = None,
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Decode sounds in batches of like length, some batches ahead of the caller.

    Args:
        sounds: files, or parts of them.
        limits: of a batch, by the lengths that were decoded, whatever the headers say.
        sample_rate: Hz.
        channel: which of a sound's channels is decoded; see `load_audio`.
        num_workers: threads that decode.
        bad_files: gets what cannot be read or is refused; without it that is an error.
        refuse: gets a sound's length in seconds and returns why it is not wanted, or None. It is asked after
            decoding, and before where the header tells the length exactly: an estimate refuses nothing.
        batches: numbers of sounds to decode together, in this order, instead of batches by length.
        max_seconds: a longer sound, or part, is bad; it is found without decoding more, while `refuse` is
            asked when all is decoded, unless the header tells the length exactly.
        decode_limits: of time and memory, in processes of its own, or a pool of them, which stays open;
            None decodes in threads.
        complaints: gets what is odd about sounds that are used nevertheless: what is damaged, left out or cut
            off, channels that cancel each other. They are `partly` and no bad files.

    Yields:
        Numbers of sounds, and their waveforms, each (samples,) float32. Together all sounds but the bad ones.

    Raises:
        AudioError: a sound cannot be read or is refused, and `bad_files` is not given.
        ValueError: `num_workers` is below 1.
    """
    from audio_common import audio  # here, so that importing this does not load torch
    from audio_common.workers import DecodeLimits, DecodePool

    _check_workers(num_workers)
    spans = [sound if isinstance(sound, AudioSpan) else AudioSpan(sound) for sound in sounds]
    pool = (
        DecodePool(decode_limits, num_workers) if isinstance(decode_limits, DecodeLimits) else decode_limits
    )
    read = audio.load_audio if pool is None else pool.load_audio
    selection = _Selection(spans, bad_files, refuse, pool)

    def load(index: int) -> tuple[Tensor, list[str]]:
        span, odd = spans[index], []  # type: tuple[AudioSpan, list[str]]
        waveform = read(
            span.path,
            sample_rate=sample_rate,
            offset=span.offset,
            duration=span.duration,
            channel=channel,
            max_seconds=max_seconds,
            complaints=odd,
        )
        return waveform, odd

    with ExitStack() as stack:
        if pool is not None and pool is not decode_limits:
            stack.callback(pool.close)
        plan = selection.plan(limits, num_workers) if batches is None else batches
        give_up = None if pool is None else pool.give_up
        decoded = stack.enter_context(
            closing(load_ahead(plan, load, num_workers=num_workers, give_up=give_up))
        )
        for loaded, failures in decoded:
            for index, failure in failures.items():
                selection.report(index, failure)
            kept = []
            for index, (waveform, odd) in loaded:
                if not selection.wants(index, len(waveform) / sample_rate):
                    continue
                kept.append((index, waveform))
                if complaints is not None:
                    complaints += [BadFile(spans[index].path, text, index, partly=True) for text in odd]
            if not kept:
                continue
            # The same batch again, unless a header was wrong about a length.
            lengths = [len(sound) / sample_rate for _, sound in kept]
            for places in batch_by_length(lengths, limits) if batches is None else [range(len(kept))]:
                yield [kept[place][0] for place in places], [kept[place][1] for place in places]


@dataclass(frozen=True)
class _Length:
    """What a header says of a span's length, or why it cannot be read."""

    seconds: float = math.inf
    """Infinity where it says nothing."""
    is_exact: bool = False
    failure: str | None = None


class _Selection:
    """Which sounds are wanted, and who is told of the others."""

    def __init__(
        self,
        spans: Sequence[AudioSpan],
        bad_files: list[BadFile] | None,
        refuse: Callable[[float], str | None] | None,
        pool: DecodePool | None,
    ) -> None:
        self._spans = spans
        self._pool = pool
        self._bad_files = bad_files
        self._refuse = refuse

    def report(self, index: int, reason: str) -> None:
        """Note a sound that is not used, or raise AudioError where nobody reads the notes."""
        from audio_common.reader import AudioError

        if self._bad_files is None:
            raise AudioError(reason)
        self._bad_files.append(BadFile(self._spans[index].path, reason, index))

    def wants(self, index: int, seconds: float) -> bool:
        """Tell whether a sound of this length is wanted, and report it if not."""
        reason = None if self._refuse is None else self._refuse(seconds)
        if reason is not None:
            self.report(index, reason)
        return reason is None

    def plan(self, limits: BatchLimits, num_workers: int) -> list[list[int]]:
        """Group numbers of sounds by the lengths in their headers, without those that show to be unwanted."""
        seconds: dict[int, float] = {}
        with ThreadPoolExecutor(num_workers, thread_name_prefix="decode") as threads:
            groups = [
                self._spans[first : first + HEADERS_AT_ONCE]
                for first in range(0, len(self._spans), HEADERS_AT_ONCE)
            ]
            try:
                lengths = chain.from_iterable(threads.map(self._measure, groups))
                for index, length in enumerate(lengths):
                    if length.failure is not None:
                        self.report(index, length.failure)
                    elif not length.is_exact or self.wants(index, length.seconds):
                        seconds[index] = length.seconds
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                if self._pool is not None:
                    self._pool.give_up()
                raise
        numbers = list(seconds)
        return [[numbers[place] for place in batch] for batch in batch_by_length([*seconds.values()], limits)]

    def _measure(self, spans: Sequence[AudioSpan]) -> list[_Length]:
        from audio_common.reader import AudioError

        is_asked = [self._refuse is not None or span.duration is None for span in spans]
        infos = iter(self._read_headers(list(compress((span.path for span in spans), is_asked))))
        lengths = []
        for span, is_read in zip(spans, is_asked, strict=True):
            asked = math.inf if span.duration is None else span.duration
            info = next(infos) if is_read else None
            if info is None:
                lengths.append(_Length(asked))
            elif isinstance(info, AudioError):
                lengths.append(_Length(failure=str(info)))
            else:
                rest = math.inf if info.duration is None else max(0.0, info.duration - span.offset)
                lengths.append(_Length(min(asked, rest), info.is_exact and info.duration is not None))
        return lengths

    def _read_headers(self, paths: Sequence[Path]) -> list[AudioInfo | AudioError]:
        from audio_common.info import audio_info
        from audio_common.reader import AudioError

        if self._pool is not None:
            return self._pool.audio_infos(paths)
        infos: list[AudioInfo | AudioError] = []
        for path in paths:
            try:
                infos.append(audio_info(path))
            except AudioError as error:
                infos.append(error)
        return infos


def load_ahead(
    batches: Iterable[Sequence[Item]],
    load: Callable[[Item], Value],
    *,
    num_workers: int = 1,
    batches_ahead: int = BATCHES_AHEAD,
    give_up: Callable[[], object] | None = None,
) -> Generator[tuple[list[tuple[Item, Value]], dict[Item, str]], None, None]:
    """Load whatever stands for sounds, batch by batch and ahead of the caller.

    Args:
        batches: items to load together; taken one batch at a time, `batches_ahead` before its turn.
        load: makes an item's sound in a thread; it may raise AudioError, OSError, UnicodeError or
            MemoryError. A `DecodePool`'s methods decode in processes, one for each thread.
        num_workers: threads.
        batches_ahead: batches loaded or being loaded while the caller works on another one.
        give_up: called when the caller stops early (an error, Ctrl-C), before what is being loaded is waited
            for, to end that: the `give_up` of a `DecodePool`.

    Yields:
        The items of a batch with their sounds, in order; and the reason why each other one failed.

    Raises:
        ValueError: `num_workers` is below 1.
    """
    from audio_common.reader import AudioError

    _check_workers(num_workers)
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="decode")
    source = iter(batches)
    waiting: deque[list[tuple[Item, Future[Value]]]] = deque()
    try:
        while True:
            for batch in islice(source, batches_ahead + 1 - len(waiting)):
                waiting.append([(item, pool.submit(load, item)) for item in batch])
            if not waiting:
                return
            loaded, failures = [], {}
            for item, future in waiting.popleft():
                try:
                    loaded.append((item, future.result()))
                except (AudioError, OSError, UnicodeError, MemoryError) as e:
                    failures[item] = str(e) or type(e).__name__
            yield loaded, failures
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        if give_up is not None:
            give_up()
        raise
    finally:
        # Whoever stops early waits for what is being decoded, but for nothing more, and leaves no thread.
        pool.shutdown(cancel_futures=True)


def _check_workers(num_workers: int) -> None:
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, got {num_workers}")


def batch_ahead(items: Iterable[Value], size: int) -> Iterator[list[Value]]:
    """Group items in lists of `size`; a thread makes the next list while the caller works on one."""
    source = iter(items)

    def take() -> list[Value]:
        return list(islice(source, size))

    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        coming = pool.submit(take)
        while batch := coming.result():
            coming = pool.submit(take)
            yield batch
