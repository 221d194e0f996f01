"""A search's hits for other programs: label tracks of Audacity, and tasks of Label Studio."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ml_clap.files import to_json, write_atomically
from ml_clap.search.answers import SearchResult, short_name
from ml_clap.search.audio_index import Hit

LABEL = "hit"
"""What Label Studio's regions are labelled; their text is the query."""
MAX_NAME_BYTES = 200
"""Of a name in a path; file systems take 255, and an ending is added."""


def write_labels(results: Sequence[SearchResult], folder: Path, root: str) -> None:
    """Write a label track for each file with hits, below a folder, by the file's path in the archive.

    Args:
        results: of the search.
        folder: made if missing.
        root: the indexed folder.
    """
    for file, hits in by_file(results).items():
        name = safe_name(short_name(file, root))
        write_atomically(folder / f"{name}.txt", to_audacity(hits))


def by_file(results: Sequence[SearchResult]) -> dict[Path, list[tuple[str, Hit]]]:
    """Return the hits of all queries by file, each with its query."""
    found: dict[Path, list[tuple[str, Hit]]] = {}
    for result in results:
        for hit in result.hits:
            found.setdefault(hit.file, []).append((str(result.query), hit))
    return found


def to_audacity(hits: Iterable[tuple[str, Hit]]) -> str:
    """Return a label track (File > Import > Labels): a line a hit, its query and score as the label."""
    spans = sorted((hit.start, hit.end, " ".join(query.split()), hit.score) for query, hit in hits)
    return "".join(f"{start:.6f}\t{end:.6f}\t{query} ({score:.3f})\n" for start, end, query, score in spans)


def to_label_studio(results: Sequence[SearchResult]) -> str:
    """Return a JSON list of tasks (Import), one a file, with a region for each hit, the best first.

    The names of the labelling interface are in docs/interoperability.md; the form of a task is that of
    https://labelstud.io/guide/predictions. Label Studio serves local files below the folder in
    LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
    """
    tasks = []
    for file, hits in by_file(results).items():
        regions = [
            region for number, (query, hit) in enumerate(hits) for region in _regions(number, query, hit)
        ]
        audio = quote(os.fsencode(file).lstrip(b"/"))
        score = max(hit.score for _, hit in hits)
        tasks.append(
            {
                "data": {"audio": f"/data/local-files/?d={audio}"},
                "predictions": [{"model_version": "ml-clap", "score": score, "result": regions}],
            }
        )
    return to_json(tasks, indent=1).decode() + "\n"


def safe_name(path: str) -> str:
    """Return a relative path below a folder, whatever the path.

    >>> safe_name("park/rain.wav"), safe_name("../data/rain.wav"), safe_name("/data/rain.wav")
    ('park/rain.wav', '_/data/rain.wav', 'data/rain.wav')
    """
    parts = [_short(part) for part in path.split("/") if part not in ("", ".")]
    return "/".join("_" if part == ".." else part for part in parts) or "_"


def _short(part: str) -> str:
    if len(os.fsencode(part)) <= MAX_NAME_BYTES:
        return part
    digest = hashlib.sha256(os.fsencode(part)).hexdigest()
    return f"{part[: MAX_NAME_BYTES // 4]}-{digest[:8]}"  # of up to four bytes a character


def _regions(number: int, query: str, hit: Hit) -> list[dict[str, Any]]:
    span: dict[str, Any] = {"start": hit.start, "end": hit.end, "channel": 0}
    place: dict[str, Any] = {"id": f"region-{number}", "to_name": "audio", "score": hit.score}
    return [
        place | {"from_name": "labels", "type": "labels", "value": span | {"labels": [LABEL]}},
        place | {"from_name": "caption", "type": "textarea", "value": span | {"text": [query]}},
    ]
