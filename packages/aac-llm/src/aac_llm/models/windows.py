"""Windows of sound files of any length, one after another: only some of them are held at a time.

`cut_windows` makes those of `--segments`: one starts at every hop, and together they cover the sound exactly.
The last one ends with the sound; what is left after it and shorter than a quarter of a hop joins it, since
half a second of sound makes a poor caption.

`cut_overlapping` makes those of a sound that is longer than a model was trained on: all have the same length,
and the last one starts early enough to end with the sound, so that no window is longer or shorter than what
the model knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from audio_common.audio import AudioError, stream_audio
from audio_common.prefetch import BadFile
from audio_common.workers import DecodeLimits, DecodePool
from torch import Tensor

from aac_llm.config.sound import Channel
from aac_llm.data.predictions import Candidate
from aac_llm.models.captioner_model import SAMPLE_RATE

BLOCK_SECONDS = 1.0
"""Long sound decoded at a time; damage costs the block that it is in."""

Cut: TypeAlias = Callable[[Iterable[Tensor]], Iterator[tuple[int, Tensor]]]
"""From consecutive blocks of a sound to its windows: first sample and waveform (samples,) of each."""


@dataclass(frozen=True)
class Segment:
    """The captions of a window of a sound, or of all of it."""

    index: int
    """The sound's place among those that were given."""
    start: float
    """Seconds."""
    end: float
    """Seconds."""
    candidates: tuple[Candidate, ...]
    """As generated, best first."""


def plan_windows(num_samples: int, window: int, hop: int) -> list[tuple[int, int]]:
    """Return the first sample of each window of `cut_windows` and the one after its last.

    Args:
        num_samples: of the sound.
        window: samples of a window; the last one has fewer, or up to a quarter of a hop more.
        hop: samples from one start to the next, at most `window`.

    >>> plan_windows(26, 10, 8)
    [(0, 10), (8, 18), (16, 26)]
    >>> plan_windows(28, 10, 8), plan_windows(29, 10, 8)[-2:]
    ([(0, 10), (8, 18), (16, 28)], [(16, 26), (24, 29)])
    """
    _check(window, hop)
    if num_samples < 1:
        return []
    # A rest of less than a quarter hop would be a window of next to nothing; it lengthens the last one.
    beyond = max(0, num_samples - window - hop // 4)  # what the first window does not reach
    num_more = -(-beyond // hop)
    starts = [index * hop for index in range(num_more + 1)]
    return [(start, start + window) for start in starts[:-1]] + [(starts[-1], num_samples)]


def cut_windows(blocks: Iterable[Tensor], window: int, hop: int) -> Iterator[tuple[int, Tensor]]:
    """Cut a sound that comes in consecutive blocks, each window as soon as it is certain.

    No more than a window, a quarter of a hop and one block is held. Where the blocks end with an error, the
    windows of the sound before it are given first.

    Yields:
        Where the window starts, in samples, and its waveform (samples,).
    """
    _check(window, hop)
    held, first = torch.empty(0), 0
    failure: list[Exception] = []
    for block in _until_failure(blocks, failure):
        held = torch.cat([held, block])
        # Certain only then: with less, this may be the last window, which is longer.
        while len(held) > window + hop // 4:
            yield first, held[:window]
            held, first = held[hop:], first + hop
    if len(held):
        yield first, held
    if failure:
        raise failure[0]


def cut_overlapping(blocks: Iterable[Tensor], window: int, hop: int) -> Iterator[tuple[int, Tensor]]:
    """Cut a sound that comes in consecutive blocks into windows that all have `window` samples.

    A sound of no more than that is one window. Yields and errors are those of `cut_windows`.

    >>> sound = torch.arange(25.0)
    >>> [(first, len(waveform)) for first, waveform in cut_overlapping([sound], 10, 8)]
    [(0, 10), (8, 10), (15, 10)]
    """
    _check(window, hop)
    held, first, upcoming = torch.empty(0), 0, 0  # `held` begins with the sample `first`
    failure: list[Exception] = []
    for block in _until_failure(blocks, failure):
        held = torch.cat([held, block])
        while first + len(held) >= upcoming + window:
            yield upcoming, held[upcoming - first : upcoming - first + window]
            upcoming += hop
            # A window's length is kept: the last window may need it all but one sample.
            drop = max(0, min(upcoming - first, len(held) - window))
            held, first = held[drop:], first + drop
    end = first + len(held)
    if end and (upcoming == 0 or end > upcoming - hop + window):
        start = max(0, end - window)
        yield start, held[start - first :]
    if failure:
        raise failure[0]


def _until_failure(blocks: Iterable[Tensor], failure: list[Exception]) -> Iterator[Tensor]:
    """Give the blocks up to an error, which goes to `failure`: what is before damage is as good as any."""
    try:
        yield from blocks
    except Exception as e:
        failure.append(e)


def read_windows(
    paths: Sequence[Path],
    cut: Cut,
    bad_files: list[BadFile],
    complaints: list[BadFile],
    done: Mapping[int, set[float]],
    channel: Channel,
    longest: float,
    decode_limits: DecodeLimits | None,
) -> Iterator[tuple[int, float, Tensor]]:
    """Yield, file after file: number of the file, start of the window in seconds, waveform.

    Args:
        paths: files.
        cut: `cut_windows` or `cut_overlapping` with its sizes.
        bad_files: gets what could not be read, or not to its end.
        complaints: gets what is odd about files that could be read.
        done: starts of the windows of a file (by its number) that are not wanted.
        channel: which of a sound's channels is heard.
        longest: seconds of a window that fit into the decoder's context.
        decode_limits: of time and memory for each file; None: it is decoded in this process.
    """
    with ExitStack() as stack:
        stream: Callable[..., Iterator[Tensor]] = stream_audio
        if decode_limits is not None:
            stream = stack.enter_context(DecodePool(decode_limits)).stream_audio
        for index, path in enumerate(paths):
            given, odd = False, list[str]()
            try:
                blocks = stream(
                    path,
                    sample_rate=SAMPLE_RATE,
                    block_seconds=BLOCK_SECONDS,
                    channel=channel,
                    complaints=odd,
                )
                for first, waveform in cut(blocks):
                    _check_fits(len(waveform) / SAMPLE_RATE, longest)
                    given = True
                    if first / SAMPLE_RATE not in done.get(index, ()):
                        yield index, first / SAMPLE_RATE, waveform
            # UnicodeError: a name that no file system takes.
            except (AudioError, OSError, UnicodeError) as e:
                bad_files.append(BadFile(path, str(e), index, partly=given))
            complaints += [BadFile(path, text, index, partly=True) for text in odd]


def _check(window: int, hop: int) -> None:
    if not 1 <= hop <= window:
        raise ValueError(f"expected a hop of 1 to window ({window}) samples, got {hop}")


def _check_fits(seconds: float, longest: float) -> None:
    # Beyond its context a decoder writes nonsense, and nobody is told.
    if seconds > longest:
        raise AudioError(
            f"a window of {seconds:.1f} s is more than the {longest:.1f} s that fit into the decoder's "
            "context; choose a shorter one (--window_seconds)"
        )
