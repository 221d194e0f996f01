"""Files that may be anywhere: a local path, or a URL of what fsspec reaches (s3://, gs://, hf://, https://)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from r1_aqa.files import flush, write_atomically

_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/+")

FETCHED_AT_ONCE = 8
"""Remote files fetched at a time."""


def written(name: str | Path) -> str:
    """Return a name as it was typed: `Path` makes one slash of a URL's two.

    >>> written(Path("s3://bucket/a")), written(Path("file:///tmp/a")), written(Path("data/a"))
    ('s3://bucket/a', 'file:///tmp/a', 'data/a')
    """
    text = str(name)
    found = _URL.match(text)
    if found is None:
        return text
    slashes = ":///" if found[1] in ("file", "local") else "://"
    return found[1] + slashes + text[found.end() :]


def is_url(name: str | Path) -> bool:
    """Tell whether a name is an fsspec URL."""
    return _URL.match(str(name)) is not None


def join(folder: str, name: str) -> str:
    """Return the name of a file in a folder or URL; a name that is a URL or absolute stays as it is."""
    return name if is_url(name) or name.startswith("/") else f"{folder.rstrip('/')}/{name}"


def folder_of(name: str) -> str:
    """Return the folder or URL that a file is in."""
    return name.rpartition("/")[0] if is_url(name) else str(Path(name).absolute().parent)


def exists(name: str) -> bool:
    """Tell whether there is such a file."""
    if not is_url(name):
        return Path(name).is_file()
    system, path = find_system(name)
    return bool(system.isfile(path))


def size_of(name: str) -> int:
    """Return the bytes of a file."""
    if not is_url(name):
        return Path(name).stat().st_size
    system, path = find_system(name)
    return int(system.size(path))


def names_in(place: str) -> list[str]:
    """Return the names of what is in a folder or URL; nothing where there is no such folder."""
    if not is_url(place):
        return [str(path) for path in Path(place).iterdir()] if Path(place).is_dir() else []
    system, path = find_system(place)
    system.invalidate_cache()  # what other processes have written since counts
    try:
        found = system.ls(path, detail=False)
    except FileNotFoundError:
        return []
    # As the URL was written: a file system has several ways to write its own.
    return [join(place, name.rstrip("/").rpartition("/")[2]) for name in found]


def open_read(name: str) -> IO[bytes]:
    """Open a file for reading; what is remote is read ahead in blocks."""
    if not is_url(name):
        return Path(name).open("rb")
    system, path = find_system(name)
    opened: IO[bytes] = system.open(path, "rb")
    return opened


def read_all(name: str) -> bytes:
    """Return the content of a small file."""
    with open_read(name) as file:
        return file.read()


def write_all(name: str, content: bytes) -> None:
    """Write a small file, which appears whole or not at all."""
    if not is_url(name):
        write_atomically(name, content)
        return
    system, path = find_system(name)
    system.makedirs(path.rpartition("/")[0], exist_ok=True)
    if is_local(system):
        write_atomically(path, content)
    else:
        system.pipe_file(path, content)


def remove(name: str) -> None:
    """Remove a file, or a folder with all that is in it; nothing where there is none."""
    system, path = find_system(name if is_url(name) else str(Path(name).absolute()))
    if system.exists(path):
        system.rm(path, recursive=True)


def put(local: Path, name: str) -> None:
    """Move a finished local file to its place, where it appears whole or not at all."""
    if is_url(name):
        system, path = find_system(name)
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        if is_local(system):
            # fsspec copies in place: a kill would leave half a file under the final name.
            system.put_file(str(local), f"{path}.part")
            system.mv(f"{path}.part", path)
        else:
            system.put_file(str(local), path)
        local.unlink()
        return
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    flush(local)
    local.replace(name)
    flush(Path(name).parent)


@contextmanager
def local_copies(names: Sequence[str]) -> Iterator[list[Path | OSError]]:
    """Bring files to this machine while the context lasts.

    Args:
        names: paths, which are given back as they are, and URLs, which are fetched.

    Yields:
        For each name a local path that ends as the name does, or why it cannot be fetched.
    """
    with (
        tempfile.TemporaryDirectory(prefix="r1_aqa-") as folder,
        ThreadPoolExecutor(FETCHED_AT_ONCE) as threads,
    ):
        yield list(threads.map(_fetch, names, (Path(folder, str(place)) for place in range(len(names)))))


def _fetch(name: str, folder: Path) -> Path | OSError:
    if not is_url(name):
        return Path(name)
    folder.mkdir()
    local = folder / (name.rpartition("/")[2] or "file")
    try:
        system, path = find_system(name)
        system.get_file(path, str(local))
    except (OSError, ImportError, ValueError) as error:  # ImportError, ValueError: of a protocol
        return OSError(f"{name} cannot be fetched: {type(error).__name__}: {error}")
    return local


def is_local(system: Any) -> bool:
    """Tell whether a file system of fsspec is this machine's own."""
    protocol = system.protocol
    return "file" in ([protocol] if isinstance(protocol, str) else protocol)


def find_system(name: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(name)
    return system, path


def absolute(name: str) -> str:
    """Return the path of a file or folder that is there so that any working folder finds it; others as named.

    >>> absolute("owner/a-model-of-the-hub"), absolute("s3://bucket/parts")
    ('owner/a-model-of-the-hub', 's3://bucket/parts')
    """
    return str(Path(name).absolute()) if Path(name).exists() else name
