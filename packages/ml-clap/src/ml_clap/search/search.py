"""Search an index by text in any language or by a sound: `ml-clap search`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from audio_common.reader import AudioError
from audio_common.workers import DecodeLimits

from ml_clap.config.search import SearchConfig
from ml_clap.files import write_json
from ml_clap.lock import hold_outputs
from ml_clap.models.tower_folder import is_onnx
from ml_clap.output import _quiet_models, console, printable
from ml_clap.search.audio_index import AudioIndex, Hit
from ml_clap.search.engines import EngineName
from ml_clap.search.queries import BadQueries, Query, embed_queries, read_queries
from ml_clap.tables import tables_beside_json

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText
    from ml_clap.models.tower import Tower

logger = logging.getLogger(__name__)


def search(config: SearchConfig, bad: BadQueries | None = None) -> list[list[Hit]]:
    """Answer the queries, print a table of each one's hits, and return them.

    Args:
        config: the index and the queries.
        bad: gets the queries that cannot be answered, and why; the others are. Without it, or if no query is
            left, that is an error.

    Raises:
        AudioError: a sound to search by cannot be read.
        ValueError: a text or a line is no query.
    """
    left_out = BadQueries()
    queries = read_queries(config, None if bad is None else left_out.rows)
    index = AudioIndex.open(config.index)
    if not index.settings.complete:
        logger.warning("%s is not complete: run `ml-clap index` again to finish it", config.index)
    tower = None if config.text_tower is None else _open_tower(config, index)
    # A tower answers texts alone: without a sound among the queries the model is not loaded at all.
    is_needed = tower is None or any(query.text is None for query in queries)
    model = _load_model(config, index) if is_needed else None
    cut: dict[str, CutText] = {}
    unread: dict[int, str] = {}
    channel = config.channel or index.settings.channel
    limits = DecodeLimits(config.decode_seconds, config.decode_megabytes)
    vectors = embed_queries(
        model, queries, text_tower=tower, channel=channel, cut=cut, bad=unread, decode_limits=limits
    )
    if unread and (bad is None or len(unread) == len(queries)):
        raise AudioError(next(iter(unread.values())))
    left_out.files |= {str(queries[number].audio): reason for number, reason in unread.items()}
    for reason in (*(f"{row.where}: {row.message}" for row in left_out.rows), *left_out.files.values()):
        logger.warning("%s; this query is skipped", reason)
    queries = [query for number, query in enumerate(queries) if number not in unread]
    vectors = np.delete(vectors, list(unread), axis=0)
    answers = index.nearest(vectors, config.top_k, config.all_windows, config.engine)
    reader = model if tower is None else tower
    assert reader is not None
    notices = [notice] if (notice := reader.describe_cut(list(cut.values()))) else []
    for notice in notices:
        logger.warning(notice)
    with tables_beside_json(config.json):
        print_answers(queries, answers, index, config.engine)
    if config.json:
        write_json(config.json, answers_record(queries, answers, index, config.engine, notices, left_out))
    if bad is not None:
        bad.files |= left_out.files
        bad.rows += left_out.rows
    return answers


def _load_model(config: SearchConfig, index: AudioIndex) -> DualEncoder:
    """Load the index's model, and refuse another one."""
    from ml_clap.models.loading import load_model

    model = load_model(config.model or index.settings.model, device=config.device)
    index.verify(model)
    return model


def _is_light(config: SearchConfig) -> bool:
    """Tell whether the queries are answered without torch and transformers."""
    return config.text_tower is not None and not config.audio and is_onnx(config.text_tower)


def _open_tower(config: SearchConfig, index: AudioIndex) -> Tower:
    """Open the text tower, and refuse one that was made for another model than the index's."""
    from ml_clap.models.tower import open_tower
    from ml_clap.models.tower_folder import check_belongs, find_tower, read_tower_settings

    # Before its weights are read.
    check_belongs(
        read_tower_settings(find_tower(str(config.text_tower))), index.settings.fingerprint, str(index.folder)
    )
    return open_tower(str(config.text_tower), device=config.device)


def search_verb(config: SearchConfig) -> int:
    """Search, and return 1 if a query could not be read."""
    bad = BadQueries()
    if not _is_light(config):  # transformers takes two seconds, which an answer by ONNX does not need
        _quiet_models(not logger.isEnabledFor(logging.INFO), logger.isEnabledFor(logging.DEBUG))
    with hold_outputs(config.json):
        search(config, bad)
    return int(bool(len(bad)))


def answers_record(
    queries: Sequence[Query],
    answers: Sequence[Sequence[Hit]],
    index: AudioIndex,
    engine: EngineName,
    notices: Sequence[str] = (),
    bad: BadQueries | None = None,
) -> dict[str, Any]:
    """Return what `--json` writes."""
    bad = bad or BadQueries()
    return {
        "index": str(index.folder),
        "model": index.settings.model,
        "fingerprint": index.settings.fingerprint,
        "num_clips": index.num_clips,
        "num_windows": index.num_windows,
        "engine": index.engine(engine).description,
        "notices": list(notices),
        "bad_files": [{"path": path, "reason": reason} for path, reason in bad.files.items()],
        "bad_rows": bad.rows,
        "queries": [
            {
                "text": query.text,
                "language": None if query.text is None else query.language,
                "audio": None if query.audio is None else str(query.audio),
                "hits": hits,
            }
            for query, hits in zip(queries, answers, strict=True)
        ],
    }


def print_answers(
    queries: Sequence[Query], answers: Sequence[Sequence[Hit]], index: AudioIndex, engine: EngineName
) -> None:
    """Print a table of each query's hits."""
    from rich.table import Table
    from rich.text import Text

    screen = console()
    for query, hits in zip(queries, answers, strict=True):
        screen.print(Text(printable(str(query))), style="bold")
        table = Table(box=None, pad_edge=False)
        for name in ("score", "from", "to"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("file", overflow="fold")
        described = [describe(hit, query.language) for hit in hits]
        table.add_column("description" if any(described) else "", overflow="ellipsis")
        for hit, words in zip(hits, described, strict=True):
            # As Text: names in [brackets] are no markup.
            file = Text(printable(_short(hit.file, index.settings.root)))
            table.add_row(f"{hit.score:.3f}", clock(hit.start), clock(hit.end), file, Text(printable(words)))
        screen.print(table)
    asked = "1 query" if len(queries) == 1 else f"{len(queries)} queries"
    searched = f"{index.num_clips:,} clips, {index.num_windows:,} windows"
    screen.print(Text(printable(f"{asked} in {searched} ({index.engine(engine).description})")))


def describe(hit: Hit, language: str) -> str:
    """Return a caption of the clip, in the query's language if there is one; else its label, else nothing."""
    captions = hit.captions.get(language) or next(iter(hit.captions.values()), [])
    return captions[0] if captions else hit.label or ""


def clock(seconds: float) -> str:
    """Return seconds as a player shows them.

    >>> clock(3725.26)
    '1:02:05.3'
    """
    tenths = round(10 * seconds)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{minutes:02d}:{tenths / 10:04.1f}" if hours else f"{minutes}:{tenths / 10:04.1f}"
    return f"{hours}:{rest}" if hours else rest


def _short(file: Path, root: str) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
