"""Retrieval between sounds and captions, in each language: `ml-clap evaluate`.

The clips of a manifest, or of shards, are evaluated here or embedded by Ray; the tables are printed, and the
figures go where they were asked for: JSON, charts, the model's card.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audio_common.workers import DecodeLimits

from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.data.manifest import BadRow, Clip, read_split
from ml_clap.data.sources import Sources, read_split_anywhere
from ml_clap.evaluators.captions import choose_languages, recordings_of
from ml_clap.evaluators.charts import check_figure_path
from ml_clap.evaluators.moment_evaluation import find_moments
from ml_clap.evaluators.report import describe_run, print_retrieval, say_limit
from ml_clap.evaluators.result_charts import plot_languages, plot_retrieval
from ml_clap.evaluators.results import RetrievalReport, figures_of
from ml_clap.evaluators.retrieval_evaluation import evaluate_retrieval
from ml_clap.figures import save_figure
from ml_clap.files import write_json
from ml_clap.lock import hold_outputs
from ml_clap.models.checkpoint import find_model
from ml_clap.models.encoding import Progress
from ml_clap.models.loading import check_model
from ml_clap.output import printable
from ml_clap.tables import show_progress, tables_beside_json

if TYPE_CHECKING:
    from ml_clap.data.shards.reading import Place
    from ml_clap.evaluators.by_ray import Embedded
    from ml_clap.models.dual_encoder import DualEncoder

logger = logging.getLogger(__name__)


def _read(config: EvaluateConfig, bad_rows: list[BadRow]) -> Sources:
    if config.engine == "ray":
        return read_split_anywhere(config.data, config.split, language=config.language, bad_rows=bad_rows)
    return Sources(read_split(config.data, config.split, language=config.language, bad_rows=bad_rows))


def _embed_by_ray(
    config: EvaluateConfig,
    model: DualEncoder,
    clips: Sequence[Clip],
    places: Mapping[int, Place],
    progress: Progress,
) -> Embedded:
    from ml_clap.evaluators.by_ray import EmbeddingSettings, embed_by_ray, texts_of

    codes = choose_languages(clips, config.languages)
    found = find_model(config.model)
    settings = EmbeddingSettings(
        model=str(Path(found).absolute() if Path(found).exists() else found),
        fingerprint=model.fingerprint(),
        text_tower=config.text_tower and config.text_tower.absolute(),
        device=config.device,
        dtype=config.dtype,
        channel=config.channel,
        seconds_per_batch=config.seconds_per_batch,
        num_workers=config.num_workers,
        decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
    )
    return embed_by_ray(
        clips,
        places,
        texts_of(clips, codes, config.num_captions, config.rewordings),
        settings,
        config.ray,
        place=config.ray.parts or f"{Path(str(config.json)).absolute()}.parts",
        progress=progress,
    )


def _measure(
    config: EvaluateConfig,
    model: DualEncoder,
    clips: Sequence[Clip],
    places: Mapping[int, Place],
    recordings: Sequence[str] | None,
) -> RetrievalReport:
    with show_progress("Encoding clips") as progress:
        return evaluate_retrieval(
            model,
            clips,
            config.languages,
            num_captions=config.num_captions,
            num_samples=config.bootstrap,
            seed=config.seed,
            seconds_per_batch=config.seconds_per_batch,
            num_workers=config.num_workers,
            reference_batch_size=config.batch_size if config.reference else None,
            channel=config.channel,
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
            progress=progress,
            equal_captions=config.equal_captions,
            rewordings=config.rewordings,
            recordings=recordings,
            embedded=(
                _embed_by_ray(config, model, clips, places, progress) if config.engine == "ray" else None
            ),
        )


def _draw(report: RetrievalReport, config: EvaluateConfig) -> None:
    if config.plot is not None:
        save_figure(plot_retrieval(report), config.plot)
    if config.heat_map is not None:
        save_figure(plot_languages(report), config.heat_map)
    if config.heat_map is not None and report.consistency is None and len(report.languages) > 1:
        logger.warning(
            "the heat map lacks the hits in common: languages are compared caption by caption, and not every "
            "clip has as many captions in each; --languages or --num_captions chooses what can be compared"
        )


def add_to_card(config: EvaluateConfig, report: RetrievalReport) -> Path:
    """Add the scores to the card of `config.model`, and return the card's path."""
    from ml_clap.models.card import add_scores
    from ml_clap.models.card_parts import Score

    scores = []
    for figure in figures_of(report, ("r1", "r10", "map10")):
        low, high = figure.interval or (None, None)
        scores.append(
            Score(
                metric=figure.metric,
                value=figure.value,
                low=low,
                high=high,
                data=config.data.name,
                split=" ".join(filter(None, (config.split, figure.language))) or None,
                count=report.num_clips,
            )
        )
    return add_scores(Path(find_model(config.model)), scores)


def _write(config: EvaluateConfig, model: DualEncoder, report: RetrievalReport) -> None:
    with tables_beside_json(config.json):
        print_retrieval(report)
    if config.json is not None:
        write_json(config.json, describe_run(model, config) | {"results": report})
    _draw(report, config)
    if config.card:
        logger.info("card: %s", printable(add_to_card(config, report)))


def evaluate(config: EvaluateConfig) -> RetrievalReport:
    """Load the model, evaluate the manifest's clips, print the tables, and write what was asked for."""
    from ml_clap.models.loading import load_model
    from ml_clap.models.with_tower import with_text_tower

    check_figure_path(config.plot)
    check_figure_path(config.heat_map, "heat_map")
    check_model(config.model)
    bad_rows: list[BadRow] = []
    sources = _read(config, bad_rows)
    clips = sources.clips[: config.limit]
    # Mistakes show before the model is loaded.
    choose_languages(clips, config.languages)
    recordings = None if config.recording is None else recordings_of(clips, config.recording)
    model = load_model(
        config.model,
        device=config.device,
        dtype=config.dtype,
        mode="reference" if config.reference else None,
    )
    model = with_text_tower(model, config.text_tower)
    report = _measure(config, model, clips, sources.places, recordings)
    notices = (*say_limit(len(sources.clips), config.limit), *report.notices)
    report = dataclasses.replace(report, bad_rows=tuple(bad_rows), notices=notices)
    _write(config, model, report)
    return report


def evaluate_verb(config: EvaluateConfig) -> int:
    """Evaluate, and return 1 if files or lines of the manifest had to be skipped."""
    with hold_outputs(config.json, config.plot, config.heat_map):
        report = find_moments(config) if config.moments else evaluate(config)
    return int(bool(report.bad_files or report.bad_rows))
