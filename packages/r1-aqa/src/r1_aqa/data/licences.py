"""Licences of the clips of a data set, as its manifest states them.

The same file is in ml-clap, aac-llm and r1-aqa; a test compares them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"


def count_licences(licences: Iterable[str | None]) -> str:
    """Say how many clips are under which licence, the most first.

    >>> count_licences(["CC0-1.0", "CC-BY-4.0", "CC-BY-4.0", None])
    'CC-BY-4.0 (2), CC0-1.0 (1), unknown (1)'
    """
    counts = Counter(licence or UNKNOWN for licence in licences)
    return ", ".join(f"{licence} ({count:,})" for licence, count in counts.most_common())


def say_licences_of_clips(source: object, licences: Iterable[str | None]) -> None:
    """Log the licences of a data set's clips, once a process: a command may read a manifest several times."""
    counted = count_licences(licences)
    if counted:
        _say_once(str(source), counted)


@lru_cache(maxsize=1024)
def _say_once(source: str, counted: str) -> None:
    logger.info("%s: licences of the clips: %s", source, counted)
