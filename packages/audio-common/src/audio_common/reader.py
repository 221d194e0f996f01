"""What an open sound is, whichever library reads it, and the one error for whatever is wrong with it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    import numpy as np

Source = str | os.PathLike[str] | bytes | BinaryIO
"""What a sound can be read from: a path, a file's bytes, or a binary file object."""

BLOCK = 1 << 16
"""Samples per channel that are decoded at once."""
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
"""Hz; rates beyond are taken for a damaged header."""

LONGEST_NAME = 300
"""Characters of a name that are shown, from its beginning and end."""
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a terminal's cursor, ends a line or turns the direction of writing; and half characters."""


class AudioError(ValueError):
    """A sound that cannot be read, or arguments that ask for none of it: which, what is wrong, what to do."""


def shown(name: str | os.PathLike[str]) -> str:
    """Return a name for messages: what cannot be printed is escaped, and a very long one is cut.

    >>> shown("rain\\n\\0.wav")
    'rain\\\\n\\\\x00.wav'
    """
    text = os.fsdecode(name)
    if len(text) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        text = f"{text[:half]}…{text[-half:]} ({len(text)} characters)"
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def name_of(source: Source) -> str:
    """Return what to call a source in a message."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{len(source)} bytes>"
    if isinstance(source, str | os.PathLike):
        return shown(source)
    return shown(str(getattr(source, "name", "<file object>")))


@contextmanager
def reported(name: str) -> Iterator[None]:
    """Make an AudioError of whatever goes wrong with one sound.

    Libraries and callers' file objects raise errors of all kinds, and one sound must not end a job; what was
    raised stays behind as the cause.
    """
    try:
        yield
    except AudioError:
        raise
    except MemoryError as error:
        raise AudioError(f"{name} needs more memory than there is; cut it into shorter files") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or "no reason given"
        raise AudioError(
            f"{name} cannot be read ({type(error).__name__}: {shown(reason)}); check that it is a sound file"
        ) from error


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
