"""Write files whole or not at all, and compare the settings kept beside results with those of now."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

STREAM = "-"
"""Path that stands for the standard input or output."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name in its folder, then rename it; text is UTF-8.

    A reader sees the old file or the new one, and after a power cut there is one of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id: two processes that write the same file do not write into each other's.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        error.filename = str(path)  # a full disk is told without its name
        raise
    finally:
        partial.unlink(missing_ok=True)


def is_stream(path: str | Path | None) -> bool:
    """Tell whether a path is `-`, the standard input or output."""
    return str(path) == STREAM


def read_bytes(path: Path) -> bytes:
    """Read a file, or for `-` the standard input, which may be asked for several times."""
    return _read_input(sys.stdin.buffer) if is_stream(path) else path.read_bytes()


@lru_cache(maxsize=1)
def _read_input(stream: BinaryIO) -> bytes:
    # A pipe can be read once, but questions are read for their rows and again for their version.
    return stream.read()


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or for `-` to the standard output."""
    if is_stream(path):
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_atomically(path, text)


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a file, or to standard output when `path` is `-`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """Return a value as JSON gives it back: paths are texts, tuples are lists."""
    return json.loads(json.dumps(value, default=str))


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names, as flags have them.

    >>> flatten({"seed": 0, "model": {"dtype": "float32"}})
    {'seed': 0, 'model.dtype': 'float32'}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any], *, free: Collection[str] = ()) -> list[str]:
    """Return `name: before -> now` of every setting that differs, apart from those `free` to change.

    A setting that one of the two lacks is passed over: it is of another version of this package.
    """
    old, new = flatten(before), flatten(now)
    names = [name for name in new if name in old and name not in free]
    return [f"{name}: {old[name]} -> {new[name]}" for name in names if old[name] != new[name]]
