"""Replace some entries of a folder together, as a saved model's files are, and leave the others alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_entries(folder: Path, last: str) -> Iterator[Path]:
    """Give an empty folder, whose entries replace those of the same names in `folder` at the end.

    Other entries of `folder` are left alone.

    Args:
        folder: created if need be.
        last: the entry that is removed before and put in place after all others, so that a folder that has
            it is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
    try:
        yield new
        (folder / last).unlink(missing_ok=True)
        for entry in sorted(new.iterdir(), key=lambda entry: entry.name == last):
            place = folder / entry.name
            if place.is_dir():
                shutil.rmtree(place)
            os.replace(entry, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
