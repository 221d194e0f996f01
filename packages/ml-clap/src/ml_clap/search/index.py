"""Make or update an index of a folder of sounds: `ml-clap index`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audio_common.workers import DecodeLimits

from ml_clap.config.index import IndexConfig
from ml_clap.files import write_json
from ml_clap.lock import hold_outputs
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.index_report import IndexReport, print_report
from ml_clap.search.scan import Found
from ml_clap.search.store import IndexWriter, read_settings
from ml_clap.search.updating import Filler, MakeFiller, update_index
from ml_clap.tables import show_progress, tables_beside_json

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder

logger = logging.getLogger(__name__)


def _by_ray(config: IndexConfig, model: DualEncoder) -> MakeFiller:
    """Return what makes the filler of a job by Ray."""
    from ml_clap.search.by_ray import RayFiller
    from ml_clap.search.index_block import BlockSettings

    def make(writer: IndexWriter, found: Sequence[Found]) -> Filler:
        settings = BlockSettings(
            index=writer.settings,
            device=config.device,
            seconds_per_batch=config.seconds_per_batch,
            num_workers=config.num_workers,
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
            index_silence=config.index_silence,
        )
        return RayFiller(model, writer, found, settings, config.ray)

    return make


def _follow(config: IndexConfig) -> str:
    """Bring the engine of another library up to date, and return what it is and how exact."""
    assert config.out is not None
    opened = AudioIndex.open(config.out)
    if config.engine == "lancedb" or config.engine == "ray":  # Ray with a place for a copy in LanceDB
        from ml_clap.search.lance import mirror

        return mirror(opened, config.lance).description
    return opened.engine(config.engine).description


def _name_model(config: IndexConfig) -> str:
    """Return the model's name as the index keeps it: a folder is found again from any other."""
    from ml_clap.models.checkpoint import find_model

    assert config.out is not None
    # Of a training run the model itself: another one may be its best when the index is searched.
    name = str(find_model(config.model or read_settings(config.out).model))
    return str(Path(name).absolute()) if Path(name).exists() else name


def _update(config: IndexConfig, model: DualEncoder, model_name: str) -> IndexReport:
    assert config.out is not None
    with show_progress("Indexing clips") as progress:
        return update_index(
            model,
            config.source,
            config.out,
            model_name=model_name,
            window_seconds=config.window_seconds,
            hop_seconds=config.hop_seconds,
            dtype=config.vector_dtype,
            channel=config.channel,
            language=config.language,
            keep_vanished=config.keep_vanished,
            index_silence=config.index_silence,
            seconds_per_batch=config.seconds_per_batch,
            num_workers=config.num_workers,
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
            progress=progress,
            make_filler=_by_ray(config, model) if config.engine == "ray" else None,
        )


def index(config: IndexConfig) -> IndexReport:
    """Load the model, bring the index up to date, and print what was done."""
    from ml_clap.models.independence import LARGEST, describe_independence
    from ml_clap.models.loading import load_model
    from ml_clap.search.known_texts import note_model

    assert config.out is not None
    model_name = _name_model(config)
    model = load_model(model_name, device=config.device, dtype=config.encoder_dtype)
    report = _update(config, model, model_name)
    note_model(config.out, model_name, model, read_settings(config.out).fingerprint)
    for notice in report.notices:
        logger.warning(notice)
    if report.independence is not None and report.independence > LARGEST:
        logger.warning(describe_independence(report.independence))
    if config.engine not in ("numpy", "ray") or (config.engine == "ray" and config.lance):
        report = dataclasses.replace(report, engine=_follow(config))
    with tables_beside_json(config.json):
        print_report(report, config.out)
    if config.json:
        write_json(config.json, report)
    return report


def index_verb(config: IndexConfig) -> int:
    """Bring an index up to date, and return 1 if files, or parts of them, are not in it."""
    with hold_outputs(config.json):
        return int(bool(index(config).problems))
