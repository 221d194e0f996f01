"""Names of tar shards and of their members.

    data/wavcaps                               every .tar of a folder that has no sounds beside them
    data/wavcaps/train-{000000..000039}.tar    as many as the braces name
    s3://bucket/wavcaps                        the same in whatever fsspec reaches

A member is named `SHARD/MEMBER`, as in `data/wavcaps/train-000000.tar/rain.flac`.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

from audio_common.files import find_audio, is_audio

from aac_llm.bulk.places import exists, is_url, names_in, written

ENDING = ".tar"
COMPRESSED_ENDINGS = (".tgz", *(f".tar.{name}" for name in ("gz", "bz2", "xz", "zst")))
_BRACES = re.compile(r"\{([^{}]*)\}")


def means_shards(source: str | Path) -> bool:
    """Tell whether a source is shards: tars, or a folder or URL that has tars and no sounds.

    Raises:
        ValueError: it is a compressed tar.
    """
    place = written(source)
    if place.endswith(COMPRESSED_ENDINGS):
        raise ValueError(f"{place} is compressed, so no sound in it can be found: uncompress it")
    if place.endswith(ENDING):
        return not Path(place).is_dir()
    if is_url(place):
        names = [] if place.endswith(".jsonl") or is_audio(place) else names_in(place)
        return any(name.endswith(ENDING) for name in names) and not any(map(is_audio, names))
    names = [path.name for path in Path(place).iterdir()] if Path(place).is_dir() else []
    return any(name.endswith(ENDING) for name in names) and not find_audio(place)


def list_shards(source: str | Path) -> list[str]:
    """Return the names of the tars that a folder, file, pattern or URL means, sorted.

    Raises:
        FileNotFoundError: a file is not there, or a folder has no tar.
    """
    place = written(source)
    if place.endswith(ENDING):
        shards = sorted(set(expand_braces(place)))
        missing = [shard for shard in shards if not exists(shard)]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise FileNotFoundError(f"there is no file {missing[0]}{more}")
        return shards
    shards = sorted(name for name in names_in(place) if name.endswith(ENDING))
    if not shards:
        raise FileNotFoundError(f"there is no {ENDING} in {place}")
    return shards


def expand_braces(pattern: str) -> list[str]:
    """Return the names that a pattern with braces means, as a shell has it.

    >>> expand_braces("a-{008..010}.tar"), expand_braces("{dev,eval}/{0..1}.tar")[1:3]
    (['a-008.tar', 'a-009.tar', 'a-010.tar'], ['dev/1.tar', 'eval/0.tar'])
    """
    pieces = _BRACES.split(pattern)
    choices = [_choices(text) if number % 2 else [text] for number, text in enumerate(pieces)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(text: str) -> list[str]:
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if found is None:
        return text.split(",") if "," in text else ["{" + text + "}"]
    first, last = int(found[1]), int(found[2])
    return [f"{number:0{len(found[1])}d}" for number in range(first, last + 1)]


def split_member(name: str | Path) -> tuple[str, str] | None:
    """Return the shard and the member that a name means, or None: it is a file of its own.

    >>> split_member("s3://bucket/train-0.tar/birds/a.wav"), split_member("birds/a.wav")
    (('s3://bucket/train-0.tar', 'birds/a.wav'), None)
    """
    text = written(name)
    for found in re.finditer(re.escape(f"{ENDING}/"), text):
        shard, member = text[: found.end() - 1], text[found.end() :]
        if member and (is_url(shard) or Path(shard).is_file()):
            return shard, member
    return None


def needs_fetching(name: str | Path) -> bool:
    """Tell whether a sound is behind a URL or in a shard, and so must be brought here to be decoded."""
    return is_url(name) or split_member(name) is not None
