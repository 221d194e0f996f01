"""Size and time of last change of files behind fsspec URLs: by a listing of each folder, not file by file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ml_clap.bulk.places import find_system, folder_of, join

TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
"""Names that file systems of fsspec have for the time of the last change."""


class Status(NamedTuple):
    """What tells whether a file has changed."""

    size: int
    """Bytes."""
    mtime_ns: int
    """0 where its file system does not say it."""


def find_statuses(urls: Sequence[str]) -> dict[str, Status]:
    """Return the status of each URL; what is not there, or cannot be asked for, is left out."""
    wanted = set(urls)
    found: dict[str, Status] = {}
    for folder in dict.fromkeys(map(folder_of, urls)):
        found |= {name: status for name, status in list_statuses(folder).items() if name in wanted}
    for url in urls:  # what no listing names: a web server has none
        if url not in found and (status := status_of(url)) is not None:
            found[url] = status
    return found


def list_statuses(folder: str, *, is_deep: bool = False) -> dict[str, Status]:
    """Return the status of each file in the folder of a URL, by its URL; none where it cannot be listed."""
    try:
        system, path = find_system(folder)
        infos = (
            list(system.find(path, detail=True).values()) if is_deep else list(system.ls(path, detail=True))
        )
    except (OSError, NotImplementedError):
        return {}
    root = path.rstrip("/")
    return {
        join(folder, info["name"].removeprefix(root).lstrip("/")): _status(info)
        for info in infos
        if info.get("type") == "file" and info.get("size") is not None
    }


def status_of(url: str) -> Status | None:
    """Return the status of one URL; None where it is not there, or cannot be asked for."""
    try:
        system, path = find_system(url)
        info = system.info(path)
    except (OSError, NotImplementedError):
        return None
    return _status(info) if info.get("size") is not None else None


def _status(info: dict[str, Any]) -> Status:
    times = [info[name] for name in TIMES if info.get(name) is not None]
    return Status(int(info["size"]), _nanoseconds(times[0]) if times else 0)


def _nanoseconds(time: object) -> int:
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return 0
    if isinstance(time, datetime):
        return int(time.timestamp() * 1e9)
    return int(time * 1e9) if isinstance(time, int | float) else 0
