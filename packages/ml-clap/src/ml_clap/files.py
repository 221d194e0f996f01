"""Write files whole or not at all: under another name in the same folder, flushed, then renamed."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STREAM = "-"
"""Path that stands for the standard input or output."""
TEMPORARY = ".tmp"
"""Ending of a file that is being written; a kill may leave one behind."""


def write_atomically(path: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file so that no reader, and no interruption, sees half of it.

    Args:
        path: the file; its folder is made if missing.
        content: bytes, text (UTF-8), or a function that writes the file at the path it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: across file systems a rename is a copy, and a copy can be cut short.
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def is_stream(path: str | Path) -> bool:
    """Tell whether a path is `-`, the standard input or output."""
    return str(path) == STREAM


def read_bytes(path: str | Path) -> bytes:
    """Read a file, or for `-` the standard input."""
    return sys.stdin.buffer.read() if is_stream(path) else Path(path).read_bytes()


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole, or for `-` to the standard output."""
    if is_stream(path):
        sys.stdout.write(content.decode())
    else:
        write_atomically(Path(path), content)


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON to a file, or to standard output where the path is `-`."""
    write_bytes(path, to_json(value, indent=2) + b"\n")


def to_json(value: Any, *, indent: int | None = None) -> bytes:
    """Return a value as JSON in UTF-8; in ASCII where a file name is not valid Unicode."""
    plain = to_plain(value)
    try:
        return json.dumps(plain, ensure_ascii=False, indent=indent, allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(plain, indent=indent, allow_nan=False).encode()


def to_plain(value: Any) -> Any:
    """Return a value in JSON's own types: dataclasses as objects, paths as text, NaN and infinity as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
