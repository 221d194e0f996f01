"""Cut a long file into windows, decoding it once and holding little of it.

A file no longer than a window is one window. A longer one is cut at every hop; its last window is moved back
to end with the file, so that every window has its full length of context and nothing of the file is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audio_common.config import Channel

if TYPE_CHECKING:
    from audio_common.workers import DecodePool
    from torch import Tensor

TAIL = 0.1
"""A tail shorter than this share of a hop joins the window before it: a clip of 10.02 s stays one window."""

BLOCK_SECONDS = 1.0
"""Sound decoded at a time; damage costs the block that it is in."""
SILENCE_PEAK = 2**-12
"""A window without a greater sample, of a full scale of 1, is silent: -72 dB, eight steps of 16 bits. So are
digital zeros with dither, and no recording that can be heard."""


def plan_windows(duration: float, window_seconds: float, hop_seconds: float) -> list[tuple[float, float]]:
    """Return the (start, end) of each window of a file, in seconds, in order.

    Args:
        duration: length of the file in seconds.
        window_seconds: length of a window; the last one may be longer by less than `TAIL` of a hop.
        hop_seconds: from one start to the next; at most `window_seconds`, else sound would fall in between.

    >>> plan_windows(25.0, 10.0, 10.0)
    [(0.0, 10.0), (10.0, 20.0), (15.0, 25.0)]
    """
    beyond = duration - window_seconds - TAIL * hop_seconds
    extra = math.ceil(beyond / hop_seconds) if beyond > 0 else 0
    starts = [min(index * hop_seconds, duration - window_seconds) for index in range(1, extra + 1)]
    windows = [(start, start + window_seconds) for start in [0.0, *starts]]
    windows[-1] = (windows[-1][0], duration)
    return windows


def stream_windows(
    path: Path,
    windows: Sequence[tuple[float, float]],
    sample_rate: int = 16_000,
    *,
    channel: Channel = "mean",
    pool: DecodePool | None = None,
) -> Iterator[Tensor]:
    """Give the audio of each window, decoded from the file's beginning: in an mp3 a seek costs more.

    Args:
        path: sound file.
        windows: (start, end) in seconds, in order of their starts.
        sample_rate: Hz of the result.
        channel: what is made of several channels.
        pool: processes that decode; None: in this one.

    Yields:
        Waveforms (samples,) float32; fewer than there are windows if the file ends before.

    Raises:
        AudioError: the file cannot be read, or not beyond the windows yielded so far.
    """
    import torch
    from audio_common import audio

    blocks = (pool or audio).stream_audio(
        path, sample_rate=sample_rate, block_seconds=BLOCK_SECONDS, channel=channel
    )
    held, first = torch.empty(0), 0  # samples in memory, and which sample of the file is the first of them
    for window in windows:
        start, stop = (round(seconds * sample_rate) for seconds in window)
        while first + len(held) < stop and (block := next(blocks, None)) is not None:
            passed = min(start - first, len(held))
            held, first = torch.cat([held[passed:], block]), first + passed
        if first + len(held) <= start:
            return
        yield held[start - first : stop - first]
