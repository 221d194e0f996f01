"""Where shards are: a folder, a file, a brace pattern, or an fsspec URL of one of these.

data/wavcaps                               every tar, tar.gz and tgz of a folder
data/wavcaps/train-{000000..000039}.tar    as many as the braces name
s3://bucket/wavcaps                        the same in whatever fsspec reaches
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

ENDINGS = (".tar", ".tar.gz", ".tgz")
_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/+")


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


def is_shards(name: str | Path) -> bool:
    """Tell whether a name means shards; a manifest is a local file of another ending."""
    return is_url(name) or str(name).endswith(ENDINGS) or Path(name).is_dir()


def any_shards(names: Iterable[str | Path]) -> bool:
    """Tell whether one of the names means shards."""
    return any(is_shards(name) for name in names)


def list_shards(name: str | Path) -> list[str]:
    """Return the names of the tar files that a folder, file, pattern or URL means, sorted.

    Raises:
        FileNotFoundError: a file is not there, or a folder has no tar file.
    """
    from webdataset.shardlists import expand_urls

    place = written(name)
    if place.endswith(ENDINGS):
        shards = sorted(set(expand_urls(place)))
        missing = [shard for shard in shards if not exists(shard)]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise FileNotFoundError(f"there is no file {missing[0]}{more}")
        return shards
    shards = sorted(found for found in _names_in(place) if found.endswith(ENDINGS))
    if not shards:
        raise FileNotFoundError(f"there is no {', '.join(ENDINGS)} in {place}")
    return shards


def join(folder: str, name: str) -> str:
    """Return the name of a file in a folder or URL."""
    return f"{folder.rstrip('/')}/{name}"


def exists(name: str) -> bool:
    """Tell whether there is such a file."""
    if not is_url(name):
        return Path(name).is_file()
    system, path = _system(name)
    return bool(system.isfile(path))


def size_of(name: str) -> int:
    """Return the bytes of a file."""
    if not is_url(name):
        return Path(name).stat().st_size
    system, path = _system(name)
    return int(system.size(path))


def open_read(name: str) -> IO[bytes]:
    """Open a file for reading; what is remote is read ahead in blocks."""
    if not is_url(name):
        return Path(name).open("rb")
    system, path = _system(name)
    opened: IO[bytes] = system.open(path, "rb")
    return opened


def read_all(name: str) -> bytes:
    """Return the content of a small file."""
    with open_read(name) as file:
        return file.read()


def put(local: Path, name: str) -> None:
    """Move a finished local file to its place, where it appears whole or not at all."""
    from ml_clap.files import flush

    if is_url(name):
        system, path = _system(name)
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        if _is_local(system):
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


def _is_local(system: Any) -> bool:
    protocol = system.protocol
    return "file" in ([protocol] if isinstance(protocol, str) else protocol)


def _names_in(place: str) -> list[str]:
    if not is_url(place):
        return [str(path) for path in Path(place).iterdir()] if Path(place).is_dir() else []
    system, path = _system(place)
    # As the URL was written: a file system has several ways to write its own.
    return [join(place, found.rpartition("/")[2]) for found in system.ls(path, detail=False)]


def _system(name: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(name)
    return system, path
