"""Benchmarks by name: where each is on the Hugging Face hub, and which of its files are needed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from audio_common.hub import fetch

from r1_aqa.data.licences import CARD_FILE, licence_of_card

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HubBenchmark:
    """A benchmark's data set on the hub."""

    repository: str
    questions: tuple[str, ...]
    """Patterns of the files that questions may be in; of Parquet files the sound may be within."""
    sounds: tuple[str, ...] = ()
    """Patterns of the archives of its sounds."""
    gigabytes: float | None = None
    """About how much is downloaded with the sounds; None: not known."""


HUB = {
    "mmau-test-mini": HubBenchmark(
        repository="gamma-lab-umd/MMAU-test-mini",
        questions=("*.parquet", "mmau-test-mini.json"),
        gigabytes=1.1,
    ),
    "mmau-test": HubBenchmark(
        repository="gamma-lab-umd/MMAU-test",
        questions=("*.parquet", "mmau-test.json"),
        sounds=("*.tar.gz",),
    ),
    "mmar": HubBenchmark(
        repository="BoJack/MMAR",
        questions=("MMAR-meta.json", "MMAR-meta.jsonl"),
        sounds=("*.tar.gz",),
        gigabytes=3.0,
    ),
    "mmau-pro": HubBenchmark(
        repository="gamma-lab-umd/MMAU-Pro", questions=("*.parquet",), sounds=("data.zip",), gigabytes=47.5
    ),
    # Its folder `audio/` is another encoding of the sounds that are in the Parquet files.
    "mmsu": HubBenchmark(repository="ddwang2000/MMSU", questions=("data/*.parquet",), gigabytes=1.6),
}
"""By our names; what else a data set holds is not downloaded."""


@dataclass(frozen=True)
class Downloaded:
    """A benchmark's folder."""

    folder: Path
    commit: str
    unpacked: Path
    """Where its sounds are unpacked; beside the hub's cache, which is the hub's alone."""


def is_known(source: str) -> bool:
    """Tell whether a source is a benchmark's name, `mmar`, or one of its revisions, `mmar@REVISION`."""
    return source.partition("@")[0] in HUB and not Path(source).exists()


def download(source: str, *, with_sounds: bool = True) -> Downloaded:
    """Download a benchmark, or the rest of it; what is there is not downloaded again.

    Args:
        source: a key of `HUB`, maybe with `@revision`.
        with_sounds: whether its archives of sounds, too. (What is within a Parquet file comes with it.)

    Raises:
        OSError: the hub cannot be reached.
    """
    from huggingface_hub import constants

    name, _, revision = source.partition("@")
    known = HUB[name]
    if with_sounds and known.gigabytes and not constants.HF_HUB_OFFLINE:
        size = f"about {known.gigabytes:g} GB, unless they are there already"
        logger.info("%s: the files of %s (%s)", name, known.repository, size)
    patterns = [*known.questions, *(known.sounds if with_sounds else ()), CARD_FILE]
    repository = f"{known.repository}@{revision}" if revision else known.repository
    folder = fetch(repository, patterns, kind="dataset")
    logger.info("%s: licence of the data set: %s", name, licence_of_card(folder))
    # The hub's cache has a folder for each commit.
    return Downloaded(folder, folder.name, Path(constants.HF_HOME) / "r1-aqa" / f"{name}-{folder.name[:12]}")
