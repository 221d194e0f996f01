"""Write files and folders whole or not at all: under another name in the same place, flushed, then renamed.

A reader, and a kill at any moment, finds the old content or the new one, never half of it. The same file is
in ml-clap, aac-llm and r1-aqa; a test compares them.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

STREAM = "-"
"""Path that stands for the standard input or output."""
STANDARD_OUTPUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Other names of the output: links, which would be replaced by a file."""
TEMPORARY = ".tmp"
"""Ending of a file that is being written."""
PARTIAL, OLD = ".partial", ".old"
"""Endings of a folder that is being written, and of the one that it replaces."""
LEFTOVERS = (
    f".*.[0-9]*{TEMPORARY}",
    *(f"{name}{PARTIAL}" for name in ("best", "last", "base", "checkpoint-[0-9]*")),
    ".saving-*",
)
"""What a kill may leave behind; nothing that somebody else keeps in a folder has such a name."""


def write_atomically(path: str | Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file so that no reader, and no interruption, sees half of it.

    Args:
        path: the file; its folder is made if missing.
        content: bytes, text (UTF-8), or a function that writes the file at the path it is given.
    """
    path = Path(path)
    if is_device(path):
        _write_into(path, content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: across file systems a rename is a copy, and a copy can be cut short. With the
    # process's number: two that write the same file do not write into each other's.
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            error.filename = str(path)  # a full disk is told without a name, or with the temporary one
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_stream(path: str | Path | None) -> bool:
    """Tell whether a path is `-`, the standard input or output, or another name of the output."""
    return str(path) in (STREAM, *STANDARD_OUTPUT)


def is_device(path: str | Path) -> bool:
    """Tell whether a path is a device or a pipe, as `/dev/null`: it is written into, never replaced."""
    return Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()


def _write_into(device: Path, content: bytes | str | Callable[[Path], object]) -> None:
    if callable(content):
        content(device)
    else:
        device.write_bytes(content.encode() if isinstance(content, str) else content)


def read_bytes(path: str | Path) -> bytes:
    """Read a file, or for `-` the standard input, which may be asked for several times."""
    return _read_input(sys.stdin.buffer) if is_stream(path) else Path(path).read_bytes()


@lru_cache(maxsize=1)
def _read_input(stream: BinaryIO) -> bytes:
    # A pipe can be read once, and a manifest is read for its sounds and again for its references.
    return stream.read()


def write_bytes(path: str | Path, content: bytes | str) -> None:
    """Write a file whole, or for `-` to the standard output; text as UTF-8."""
    if not is_stream(path):
        write_atomically(path, content)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content.encode() if isinstance(content, str) else content)
    sys.stdout.flush()


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as readable JSON to a file, or to standard output where the path is `-`."""
    write_bytes(path, to_json(value, indent=2) + b"\n")


def append_line(path: str | Path, record: Any) -> None:
    """Append a value as a line of JSON to a log; a kill does not lose it, a power cut may."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:  # buffered: it is written whole, or the full disk is an error
        file.write(to_json(record) + b"\n")


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
        # What cannot be given (init=False) could not be read back.
        fields = [field for field in dataclasses.fields(value) if field.init]
        return {field.name: to_plain(getattr(value, field.name)) for field in fields}
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


def replace_folder(folder: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a folder, and put it in the place of the one of that name."""
    partial, old = folder.with_name(folder.name + PARTIAL), folder.with_name(folder.name + OLD)
    # Without the folder itself, the old one is all there is: recover_folder needs it.
    for leftover in (partial, old) if folder.exists() else (partial,):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    save(partial)
    for file in sorted(partial.rglob("*")):
        flush(file)
    if folder.exists():
        folder.rename(old)
    # Between the two renamings there is no folder of that name: see recover_folder.
    partial.rename(folder)
    flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Undo a kill between the two renamings of `replace_folder`; remove the old one after a later kill."""
    old = folder.with_name(folder.name + OLD)
    if not old.exists():
        return
    if folder.exists():
        shutil.rmtree(old)
    else:
        old.rename(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill left half-written in a folder; to be called by its only writer."""
    for pattern in LEFTOVERS:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
