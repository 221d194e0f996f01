"""The sounds of an archive for a browser: files that it plays as they are, of others an excerpt as WAV."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ml_clap.search.explain import CONTEXT_SECONDS

if TYPE_CHECKING:
    from ml_clap.serving.archive import Archive

TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".aac": "audio/aac",
    ".webm": "audio/webm",
}
"""Endings of files that browsers play, and what they are announced as."""
EXCERPT_RATE = 44_100
"""Hz of an excerpt."""


def is_playable(file: Path) -> bool:
    """Tell whether browsers play a file as it is."""
    return file.suffix.lower() in TYPES


def excerpt_span(start: float, end: float) -> tuple[float, float]:
    """Return the first and last second of a hit's excerpt: there is some sound before it and after it."""
    return max(0.0, start - CONTEXT_SECONDS), end + CONTEXT_SECONDS


def cut_excerpt(archive: Archive, row: int) -> bytes:
    """Return a window of the index and what is around it as a WAV file.

    Raises:
        AudioError: its file is gone, or cannot be read.
        ValueError: the index has no such window.
    """
    import soundfile

    file, start, end = archive.span_of(row)
    first, last = excerpt_span(start, end)
    waveform = archive.pool.load_audio(file, sample_rate=EXCERPT_RATE, offset=first, duration=last - first)
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.numpy(), EXCERPT_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
