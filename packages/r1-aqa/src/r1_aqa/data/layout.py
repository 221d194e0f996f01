"""Find the questions and the sounds of a benchmark in a folder, laid out as the hub's data sets are.

| file of questions | sounds |
|---|---|
| `MMAR-meta.jsonl`, `.json`, `mmau-test-mini.json`, `mmau-test.json` | beside it, or in an archive there |
| Parquet files, in the folder or in `data/` | within, or in an archive beside |

What is unpacked goes into a folder of its own, once: `r1_aqa.data.archive`, `r1_aqa.data.parquet`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audio_common.strict_json import JSONError, read_object, read_records

from r1_aqa.data import parquet
from r1_aqa.data.archive import is_any_unpacked, is_archive, is_unpacked, unpack
from r1_aqa.data.hub import HUB, download, is_known
from r1_aqa.data.readers import read_questions
from r1_aqa.files import is_stream, remove_leftovers, to_json, write_atomically, write_json
from r1_aqa.lock import sole_writer

# What is newest comes first: MMAR's JSONL has the rubrics that its JSON lacks.
QUESTION_FILES = ("MMAR-meta.jsonl", "MMAR-meta.json", "mmau-test-mini.json", "mmau-test.json")
UNPACKED = "unpacked"
"""Folder, within the benchmark's, of what was unpacked."""
MADE_OF = "made-of.json"
"""Names and lengths of the Parquet files that the rows beside it were made of."""


@dataclass(frozen=True)
class Layout:
    """The files of a benchmark."""

    questions: Path
    """A file that `read_questions` reads."""
    audio: Path | None = None
    """Folder of the sounds; None: where the file of questions says."""
    commit: str | None = None
    """Of the data set on the hub; None: it did not come from there."""


def find_layout(source: str, *, with_sounds: bool = True) -> Layout:
    """Return the files of a benchmark; by its name they are downloaded, and unpacked, if they are not there.

    Args:
        source: a benchmark's name, maybe with `@revision`, a folder as its data set has, or a file.
        with_sounds: whether its sounds are needed; to score answers they are not.

    Raises:
        FileNotFoundError: there are no questions in the folder.
        ArchiveError: the sounds cannot be unpacked.
        OSError: the hub cannot be reached, or the disk is full.
    """
    if is_known(source):
        found = download(source, with_sounds=False)
        # An archive whose sounds are all unpacked need not be kept, nor fetched again.
        archives = HUB[source.partition("@")[0]].sounds
        if with_sounds and archives and not is_any_unpacked(found.unpacked):
            found = download(source)
        return replace(_look_into(found.folder, found.unpacked, with_sounds), commit=found.commit)
    path = Path(source)
    if path.is_dir():
        return _look_into(path, path / UNPACKED, with_sounds)
    if path.suffix == ".parquet" and path.is_file():
        return _read_parquet([path], [path.parent], path.with_name(f"{path.stem}-{UNPACKED}"), with_sounds)
    return Layout(path)


def is_benchmark(source: str | Path) -> bool:
    """Tell whether a source is a benchmark's name or a folder, which is no plain file of questions."""
    return not is_stream(source) and (is_known(str(source)) or Path(source).is_dir())


def _look_into(folder: Path, unpacked: Path, with_sounds: bool) -> Layout:
    places = [place for place in (folder, folder / "data") if place.is_dir()]
    tables = [path for place in places for path in sorted(place.glob("*.parquet"))]
    plain = [folder / name for name in QUESTION_FILES if (folder / name).is_file()]
    if tables and (not plain or parquet.has_sounds(tables[0])):
        return _read_parquet(tables, places, unpacked, with_sounds)
    if not plain:
        names = ", ".join(QUESTION_FILES)
        raise FileNotFoundError(
            f"{folder} holds no file of questions that is known ({names}, *.parquet); give the file's path"
        )
    return Layout(plain[0], _find_sounds(plain[0], places, unpacked) if with_sounds else None)


def _read_parquet(
    tables: Sequence[Path], places: Sequence[Path], unpacked: Path, with_sounds: bool
) -> Layout:
    """Write the rows of Parquet files, and the sounds within, unless that is done; return where they are."""
    questions = unpacked / "questions.jsonl"
    has_sounds = parquet.has_sounds(tables[0])
    wanted = {
        "tables": {path.name: path.stat().st_size for path in tables},
        "sounds": with_sounds and has_sounds,
    }
    before = _state_of(unpacked)
    if before not in (wanted, wanted | {"sounds": has_sounds}):
        with sole_writer(unpacked, folder=True):
            remove_leftovers(unpacked / "audio")
            if before.get("tables") != wanted["tables"]:
                shutil.rmtree(unpacked / "audio", ignore_errors=True)  # of another version
                rows = parquet.read_rows(tables)
                write_atomically(questions, b"".join(to_json(row) + b"\n" for row in rows))
                write_json(unpacked / MADE_OF, wanted | {"sounds": False})
            if wanted["sounds"]:
                parquet.write_sounds(tables, parquet.paths_of(read_records(questions)), unpacked)
                os.sync()
            write_json(unpacked / MADE_OF, wanted)
    # Rows without sounds within name files of an archive beside the tables.
    apart = with_sounds and not has_sounds
    return Layout(questions, _find_sounds(questions, places, unpacked) if apart else None)


def _state_of(unpacked: Path) -> dict[str, Any]:
    try:
        return read_object(unpacked / MADE_OF)
    except (OSError, JSONError):
        return {}


def _find_sounds(questions: Path, places: Sequence[Path], unpacked: Path) -> Path | None:
    """Return the folder that all sounds of the questions are in, where archives are unpacked if need be."""
    base = questions.parent
    asked = [path for q in read_questions(questions, keep_faults=True) if not q.fault for path in q.audios]
    names = [path.relative_to(base) if path.is_relative_to(base) else path for path in asked]
    for place in (base, unpacked, *places):
        if all(os.path.isfile(place / name) for name in names):
            return place
    archives = [path for place in places for path in sorted(place.iterdir()) if is_archive(path)]
    if not archives:
        return None
    if not all(is_unpacked(archive, unpacked) for archive in archives):
        with sole_writer(unpacked, folder=True):
            for archive in archives:
                unpack(archive, unpacked)
    return unpacked
