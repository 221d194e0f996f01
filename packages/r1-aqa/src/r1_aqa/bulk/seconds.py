"""How long the sounds of a bulk job are, near enough to cut it into blocks that take equally long."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from audio_common.workers import DecodeLimits, DecodePool

from r1_aqa.bulk.places import is_url, size_of

BYTES_PER_SECOND = 32_000
"""Of 16-bit sound at 16 kHz: what a remote file is held to be, whose header costs a request or more."""
HEADERS_AT_ONCE = 64
"""Files whose headers a process reads before the next ones' turn."""
AT_ONCE = 2
"""Processes that read headers; sizes of remote files are asked for 8 times as many at a time."""


def seconds_of(names: Sequence[str], known: Sequence[float | None]) -> list[float]:
    """Return the seconds of sound of each file: by what is known, by its header, or by its size.

    A file that cannot be read has 0 here; the work on it says why.

    Args:
        names: paths, and URLs.
        known: seconds of each by a manifest; None: not known.
    """
    seconds: dict[str, float] = {
        name: length for name, length in zip(names, known, strict=True) if length is not None
    }
    unknown = [name for name in dict.fromkeys(names) if name not in seconds]
    remote = [name for name in unknown if is_url(name)]
    local = [name for name in unknown if not is_url(name)]
    with ThreadPoolExecutor(8 * AT_ONCE) as threads:
        seconds |= zip(remote, threads.map(_by_size, remote), strict=True)
    if local:
        seconds |= zip(local, _by_headers([Path(name) for name in local]), strict=True)
    return [seconds[name] for name in names]


def _by_size(name: str) -> float:
    try:
        return size_of(name) / BYTES_PER_SECOND
    except (OSError, ImportError, ValueError):
        return 0.0


def _by_headers(paths: Sequence[Path]) -> list[float]:
    groups = [paths[start : start + HEADERS_AT_ONCE] for start in range(0, len(paths), HEADERS_AT_ONCE)]
    with DecodePool(DecodeLimits(), AT_ONCE) as pool, ThreadPoolExecutor(AT_ONCE) as threads:
        infos = list(chain.from_iterable(threads.map(pool.audio_infos, groups)))
    return [getattr(info, "duration", None) or 0.0 for info in infos]
