"""What there is to index that is no file of this machine: folders and manifests behind URLs, and shards.

The files are only listed. What is in a shard is read from its index, which is made when it is first met.
"""

from __future__ import annotations

from pathlib import Path

from audio_common.files import find_audio, is_audio

from ml_clap.bulk.places import is_url, join, names_in, written
from ml_clap.data.shards.index import read_indexes
from ml_clap.data.shards.places import ENDINGS, list_shards
from ml_clap.data.shards.reading import Place
from ml_clap.data.statuses import Status, find_statuses, list_statuses
from ml_clap.search.scan import Found, Missing, found_of, scan, scan_manifest


def scan_anywhere(source: Path, language: str = "eng_Latn") -> tuple[list[Found], list[Missing]]:
    """Return the clips of a folder or manifest, here or behind a URL, or of shards, in order.

    Raises:
        FileNotFoundError: there is no such folder or file.
    """
    if means_shards(source):
        return scan_shards(written(source), language)
    return scan_remote(written(source), language) if is_url(source) else scan(source, language)


def means_shards(source: Path) -> bool:
    """Tell whether a source is shards: tars, or a folder or URL that has tars and no sounds."""
    if str(source).endswith(ENDINGS):
        return True
    if is_url(source):
        names = [] if str(source).endswith(".jsonl") else names_in(written(source))
        return any(name.endswith(ENDINGS) for name in names) and not any(map(is_audio, names))
    names = [path.name for path in source.iterdir()] if source.is_dir() else []
    return any(name.endswith(ENDINGS) for name in names) and not find_audio(source)


def scan_remote(url: str, language: str) -> tuple[list[Found], list[Missing]]:
    """Return the clips of a manifest (.jsonl) or of a folder behind a URL.

    Raises:
        FileNotFoundError: there is nothing.
    """
    if url.endswith(".jsonl"):
        return scan_manifest(Path(url), language)
    statuses = list_statuses(url, is_deep=True)
    if not statuses:
        raise FileNotFoundError(
            f"{url} is neither a folder with files nor a manifest (.jsonl): check the URL"
        )
    found = []
    for file in sorted(statuses):
        name = file.removeprefix(url.rstrip("/")).lstrip("/")
        is_hidden = any(part.startswith(".") for part in name.split("/"))
        if is_audio(name) and not is_hidden:
            found.append(Found(name, Path(file), file, *statuses[file]))
    return found, []


def scan_shards(source: str, language: str) -> tuple[list[Found], list[Missing]]:
    """Return the clips of shards: a tar, a brace pattern, a folder or a URL of one of these.

    Raises:
        FileNotFoundError: there are none.
        ManifestError: the index of a shard cannot be used.
    """
    shards = list_shards(source if is_url(source) else str(Path(source).absolute()))
    changes = _changes(shards)
    found: dict[str, Found] = {}
    missing: list[Missing] = []
    for index in read_indexes(shards, language=language):
        for entry in index.entries:
            file = join(index.shard, entry.member)
            place = Place(index.shard, entry.member, entry.offset, entry.size, index.is_compressed)
            # Keys are unique in a shard, and need not be over all shards.
            name = (
                entry.clip.id if entry.clip.id not in found else f"{Path(index.shard).name}/{entry.clip.id}"
            )
            if name in found:
                missing.append(Missing(Path(file), f"its id {entry.clip.id!r} is there twice"))
                continue
            found[name] = found_of(entry.clip, file, Status(entry.size, changes[index.shard]), place, name)
        missing += [Missing(Path(index.shard, key), reason) for key, reason in index.faults]
    return list(found.values()), missing


def _changes(shards: list[str]) -> dict[str, int]:
    """Return when each shard was last changed, in nanoseconds; 0 where nothing says it."""
    urls = [shard for shard in shards if is_url(shard)]
    statuses = find_statuses(urls)
    return {
        shard: (statuses[shard].mtime_ns if shard in statuses else 0)
        if is_url(shard)
        else Path(shard).stat().st_mtime_ns
        for shard in shards
    }
