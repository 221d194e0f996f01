"""Models and data sets of the hub by name, pinned by `name@revision`, and only the files needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal


def split_revision(source: str | Path) -> tuple[str, str | None]:
    """Return a name, and the revision (branch, tag or commit) that stands behind its `@`, or None.

    A folder or file that is there is meant as it is, whatever its name.

    >>> split_revision("intfloat/multilingual-e5-small@fd1525a")
    ('intfloat/multilingual-e5-small', 'fd1525a')
    """
    name, mark, revision = str(source).rpartition("@")
    if not mark or not name or not revision or os.path.exists(source):
        return str(source), None
    return name, revision


def fetch(
    source: str | Path, patterns: Sequence[str], *, kind: Literal["model", "dataset"] = "model"
) -> Path:
    """Return a folder as it is, or download what of a hub's repository matches the patterns.

    What an interrupted download has got is kept, and the next call goes on from there.

    Args:
        source: a folder, or `owner/name` or `owner/name@revision` on the hub.
        patterns: of the files that are needed, as `*.safetensors`.
        kind: whether it is a model or a data set.

    Raises:
        OSError: there is neither a folder nor a repository of that name, or the hub cannot be reached.
    """
    if os.path.isdir(source):
        return Path(source)
    from huggingface_hub import snapshot_download  # seconds to import, and not needed for folders

    name, revision = split_revision(source)
    if kind == "dataset":
        found = snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=list(patterns))
    else:
        found = snapshot_download(name, revision=revision, allow_patterns=list(patterns))
    return Path(found)
