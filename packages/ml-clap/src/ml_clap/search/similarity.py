"""The cosine of sounds and texts with one another: `ml-clap similarity`."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from audio_common.files import AUDIO_SUFFIXES

from ml_clap.config.similarity import SimilarityConfig
from ml_clap.data.languages import resolve
from ml_clap.files import write_json
from ml_clap.lock import hold_outputs
from ml_clap.tables import print_skipped, print_table, tables_beside_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """One of the sounds and texts."""

    kind: str
    """`audio` or `text`."""
    name: str
    """The path or the text, as it was written."""


@dataclass(frozen=True)
class SimilarityReport:
    """The cosine of each two."""

    items: list[Compared]
    similarity: list[list[float]]
    """In the order of `items`, both ways; from -1 to 1."""
    bad_files: list[str]
    """Why other sounds could not be read."""
    notices: list[str]
    """What was cut, and what changes that."""


def similarity(config: SimilarityConfig) -> SimilarityReport:
    """Load the model, compare the items, print a table, and write what was asked for.

    Raises:
        FileNotFoundError: a word looks like a sound file and names none.
        ValueError: fewer than two sounds and texts can be read.
    """
    import numpy as np
    from audio_common.prefetch import AudioSpan
    from audio_common.workers import DecodeLimits

    from ml_clap.models.encoding import encode_files, encode_texts
    from ml_clap.models.loading import load_model
    from ml_clap.models.tokenizer import CutText

    items = [tell_apart(item) for item in config.inputs]
    language = resolve(config.lang)
    model = load_model(config.model, device=config.device, dtype=config.dtype)
    is_sound = np.array([item.kind == "audio" for item in items])
    vectors = np.full((len(items), model.embed_dim), np.nan, np.float32)
    sounds = [AudioSpan(Path(item.name)) for item in items if item.kind == "audio"]
    embedded, bad = encode_files(
        model,
        sounds,
        num_workers=config.num_workers,
        channel=config.channel or model.channel,
        decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
    )
    vectors[is_sound] = embedded.numpy()
    cut: dict[str, CutText] = {}
    texts = [item.name for item in items if item.kind == "text"]
    vectors[~is_sound] = encode_texts(model, texts, language, cut=cut).numpy() if texts else 0
    good = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    if len(good) < 2:
        raise ValueError(f"nothing is left to compare: {bad[0].reason}")
    notice = model.describe_cut(list(cut.values()))
    report = SimilarityReport(
        items=[items[place] for place in good],
        similarity=(vectors[good] @ vectors[good].T).tolist(),
        bad_files=[file.reason for file in bad],
        notices=[notice] if notice else [],
    )
    with tables_beside_json(config.json):
        print_similarity(report)
    if config.json is not None:
        write_json(config.json, report)
    return report


def similarity_verb(config: SimilarityConfig) -> int:
    """Compare, and return 1 if sounds had to be skipped."""
    with hold_outputs(config.json):
        return int(bool(similarity(config).bad_files))


def tell_apart(item: str) -> Compared:
    """Return whether a word is a sound file or a text.

    Raises:
        FileNotFoundError: it ends like a sound file, and there is none.
        ValueError: it is a folder.
    """
    if os.path.isfile(item):  # a text may be longer than a path can be, which Path raises for
        return Compared("audio", item)
    if os.path.isdir(item):
        raise ValueError(f"{item} is a folder: name its sound files, or search it with `ml-clap index`")
    if Path(item).suffix.lower() in AUDIO_SUFFIXES:
        raise FileNotFoundError(f"there is no file {item}")
    return Compared("text", item)


def print_similarity(report: SimilarityReport) -> None:
    """Print a table of each item with each, the columns numbered as the rows are."""
    for notice in report.notices:
        logger.warning(notice)
    columns = ["", *(str(number) for number in range(1, len(report.items) + 1))]
    rows = [
        [f"{number} {item.name}", *(f"{value:.3f}" for value in values)]
        for number, (item, values) in enumerate(zip(report.items, report.similarity, strict=True), start=1)
    ]
    print_table("Similarity (cosine)", columns, rows)
    print_skipped(report.bad_files)
