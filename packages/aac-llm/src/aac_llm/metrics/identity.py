"""Which model a score is of: a short name and a digest of its weights, for tables and files of results."""

from __future__ import annotations

import hashlib
from pathlib import Path

WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.ckpt")
"""Files of weights, the first kind that is there counts."""
DIGITS = 8


def describe_model(source: str | Path, weights: Path) -> str:
    """Return the last part of a model's name and a digest of its weights, as `e5-small 1a2b3c4d`.

    Args:
        source: as it was named: folder, file, or hub id, perhaps with its revision.
        weights: the file, or the folder with the files.
    """
    name = Path(source).name or Path(source).resolve().name
    return f"{name.removesuffix('.ckpt')} {digest_weights(weights)}"


def digest_weights(path: Path) -> str:
    """Return the first hexadecimal digits of the SHA-256 of a file of weights, or of all those of a folder.

    The name of a file is not part of it: a copy has the digest of its original. A folder without weights has
    that of nothing.
    """
    files = [path] if path.is_file() else _weights_in(path)
    digest = hashlib.sha256()
    if len(files) == 1:
        # That of the file itself, which publishers name.
        return _digest_file(files[0])[:DIGITS]
    for file in files:
        digest.update(_digest_file(file).encode())
    return digest.hexdigest()[:DIGITS]


def _weights_in(folder: Path) -> list[Path]:
    return next((found for pattern in WEIGHTS if (found := sorted(folder.glob(pattern)))), [])


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
