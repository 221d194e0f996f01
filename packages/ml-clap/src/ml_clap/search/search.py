"""Search an index by text in any language or by a sound: `ml-clap search`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from audio_common.reader import AudioError

from ml_clap.config.search import SearchConfig
from ml_clap.files import write_json
from ml_clap.output import console
from ml_clap.search.audio_index import AudioIndex, Hit
from ml_clap.search.engines import EngineName
from ml_clap.search.queries import Query, embed_queries, read_queries
from ml_clap.tables import printable, tables_beside_json

if TYPE_CHECKING:
    from ml_clap.models.tokenizer import CutText

logger = logging.getLogger(__name__)


def search(config: SearchConfig, bad_files: dict[str, str] | None = None) -> list[list[Hit]]:
    """Answer the queries, print a table of each one's hits, and return them.

    Args:
        config: the index and the queries.
        bad_files: gets each sound that cannot be read, and why; the others are searched by. Without it, or
            if no query is left, that is an error.

    Raises:
        AudioError: a sound to search by cannot be read.
    """
    from ml_clap.models.device import choose_device
    from ml_clap.models.ml_clap import MLCLAP

    queries = read_queries(config)
    index = AudioIndex.open(config.index)
    if not index.settings.complete:
        logger.warning("%s is not complete: run `ml-clap index` again to finish it", config.index)
    model = MLCLAP.from_pretrained(config.model or index.settings.model, device=choose_device(config.device))
    index.verify(model)
    cut: dict[str, CutText] = {}
    bad: dict[int, str] = {}
    channel = config.channel or index.settings.channel
    vectors = embed_queries(model, queries, channel=channel, cut=cut, bad=bad)
    if bad and (bad_files is None or len(bad) == len(queries)):
        raise AudioError(next(iter(bad.values())))
    skipped = {str(queries[number].audio): reason for number, reason in bad.items()}
    for reason in skipped.values():
        logger.warning("%s; this query is skipped", printable(reason))
    queries = [query for number, query in enumerate(queries) if number not in bad]
    vectors = np.delete(vectors, list(bad), axis=0)
    answers = index.nearest(vectors, config.top_k, config.all_windows, config.engine)
    notices = [notice] if (notice := model.prepare_text.describe_cut(list(cut.values()))) else []
    for notice in notices:
        logger.warning(printable(notice))
    with tables_beside_json(config.json):
        print_answers(queries, answers, index, config.engine)
    if config.json:
        write_json(config.json, answers_record(queries, answers, index, config.engine, notices, skipped))
    if bad_files is not None:
        bad_files |= skipped
    return answers


def search_verb(config: SearchConfig) -> int:
    """Search, and return 1 if a sound to search by could not be read."""
    bad_files: dict[str, str] = {}
    search(config, bad_files)
    return int(bool(bad_files))


def answers_record(
    queries: Sequence[Query],
    answers: Sequence[Sequence[Hit]],
    index: AudioIndex,
    engine: EngineName,
    notices: Sequence[str] = (),
    bad_files: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what `--json` writes."""
    return {
        "index": str(index.folder),
        "model": index.settings.model,
        "fingerprint": index.settings.fingerprint,
        "num_clips": index.num_clips,
        "num_windows": index.num_windows,
        "engine": index.engine(engine).description,
        "notices": list(notices),
        "bad_files": [{"path": path, "reason": reason} for path, reason in (bad_files or {}).items()],
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
            table.add_row(f"{hit.score:.3f}", clock(hit.start), clock(hit.end), file, Text(words))
        screen.print(table)
    asked = "1 query" if len(queries) == 1 else f"{len(queries)} queries"
    searched = f"{index.num_clips:,} clips, {index.num_windows:,} windows"
    screen.print(f"{asked} in {searched} ({index.engine(engine).description})", highlight=False)


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
