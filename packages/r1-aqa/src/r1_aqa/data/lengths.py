"""How long sounds are, as decoding gives it and not as a header estimates; each is looked at once."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import audio_common

from r1_aqa.bulk.places import is_url
from r1_aqa.data.shard_names import split_member

_LENGTHS: dict[tuple[str, int, int], tuple[float, bool]] = {}
"""Seconds of files by path, time of change and size, and whether these are all."""
_MOST_LENGTHS = 100_000


def measure(path: str | Path, *, at_most: float | None = None, decoder: Any = audio_common) -> float:
    """Return the length of a sound in seconds, as decoding gives it; read once while the file stays as it is.

    Args:
        path: the file.
        at_most: beyond so many seconds it does not matter how long it is: where the header does not tell, no
            more is decoded, and what was is returned. None: all of it.
        decoder: `audio_common`, or a `DecodePool` with its limits.

    Raises:
        AudioError: it cannot be read.
    """
    try:
        version = _version_of(path)
    except (OSError, ValueError):  # ValueError: a name with a NUL
        return decoder.measure_audio(path).duration or 0.0  # it says in its words what is wrong
    key = (str(path), *version)
    seconds, is_whole = _LENGTHS.get(key, (0.0, False))
    if is_whole or (at_most is not None and seconds > at_most):
        return seconds
    if len(_LENGTHS) >= _MOST_LENGTHS:
        _LENGTHS.clear()
    _LENGTHS[key] = _measure(path, at_most, decoder)
    return _LENGTHS[key][0]


def _version_of(path: str | Path) -> tuple[int, int]:
    """Return time of change and size of a file, or of the shard that it is in; of a URL none."""
    if is_url(path):
        return 0, 0
    member = split_member(path)
    status = os.stat(path if member is None else member[0])
    return status.st_mtime_ns, status.st_size


def _measure(path: str | Path, at_most: float | None, decoder: Any) -> tuple[float, bool]:
    """Return seconds, and whether they are those of the whole sound."""
    info = decoder.audio_info(path)
    if info.is_exact and info.duration is not None:
        return info.duration, True
    if at_most is None:
        return decoder.measure_audio(path).duration or 0.0, True
    count, rate = 0, info.sample_rate
    with closing(decoder.stream_audio(path, sample_rate=rate, block_seconds=10.0)) as blocks:
        for block in blocks:
            count += len(block)
            if count > at_most * rate:
                return count / rate, False
    return count / rate, True
