"""Long sound cut into windows as it is decoded, and captions with times put together again.

A window starts at every hop, and together they cover the sound exactly. The last one ends with the sound;
what is left after it and shorter than a quarter of a hop joins it, since half a second of sound makes a poor
caption. No more than a window, that quarter and one block of sound is held at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from aac_llm.data.predictions import Prediction

if TYPE_CHECKING:
    from torch import Tensor


def plan_windows(num_samples: int, window: int, hop: int) -> list[tuple[int, int]]:
    """Return the first sample of each window and the one after its last.

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
    """Cut the same windows of a sound that comes in consecutive blocks, each as soon as it is certain.

    Where the blocks end with an error, the windows of the sound before it are given first.

    Yields:
        Where the window starts, in samples, and its waveform (samples,).
    """
    import torch

    _check(window, hop)
    held, first = torch.empty(0), 0
    failure: Exception | None = None
    source = iter(blocks)
    while True:
        try:
            block = next(source, None)
        except Exception as e:  # what was decoded before the damage is as good as any
            block, failure = None, e
        if block is None:
            break
        held = torch.cat([held, block])
        # Certain only then: with less, this may be the last window, which is longer.
        while len(held) > window + hop // 4:
            yield first, held[:window]
            held, first = held[hop:], first + hop
    if len(held):
        yield first, held
    if failure is not None:
        raise failure


def merge_equal(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Join neighbouring parts of one sound with the same caption; the first one's candidates are kept."""
    merged: list[Prediction] = []
    for prediction in predictions:
        last = merged[-1] if merged else None
        if last is not None and _continues(last, prediction):
            merged[-1] = dataclasses.replace(last, end=prediction.end)
        else:
            merged.append(prediction)
    return merged


def _continues(last: Prediction, following: Prediction) -> bool:
    if last.id != following.id or last.caption != following.caption:
        return False
    # A microsecond of rounding is no gap.
    return last.end is not None and following.start is not None and following.start <= last.end + 1e-6


def group_by_sound(predictions: Iterable[Prediction]) -> list[list[Prediction]]:
    """Group the parts of each sound in order of their starts; sounds in the order in which they come."""
    parts: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        parts.setdefault(prediction.id, []).append(prediction)
    return [sorted(group, key=lambda part: part.start or 0.0) for group in parts.values()]


def _check(window: int, hop: int) -> None:
    if not 1 <= hop <= window:
        raise ValueError(f"expected a hop of 1 to window ({window}) samples, got {hop}")
