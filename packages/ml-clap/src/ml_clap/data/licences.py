"""Licences of data: of clips as their manifest states them, of a folder of the hub as its card does.

The same file is in ml-clap, aac-llm and r1-aqa; a test compares them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"
CARD_FILE = "README.md"


def licence_of_card(folder: Path) -> str:
    """Return the licence that the card in a folder states (`license:` in its head), or `unknown`."""
    card = folder / CARD_FILE
    if not card.is_file():
        return UNKNOWN
    from huggingface_hub import ModelCard  # slow to import, and not needed where there is no card

    try:
        data = ModelCard(card.read_text("utf-8", errors="replace"), ignore_metadata_errors=True).data
    except Exception:  # a foreign head may hold anything
        return UNKNOWN
    stated = [data.get("license_name") or data.get("license")]
    names = [name for part in stated for name in (part if isinstance(part, list) else [part])]
    named = ", ".join(name for name in names if isinstance(name, str) and name)
    return f"{named} (its card)" if named else UNKNOWN


def count_licences(licences: Iterable[str | None]) -> str:
    """Say how many clips are under which licence, the most first.

    >>> count_licences(["CC0-1.0", "CC-BY-4.0", "CC-BY-4.0", None])
    'CC-BY-4.0 (2), CC0-1.0 (1), unknown (1)'
    """
    counts = Counter(licence or UNKNOWN for licence in licences)
    return ", ".join(f"{licence} ({count:,})" for licence, count in counts.most_common())


def say_licences_of_clips(source: object, licences: Iterable[str | None]) -> None:
    """Log the licences of a data set's clips, once a process: a command may read a manifest several times.

    Of a manifest that states none there is nothing to say but in `--verbose`.
    """
    stated = list(licences)
    if stated:
        _say_once(str(source), count_licences(stated), logging.INFO if any(stated) else logging.DEBUG)


@lru_cache(maxsize=1024)
def _say_once(source: str, counted: str, level: int) -> None:
    logger.log(level, "%s: licences of the clips: %s", source, counted)
