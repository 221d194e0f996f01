"""What an open sound is, whichever library reads it, and the one error for whatever is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import numpy as np

Source = str | os.PathLike[str] | bytes | BinaryIO
"""What a sound can be read from: a path, a file's bytes, or a binary file object."""

BLOCK = 1 << 16
"""Samples per channel that are decoded at once."""
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
"""Hz; rates beyond are taken for a damaged header."""


class AudioError(ValueError):
    """A sound that cannot be read, or arguments that ask for none of it: which, what is wrong, what to do."""


class Reader(Protocol):
    """An open sound."""

    name: str
    sample_rate: int
    num_channels: int
    num_frames: int | None
    duration: float | None
    is_exact: bool
    """Whether `num_frames` is what `blocks` gives of the whole sound; else it is an estimate, or None."""
    format: str
    complaints: list[str]
    """What of the sound is damaged, left out or cut off, and where, in words; complete after `blocks`."""

    def blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
        """Yield `count` samples (None: all) from `start` as float32 (samples, channels); once per reader."""
        ...

    def close(self) -> None:
        """Close what was opened here; a file object that was passed in stays open."""
        ...
