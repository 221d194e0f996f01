"""Long sounds for models that hear a few seconds at once: windows that cover all of it, and their mean.

A window begins where the one before ends. The last ends with the sound, so that no window is half silence,
and counts in the mean by the share of it that is new; so every second of a sound counts alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Window(NamedTuple):
    """A part of a sound, in samples."""

    start: int
    end: int
    weight: int
    """Samples that no window before it has."""


def cut_windows(num_samples: int, longest: int | None) -> list[Window]:
    """Cut a sound into windows of `longest` samples; a shorter one, or with None any, is one window.

    >>> [tuple(window) for window in cut_windows(25, 10)]
    [(0, 10, 10), (10, 20, 10), (15, 25, 5)]
    """
    if longest is None or num_samples <= longest:
        return [Window(0, num_samples, num_samples)]
    ends = [*range(longest, num_samples, longest), num_samples]
    return [Window(end - longest, end, end - place * longest) for place, end in enumerate(ends)]


def embed_windows(
    waveforms: Tensor,
    lengths: Sequence[int],
    longest: int | None,
    embed: Callable[[list[Tensor]], Tensor],
    *,
    at_once: int,
) -> Tensor:
    """Embed sounds window by window, and average.

    Args:
        waveforms: `(batch, samples)`.
        lengths: samples of each sound.
        longest: samples of a window; None: a sound is one.
        embed: gives `(windows, dim)` of some windows, each `(samples,)`.
        at_once: windows given to it at most.

    Returns:
        `(batch, dim)` float32, L2-normalized: the mean of the windows' normalized embeddings by their weight.
    """
    cut = [cut_windows(length, longest) for length in lengths]
    sounds = [
        waveform[window.start : window.end]
        for waveform, windows in zip(waveforms, cut, strict=True)
        for window in windows
    ]
    parts = [embed(sounds[first : first + at_once]) for first in range(0, len(sounds), at_once)]
    vectors = F.normalize(torch.cat(parts).float(), dim=-1)
    weights = torch.tensor([window.weight for windows in cut for window in windows], device=vectors.device)
    rows = (vectors * weights[:, None]).split([len(windows) for windows in cut])
    return F.normalize(torch.stack([row.sum(dim=0) for row in rows]), dim=-1)
