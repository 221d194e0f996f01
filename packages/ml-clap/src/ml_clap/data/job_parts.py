"""Where the parts of a job of Ray lie, and their end."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ml_clap.bulk.parts import Parts
from ml_clap.bulk.places import join
from ml_clap.files import to_json


def place_of(job: str, identity: Mapping[str, Any], out: Path, named: str | None) -> str:
    """Return the folder or URL of a job's parts, one for each way of working.

    Args:
        job: what is done, the beginning of the folder's name.
        identity: what decides the results.
        out: the output, beside which parts lie where no place is named.
        named: the place that was asked for.
    """
    digest = blake2b(to_json(identity), digest_size=6).hexdigest()
    return join(named or f"{out.absolute()}.parts", f"{job}-{digest}")


def remove_own(parts: Parts) -> None:
    """Remove parts from beside the output, where nobody has asked for them."""
    parts.remove()
    folder = Path(parts.place).parent
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
