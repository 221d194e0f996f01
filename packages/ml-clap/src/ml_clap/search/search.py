"""Search an index by text in any language, by a sound, or by several of them: `ml-clap search`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from audio_common.reader import AudioError
from audio_common.workers import DecodeLimits, DecodePool

from ml_clap.config.search import SearchConfig
from ml_clap.data.manifest import BadRow
from ml_clap.files import write_bytes, write_json
from ml_clap.lock import hold_outputs
from ml_clap.models.model_folder import find_model
from ml_clap.models.tower_folder import find_tower, is_onnx
from ml_clap.output import quiet_models
from ml_clap.search.answers import (
    SearchResult,
    choose_thresholds,
    find_calibration,
    judge,
    print_results,
    results_record,
)
from ml_clap.search.audio_index import AudioIndex, Hit
from ml_clap.search.explain import columns_of, write_explanations
from ml_clap.search.filters import Filter
from ml_clap.search.known_texts import note_model, note_tower, open_known
from ml_clap.search.labels import to_label_studio, write_labels
from ml_clap.search.queries import BadQueries, Query, embed_queries, read_queries
from ml_clap.tables import count_of, tables_beside_json

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText
    from ml_clap.models.tower import Tower

logger = logging.getLogger(__name__)


def search(
    config: SearchConfig,
    bad: BadQueries | None = None,
    on_load: Callable[[], object] = lambda: None,
) -> list[list[Hit]]:
    """Answer the queries, print a table of each one's hits, and return them.

    Args:
        config: the index and the queries.
        bad: gets the queries that cannot be answered, and why; the others are. Without it, or if no query is
            left, that is an error.
        on_load: called before torch and transformers are imported, which most searches by text go without.

    Raises:
        AudioError: a sound to search by cannot be read.
        CalibrationError: the calibration is of another model.
        ValueError: a text or a line is no query, or the filter is none.
    """
    left_out = BadQueries()
    queries = read_queries(config, None if bad is None else left_out.rows)
    index = AudioIndex.open(config.index)
    if not index.settings.complete:
        logger.warning("%s is not complete: run `ml-clap index` again to finish it", config.index)
    keep = Filter.parse(config.where, config.folder)
    selection = index.select(keep)
    # Texts alone need no model where a tower answers them, or NumPy can.
    draws = config.explain is not None or config.page is not None
    texts_only = not draws and not any(query.has_sound for query in queries)
    model, tower = _open_models(config, index, texts_only, on_load)
    if config.explain is not None and model is not None:
        columns_of(model)  # a model that cannot is refused before the work
    calibration = None
    # It is of the model's own scores, not of a tower's.
    if config.threshold == "auto" and config.text_tower is None:
        calibration = find_calibration(
            _model_of(config, index), index.settings.fingerprint, config.calibration
        )
    queries, vectors, notices = _embed(config, model, tower, queries, index, left_out, is_strict=bad is None)
    if config.engine == "lancedb":
        from ml_clap.search.lance import mirror

        mirror(index, config.lance)
    answers = index.nearest(
        vectors,
        config.top_k,
        config.all_windows,
        config.engine,
        keep=keep,
        duplicates=config.duplicates,
    )
    num_searched = index.num_windows if selection is None else len(selection.rows)
    thresholds, said = choose_thresholds(queries, calibration, num_searched)
    if (least := config.min_score()) is not None:
        thresholds = [least] * len(queries)
    results = judge(queries, answers, thresholds)
    notices += said
    for notice in notices:
        logger.warning(notice)
    with tables_beside_json(config.json):
        print_results(results, index, config.engine, None if selection is None else num_searched)
    if config.json:
        write_json(config.json, results_record(results, index, config.engine, notices, left_out))
    if config.labels is not None:
        write_labels(results, config.labels, index.settings.root)
        logger.info("label tracks: %s", config.labels)
    if config.label_studio is not None:
        write_bytes(config.label_studio, to_label_studio(results).encode())
        logger.info("tasks for Label Studio: %s", config.label_studio)
    if model is not None:
        _draw(config, model, vectors, results, index)
    if bad is not None:
        bad.files |= left_out.files
        bad.rows += left_out.rows
    return [result.hits for result in results]


def _open_models(
    config: SearchConfig, index: AudioIndex, texts_only: bool, on_load: Callable[[], object]
) -> tuple[DualEncoder | None, Tower | None]:
    """Return the model, if it is needed, and what embeds the texts in its place, if anything does."""
    if config.text_tower is not None:
        tower = _open_tower(config, index, on_load)
        return (None if texts_only else _load_model(config, index, on_load)), tower
    name, fingerprint = _model_of(config, index), index.settings.fingerprint
    if texts_only and _on_cpu(config) and (known := open_known(index.folder, name, fingerprint)):
        return None, known
    model = _load_model(config, index, on_load)
    if texts_only and _on_cpu(config):
        note_model(index.folder, name, model, fingerprint)
    return model, None


def _load_model(config: SearchConfig, index: AudioIndex, on_load: Callable[[], object]) -> DualEncoder:
    """Load the index's model, and refuse another one."""
    on_load()
    from ml_clap.models.loading import load_model

    model = load_model(_model_of(config, index), device=config.device)
    index.verify(model)
    return model


