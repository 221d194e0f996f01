"""Questions of tar shards: each sound's `.json` is a row as a file of questions has it, without `audio`."""

from __future__ import annotations

from pathlib import Path

from r1_aqa.bulk.places import is_url, names_in, written
from r1_aqa.data.shard_names import ENDING, list_shards, means_shards
from r1_aqa.data.shards import INDEX_ENDING, Place, list_samples
from r1_aqa.files import to_json, write_atomically


def holds_questions(source: str) -> bool:
    """Tell whether a source is shards of questions; a folder with other files is one of the hub."""
    place = written(source)
    if not means_shards(place):
        return False
    if place.endswith(ENDING):
        return True
    names = [name.rpartition("/")[2] for name in names_in(place)]
    return all(name.endswith((ENDING, INDEX_ENDING)) or name.startswith(".") for name in names)


def copy_questions(source: str, file: Path) -> tuple[list[str], dict[str, Place]]:
    """Write the questions of shards as a file of questions, which names their sounds as members.

    Args:
        source: a tar, a folder of them, a brace pattern or a URL of one of these.
        file: written anew.

    Returns:
        What of the shards cannot be used, and where each sound is.

    Raises:
        FileNotFoundError: there is no such shard.
        ValueError: no sample has a .json.
    """
    lines: list[bytes] = []
    faults: list[str] = []
    places: dict[str, Place] = {}
    for shard in list_shards(source if is_url(source) else Path(source).absolute()):
        listing = list_samples(shard)
        faults += listing.describe_faults()
        for sample in listing.samples:
            if not sample.row:
                faults.append(f"{sample.place.name}: no {sample.key}.json with a question")
                continue
            places[sample.place.name] = sample.place
            row = {"id": sample.key} | dict(sample.row) | {"audio": sample.place.name}
            lines.append(to_json(row) + b"\n")
    if not lines:
        raise ValueError(f"{source}: no sample has a question" + "".join(f"; {why}" for why in faults[:1]))
    write_atomically(file, b"".join(lines))
    return faults, places
