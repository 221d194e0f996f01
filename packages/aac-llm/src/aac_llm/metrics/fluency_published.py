"""The published fluency detectors of FENSE: where they are, how they are fetched, and what is in them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch

from aac_llm.metrics.fluency_folder import DESCRIPTION, cache_folder
from aac_llm.metrics.missing import MissingMetricError

FENSE_DETECTOR = "echecker_clotho_audiocaps_base"
PUBLISHED = {
    FENSE_DETECTOR: "1a719f090af70614bbdb9f9437530b7e133c48cfa4a58d964de0d47fc974a2fa",
    "echecker_clotho_audiocaps_tiny": "90ed0ac5033ec497ec66d4f68588053813e085671136dae312097c96c504f673",
}
"""The published checkpoints and their SHA-256."""
RELEASE = "https://github.com/blmoistawinde/fense/releases/download/V0.1"


def find_checkpoint(source: str | Path, *, local_only: bool = False) -> Path:
    """Find the checkpoint's file, downloaded to the cache if it is a published one.

    Raises:
        MissingMetricError: it cannot be had; with what to do.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        found = sorted(path.glob("*.ckpt"))
        if len(found) != 1:
            reason = f"{path} is no detector: it has no {DESCRIPTION}, and {len(found)} .ckpt files, not one"
            raise MissingMetricError(reason, f"`aac-llm fluency` makes one, or {remedy(FENSE_DETECTOR)}")
        return found[0]
    if str(source) not in PUBLISHED:
        raise MissingMetricError(f"no fluency detector at {source}", f"published: {', '.join(PUBLISHED)}")
    cached = cache_folder() / f"{source}.ckpt"
    if cached.is_file():
        return cached
    if local_only or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise MissingMetricError(
            f"the fluency detector {source} is not in {cached.parent}", remedy(str(source))
        )
    return download(str(source))


def download(name: str = FENSE_DETECTOR, folder: Path | None = None) -> Path:
    """Fetch a published checkpoint; it is kept only if its SHA-256 is the published one.

    Raises:
        MissingMetricError: the connection failed or the file is another one; with what to do.
    """
    import httpx

    target = (folder or cache_folder()) / f"{name}.ckpt"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.part")
    try:
        with httpx.stream("GET", f"{RELEASE}/{name}.ckpt", follow_redirects=True, timeout=60) as response:
            response.raise_for_status()
            with partial.open("wb") as file:
                file.writelines(response.iter_bytes())
        check_digest(partial, PUBLISHED[name])
        partial.replace(target)
    except httpx.HTTPError as error:
        raise MissingMetricError(f"{name} could not be downloaded ({error!r})", remedy(name)) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def check_digest(path: Path, expected: str) -> None:
    """Raise MissingMetricError if a file's SHA-256 is another one."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise MissingMetricError(f"{path} has SHA-256 {digest}, expected {expected}", "download it again")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the three entries of a published checkpoint; nothing in the file is run.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises many kinds
        raise ValueError(f"{path} is no checkpoint that can be read safely: {error}") from error
    if not isinstance(record, dict) or not {"model_type", "num_classes", "state_dict"} <= set(record):
        keys = sorted(map(str, record)) if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"{path}: expected model_type, num_classes and state_dict, got {keys}")
    return record


def remedy(name: str = FENSE_DETECTOR) -> str:
    """Return the commands that get a published detector."""
    return (
        f"`curl -L --create-dirs -o {cache_folder() / name}.ckpt {RELEASE}/{name}.ckpt` "
        f"and `hf download bert-base-uncased` where there is internet"
    )
