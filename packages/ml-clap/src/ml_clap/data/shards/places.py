"""Where shards are: a folder, a file, a brace pattern, or an fsspec URL of one of these.

data/wavcaps                               every tar, tar.gz and tgz of a folder
data/wavcaps/train-{000000..000039}.tar    as many as the braces name
s3://bucket/wavcaps                        the same in whatever fsspec reaches
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from ml_clap.bulk.places import exists, is_url, names_in, written
from ml_clap.files import TEMPORARY

ENDINGS = (".tar", ".tar.gz", ".tgz")


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
    shards = sorted(found for found in names_in(place) if found.endswith(ENDINGS))
    if not shards:
        raise FileNotFoundError(f"there is no {', '.join(ENDINGS)} in {place}")
    return shards


@contextmanager
def temporary_file(out: str) -> Iterator[Path]:
    """Give the name of a local file that is removed unless it was moved away; in `out` if that is local."""
    folder = Path(gettempdir() if is_url(out) else out)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".shard.{os.getpid()}{TEMPORARY}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