def _model_of(config: SearchConfig, index: AudioIndex) -> str | Path:
    """Return the folder or hub id of the index's model."""
    return find_model(config.model or index.settings.model)


def _on_cpu(config: SearchConfig) -> bool:
    """Tell whether texts may be embedded on the processor, which is as fast for a few as a GPU is."""
    return config.device in ("auto", "cpu")


def _open_tower(config: SearchConfig, index: AudioIndex, on_load: Callable[[], object]) -> Tower:
    """Open the text tower, and refuse one that was made for another model than the index's."""
    from ml_clap.models.tower import open_tower
    from ml_clap.models.tower_folder import check_belongs, read_tower_settings

    folder, fingerprint = find_tower(str(config.text_tower)), index.settings.fingerprint
    # Before its weights are read.
    check_belongs(read_tower_settings(folder), fingerprint, str(index.folder))
    if is_onnx(folder):
        return open_tower(folder)
    if _on_cpu(config) and (known := open_known(index.folder, folder, fingerprint)):
        return known
    on_load()
    tower = open_tower(folder, device=config.device)
    if not note_tower(index.folder, folder, tower):
        logger.info(
            "%s runs by torch, which takes seconds to load; `ml-clap export %s --out FOLDER` makes a tower "
            "that answers in one",
            config.text_tower,
            folder,
        )
    return tower


def search_verb(config: SearchConfig) -> int:
    """Search, and return 1 if a query could not be read."""
    bad = BadQueries()

    def on_load() -> None:  # transformers takes two seconds, which an answer without it does not need
        quiet_models(not logger.isEnabledFor(logging.INFO), logger.isEnabledFor(logging.DEBUG))

    with hold_outputs(config.json, config.page, config.label_studio):
        search(config, bad, on_load)
    return int(bool(len(bad)))


def _embed(
    config: SearchConfig,
    model: DualEncoder | None,
    tower: Tower | None,
    queries: list[Query],
    index: AudioIndex,
    left_out: BadQueries,
    *,
    is_strict: bool,
) -> tuple[list[Query], np.ndarray, list[str]]:
    """Return the queries that can be used, their vectors, and what is to be said; notes the others."""
    cut: dict[str, CutText] = {}
    unread: dict[int, str] = {}
    channel = config.channel or index.settings.channel
    limits = DecodeLimits(config.decode_seconds, config.decode_megabytes)
    vectors = embed_queries(
        model, queries, text_tower=tower, channel=channel, cut=cut, bad=unread, decode_limits=limits
    )
    if unread and (is_strict or len(unread) == len(queries)):
        raise AudioError(next(iter(unread.values())))
    for number, reason in unread.items():
        if queries[number].is_composed:
            left_out.rows.append(BadRow(str(queries[number]), reason))
        else:
            left_out.files[str(queries[number].audio)] = reason
    for reason in (*(f"{row.where}: {row.message}" for row in left_out.rows), *left_out.files.values()):
        logger.warning("%s; this query is skipped", reason)
    reader = model if tower is None else tower
    assert reader is not None
    notice = reader.describe_cut(list(cut.values()))
    kept = [query for number, query in enumerate(queries) if number not in unread]
    return kept, np.delete(vectors, list(unread), axis=0), [notice] if notice else []


def _draw(
    config: SearchConfig,
    model: DualEncoder,
    vectors: np.ndarray,
    results: list[SearchResult],
    index: AudioIndex,
) -> None:
    """Write the pictures and the page that were asked for."""
    if config.explain is None and config.page is None:
        return
    from ml_clap.search.about import describe_archive
    from ml_clap.search.page import write_page
    from ml_clap.search.picture import take_picture

    channel = config.channel or index.settings.channel
    with DecodePool(DecodeLimits(config.decode_seconds, config.decode_megabytes)) as pool:
        if config.explain is not None:
            write_explanations(config.explain, model, vectors, results, channel, pool)
            logger.info("pictures of the hits: %s", config.explain)
        if config.page is not None:
            pictures = [
                [take_picture(model, vector, hit, channel, pool) for hit in result.hits]
                for result, vector in zip(results, vectors, strict=True)
            ]
            searched = f"In {count_of(index.num_clips, 'clip')} of {index.folder.name}"
            about = describe_archive(index, model).lines()
            write_page(
                config.page, results, pictures, root=index.settings.root, searched=searched, about=about
            )
            logger.info("page with players: %s", config.page)
