"""Clips of an index encoded apart from it: by many processes, each into a part that is put into it later.

A part is a Parquet file with a row for each clip: content hash, duration, and one embedding for each window.
It is made by what fills an index here, in a temporary index of its own, so that it holds what this would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from audio_common.workers import DecodeLimits, DecodePool

from ml_clap.bulk.places import written
from ml_clap.data.local_sounds import Sound, bring
from ml_clap.models.device import Dtype
from ml_clap.search.filling import IndexFiller
from ml_clap.search.scan import Found
from ml_clap.search.store import IndexSettings, IndexWriter, open_rows, vectors_path

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder

SECONDS_PER_BYTE = {".wav": 1 / 88_200, ".aiff": 1 / 88_200, ".aif": 1 / 88_200, ".flac": 1 / 50_000}
"""Of a mono file of 44.1 kHz; with many channels, or another rate, it is an estimate."""
COMPRESSED = 1 / 16_000
"""Of what is packed with losses, at 128 kbit/s."""


@dataclass(frozen=True, kw_only=True)
class BlockSettings:
    """How clips of an index are encoded."""

    index: IndexSettings
    device: str = "auto"
    encoder_dtype: Dtype = "float32"
    """Precision of the model's weights."""
    seconds_per_batch: float = 160.0
    num_workers: int = 1
    """Threads that read files."""
    decode_limits: DecodeLimits | None = None
    index_silence: bool = False

    def identity(self) -> dict[str, Any]:
        """Return what decides the embeddings."""
        index = self.index
        return {
            "what": "index",
            "fingerprint": index.fingerprint,
            "encoder_dtype": self.encoder_dtype,
            "window_seconds": index.window_seconds,
            "hop_seconds": index.hop_seconds,
            "channel": index.channel,
            "index_silence": self.index_silence,
        }


def row_of(clip: Found) -> dict[str, Any]:
    """Return a clip as a row of a job: where its sound is and what tells whether that has changed."""
    sound = Sound(written(clip.path), clip.place)
    return {"id": clip.id, "size": clip.size, "mtime_ns": clip.mtime_ns, **sound.to_row()}


def estimate_seconds(clip: Found) -> float:
    """Return about how long a clip is, from its manifest or else its size, without opening it."""
    if clip.duration is not None:
        return clip.duration
    return clip.size * SECONDS_PER_BYTE.get(Path(clip.file).suffix.lower(), COMPRESSED)


class IndexWorker:
    """Encodes blocks of clips by a model that it loads once.

    Args:
        settings: of the index, whose model is loaded, and of the work.

    Raises:
        ValueError: the model is not the one of the index: another version on this machine.
    """

    def __init__(self, settings: BlockSettings) -> None:
        from ml_clap.models.loading import load_model

        self.settings = settings
        self.model = load_model(settings.index.model, device=settings.device, dtype=settings.encoder_dtype)
        if self.model.fingerprint() != settings.index.fingerprint:
            raise ValueError(
                f"{settings.index.model} is another model on this machine than where the job was started: "
                "give all machines the same one"
            )
        self.pool = (
            DecodePool(settings.decode_limits, settings.num_workers + 1) if settings.decode_limits else None
        )

    def work(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return a row of the part for each clip of `row_of`."""
        return encode_rows(self.model, rows, self.settings, self.pool)

    def give_up(self, row: dict[str, Any], why: str) -> list[dict[str, Any]]:
        """Return the row of a clip that could not be worked on."""
        return [_part_row(row, problem=f"{row['name']}: {why}")]


def encode_rows(
    model: DualEncoder,
    rows: Sequence[dict[str, Any]],
    settings: BlockSettings,
    pool: DecodePool | None = None,
) -> list[dict[str, Any]]:
    """Encode the clips of a block.

    Args:
        model: in evaluation mode.
        rows: of `row_of`.
        settings: of the index and of the work.
        pool: processes that decode; None: in threads of this one.

    Returns:
        For each clip a row of the part, in the order given: `sha256`, `duration`, `starts`, `ends` and
        `vectors` of its windows, `silent_starts` and `silent_ends`, and what is wrong with it.
    """
    with bring([Sound.of_row(row) for row in rows]) as local, TemporaryDirectory(prefix="ml_clap-") as folder:
        own = dataclasses.replace(settings.index, dtype="float32", root="", generation=0)
        writer = IndexWriter.create(Path(folder), own)
        filler = IndexFiller(
            model, writer, settings.seconds_per_batch, settings.num_workers, pool, settings.index_silence
        )
        clips = [
            Found(str(number), path, str(path), rows[number]["size"], rows[number]["mtime_ns"])
            for number, path in sorted(local.paths.items())
        ]
        problems = {problem.file: problem for problem in filler.run(clips, lambda done, total: None)}
        made = _read_made(writer)
        writer.close()
        complaints: dict[str, list[str]] = {}
        for complaint in filler.complaints:
            complaints.setdefault(str(complaint.path), []).append(complaint.reason)
        results = []
        for number, row in enumerate(rows):
            path = str(local.paths.get(number, ""))
            told = made.get(number, {})
            if problem := problems.get(path):
                told |= {"problem": problem.reason, "partly": problem.partly}
            if number in local.faults:
                told = {"problem": local.faults[number]}
            told["complaints"] = complaints.get(path, [])
            results.append(_part_row(row, **_named(told, path, row["name"])))
        return results


def _read_made(writer: IndexWriter) -> dict[int, dict[str, Any]]:
    """Return what a temporary index holds of each clip, by the number that is its id there."""
    made: dict[int, dict[str, Any]] = {}
    for entry in writer.entries:
        made[int(entry.id)] = {
            "sha256": entry.sha256,
            "duration": entry.duration,
            "entry_problem": entry.problem,
            **{name: [] for name in ("starts", "ends", "vectors", "silent_starts", "silent_ends")},
        }
    numbers = [int(entry.id) for entry in writer.entries]
    vectors = open_rows(vectors_path(writer.folder, writer.settings.generation))
    windows = writer.windows()
    for place in np.lexsort((windows["start"], windows["entry"])):
        entry, start, end = windows[place].tolist()
        told = made[numbers[entry]]
        told["starts"].append(start)
        told["ends"].append(end)
        told["vectors"].append(np.array(vectors[place]))
    for entry, start, end in writer.silent_windows().tolist():
        made[numbers[entry]]["silent_starts"].append(start)
        made[numbers[entry]]["silent_ends"].append(end)
    return made


def _named(told: dict[str, Any], path: str, name: str) -> dict[str, Any]:
    """Return what is told of a clip with its own name instead of that of its copy."""
    if not path or path == name:
        return told
    changed = {
        key: told[key].replace(path, name)
        for key in ("problem", "entry_problem")
        if told.get(key) is not None
    }
    return told | changed | {"complaints": [text.replace(path, name) for text in told["complaints"]]}


def _part_row(row: dict[str, Any], **told: Any) -> dict[str, Any]:
    blank: dict[str, Any] = {
        "sha256": None,
        "duration": None,
        "entry_problem": None,
        "problem": None,
        "partly": False,
        "starts": [],
        "ends": [],
        "vectors": [],
        "silent_starts": [],
        "silent_ends": [],
        "complaints": [],
    }
    return {key: row[key] for key in ("id", "name", "size", "mtime_ns")} | blank | told
