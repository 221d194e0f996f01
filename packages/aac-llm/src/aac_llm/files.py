"""Write files whole: under a temporary name in the same folder, flushed to the disk, renamed into place.

A reader, and an interruption at any moment, finds the old content or the new one, never half of it. Files
that grow line by line (logs, journals of captions) are appended to instead.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

STREAM = "-"
"""Path that stands for the standard input or output."""


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8; its folder is made if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave a name without content
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)  # not the temporary name; and a full disk names none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_stream(path: str | Path) -> bool:
    """Tell whether a path is `-`, the standard input or output."""
    return str(path) == STREAM


def read_bytes(path: str | Path) -> bytes:
    """Read a file, or for `-` the standard input, which may be asked for several times."""
    return _read_input(sys.stdin.buffer) if is_stream(path) else Path(path).read_bytes()


@lru_cache(maxsize=1)
def _read_input(stream: BinaryIO) -> bytes:
    # A pipe can be read once, and a manifest is read for its sounds and again for its references.
    return stream.read()


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole, or for `-` to the standard output."""
    if is_stream(path):
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        write_atomically(path, content)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON (see `to_plain`); the path `-` is the standard output."""
    write_bytes(path, encode_json(to_plain(value), indent=2) + b"\n")


def encode_json(value: Any, indent: int | None = None) -> bytes:
    """Return a value of JSON's own types as JSON in UTF-8.

    Raises:
        ValueError: NaN or infinity, which other readers of JSON refuse.
    """
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        # File names may hold bytes that are not Unicode (surrogates in Python); JSON's escapes keep them.
        return json.dumps(value, indent=indent, allow_nan=False).encode()


def to_plain(value: Any) -> Any:
    """Return a value in JSON's types: dataclasses as objects, paths as texts, NaN and infinity as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def replace_entries(folder: Path, last: str) -> Iterator[Path]:
    """Give an empty folder, whose entries replace those of the same names in `folder` at the end.

    Other entries of `folder` are left alone.

    Args:
        folder: created if need be.
        last: the entry that is removed before and put in place after all others, so that a folder that has
            it is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
    try:
        yield new
        (folder / last).unlink(missing_ok=True)
        for entry in sorted(new.iterdir(), key=lambda entry: entry.name == last):
            place = folder / entry.name
            if place.is_dir():
                shutil.rmtree(place)
            os.replace(entry, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
