"""Which weights translated, and under which licence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path


def revision_of(folder: Path) -> str:
    """Return the commit of a hub's snapshot, or a digest of the weights in a folder of one's own."""
    if folder.parent.name == "snapshots":
        return folder.name
    return digest_files(
        [path for kind in ("*.safetensors", "pytorch_model*.bin") for path in sorted(folder.glob(kind))]
    )


def digest_files(paths: Sequence[Path]) -> str:
    """Return a digest of files' contents in their order, as `blake2b:...`."""
    digest = blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return f"blake2b:{digest.hexdigest()}"


def card_licence(folder: Path) -> str:
    """Return the licence that a model card's header (README.md) names, or `unknown`."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    header = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    found = re.search(r"^license:\s*[\"']?([\w.+-]+)", header[1], re.MULTILINE) if header else None
    return found[1] if found else "unknown"
