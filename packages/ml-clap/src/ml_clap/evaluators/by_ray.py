"""Sounds and captions of an evaluation embedded by the workers of Ray: `ml-clap evaluate --engine ray`.

Each sound and each distinct caption is embedded once, by whichever worker is free; ranks and intervals are
computed here, by the code of every evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from audio_common.config import Channel
from audio_common.prefetch import AudioSpan, BadFile
from audio_common.workers import DecodeLimits

from ml_clap.bulk.blocks import Block, make_blocks
from ml_clap.bulk.parts import Parts
from ml_clap.bulk.places import is_url, written
from ml_clap.bulk.run import run_blocks
from ml_clap.config.ray import RayConfig
from ml_clap.data.local_sounds import Sound, bring
from ml_clap.data.manifest import Clip
from ml_clap.data.rewording import Kind
from ml_clap.data.shards.reading import Place
from ml_clap.data.statuses import find_statuses
from ml_clap.evaluators.robustness import reword_all
from ml_clap.models.device import Dtype
from ml_clap.models.embedding_parts import read_rows, read_vectors
from ml_clap.models.encoding import Progress, encode_files, encode_texts

if TYPE_CHECKING:
    from torch import Tensor

    from ml_clap.models.dual_encoder import DualEncoder
    from ml_clap.models.tokenizer import CutText

Row = dict[str, Any]
SECONDS = 10.0
"""Of a clip whose manifest does not say how long it is; it only balances the blocks."""
SECONDS_OF_TEXT = 1.0
"""Seconds of sound that take about as long as a caption."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """How sounds and captions are embedded."""

    model: str
    fingerprint: str
    text_tower: Path | None = None
    device: str = "auto"
    dtype: Dtype = "float32"
    channel: Channel | None = None
    seconds_per_batch: float = 160.0
    num_workers: int = 1
    """Threads that read files."""
    decode_limits: DecodeLimits | None = None

    def identity(self) -> dict[str, Any]:
        """Return what decides the embeddings."""
        names = ("fingerprint", "text_tower", "dtype", "channel")
        return {"what": "evaluate"} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Embedded:
    """Embeddings that were made elsewhere."""

    audio: Tensor
    """`(clips, dim)` float32, NaN where a clip is bad."""
    bad: list[BadFile]
    complaints: list[BadFile]
    texts: Mapping[tuple[str, str], int]
    """Text and language -> its row in `text_vectors`."""
    text_vectors: Tensor

    def encode_texts(
        self,
        model: DualEncoder,
        texts: Sequence[str],
        language: str,
        *,
        cut: dict[str, CutText] | None = None,
    ) -> Tensor:
        """Return what `encoding.encode_texts` would: `(texts, dim)` float32, in the order given."""
        if cut is not None:
            cut.update({text.text: text for text in model.find_cut(list(dict.fromkeys(texts)))})
        return self.text_vectors[[self.texts[text, language] for text in texts]]


class EmbeddingWorker:
    """Embeds blocks of sounds and captions by a model that it loads once.

    Args:
        settings: of the model and of the work.

    Raises:
        ValueError: the model is not the one of the job: another version on this machine.
    """

    def __init__(self, settings: EmbeddingSettings) -> None:
        from ml_clap.models.loading import load_model
        from ml_clap.models.with_tower import with_text_tower

        self.settings = settings
        model = load_model(settings.model, device=settings.device, dtype=settings.dtype)
        self.model = with_text_tower(model, settings.text_tower)
        if self.model.fingerprint() != settings.fingerprint:
            raise ValueError(
                f"{settings.model} is another model on this machine than where the job was started: give all "
                "machines the same one"
            )

    def work(self, rows: Sequence[Row]) -> list[Row]:
        """Return a row of the part for each sound of `sound_row` and each caption of `text_row`."""
        return embed_rows(self.model, rows, self.settings)

    def give_up(self, row: Row, why: str) -> list[Row]:
        """Return the row of a sound that could not be worked on; a caption that cannot be is an error."""
        if row["text"] is not None:
            raise RuntimeError(f"the caption {row['text']!r} cannot be embedded: {why}")
        return [_part_row(row, problem=f"{row['name']}: {why}")]


def sound_row(number: int, sound: Sound, status: Sequence[int] | None) -> Row:
    """Return a sound as a row of a job.

    Args:
        number: its place among the clips.
        sound: where it is.
        status: its file's size and time of change: a changed file is embedded again.
    """
    return {"number": number, "text": None, "language": None, "status": status, **sound.to_row()}


def text_row(text: str, language: str) -> Row:
    """Return a caption as a row of a job."""
    return {"number": None, "text": text, "language": language}


def embed_rows(model: DualEncoder, rows: Sequence[Row], settings: EmbeddingSettings) -> list[Row]:
    """Embed the sounds and captions of a block.

    Args:
        model: in evaluation mode.
        rows: of `sound_row` and `text_row`.
        settings: of the work.

    Returns:
        For each a row of the part: `vectors` (one, or none where `problem` says why) and `complaints`.
    """
    texts = [row for row in rows if row["text"] is not None]
    results = _embed_sounds(model, [row for row in rows if row["text"] is None], settings)
    if texts:
        vectors = encode_texts(
            model, [row["text"] for row in texts], [row["language"] for row in texts], cut={}
        )
        results += [
            _part_row(row, vectors=[vector]) for row, vector in zip(texts, vectors.numpy(), strict=True)
        ]
    return results


def _embed_sounds(model: DualEncoder, rows: Sequence[Row], settings: EmbeddingSettings) -> list[Row]:
    with bring([Sound.of_row(row) for row in rows]) as local:
        numbers = sorted(local.paths)
        complaints: list[BadFile] = []
        vectors, bad = encode_files(
            model,
            [AudioSpan(local.paths[number]) for number in numbers],
            seconds_per_batch=settings.seconds_per_batch,
            num_workers=settings.num_workers,
            channel=settings.channel,
            decode_limits=settings.decode_limits,
            complaints=complaints,
        )
        told: dict[int, Row] = {
            number: {"vectors": [vector], "complaints": []}
            for number, vector in zip(numbers, vectors.numpy(), strict=True)
        }
        told |= {number: {"problem": fault} for number, fault in local.faults.items()}

        def named(file: BadFile) -> str:
            return file.reason.replace(str(file.path), rows[numbers[file.index]]["name"])

        for complaint in complaints:
            told[numbers[complaint.index]]["complaints"].append(named(complaint))
        told |= {numbers[file.index]: {"problem": named(file)} for file in bad}
        return [_part_row(row, **told[number]) for number, row in enumerate(rows)]


def _part_row(row: Row, **told: Any) -> Row:
    blank: Row = {"vectors": [], "problem": None, "complaints": []}
    return {key: row[key] for key in ("number", "text", "language")} | blank | told


def texts_of(
    clips: Iterable[Clip], codes: Sequence[str], num_captions: int | None, rewordings: Sequence[Kind]
) -> list[tuple[str, str]]:
    """Return each distinct text of an evaluation with its language: captions and their rewordings."""
    clips = list(clips)
    found: dict[tuple[str, str], None] = {}
    for code in codes:
        plain = [text for clip in clips for text in clip.captions.get(code, ())[:num_captions]]
        reworded = [text for kind in rewordings for text in reword_all(plain, code, kind)[1]]
        found |= dict.fromkeys((text, code) for text in (*plain, *reworded))
    return list(found)


def embed_by_ray(
    clips: Sequence[Clip],
    places: Mapping[int, Place],
    texts: Sequence[tuple[str, str]],
    settings: EmbeddingSettings,
    config: RayConfig,
    *,
    place: str,
    progress: Progress = lambda done, total: None,
) -> Embedded:
    """Have sounds and captions embedded by the workers of Ray.

    Args:
        clips: whose sounds to embed.
        places: where the sounds of those in shards are, by the clips' numbers.
        texts: captions with their languages, of `texts_of`.
        settings: of the model and of the work.
        config: the cluster and its workers.
        place: folder or URL of the parts, which stay where the configuration names one.
        progress: called with the numbers of sounds and captions done and of all.

    Raises:
        RuntimeError: workers cannot be made, or a caption cannot be embedded.
        ValueError: there is no clip that could be read.
    """
    rows = [*_sound_rows(clips, places), *(text_row(*text) for text in texts)]
    seconds = [SECONDS if clip.duration is None else clip.duration for clip in clips]
    blocks = make_blocks(
        rows,
        [*seconds, *[SECONDS_OF_TEXT] * len(texts)],
        block_seconds=config.block_seconds,
        settings=settings.identity(),
    )
    parts = Parts(place, "parquet")
    done = 0
    for one in run_blocks(blocks, partial(EmbeddingWorker, settings), parts, config):
        done += len(one.block.rows)
        progress(done, len(rows))
    embedded = put_together(parts, blocks, clips, texts)
    if config.parts is None:
        parts.remove()
    return embedded


def _sound_rows(clips: Sequence[Clip], places: Mapping[int, Place]) -> list[Row]:
    names = [written(clip.audio) for clip in clips]
    statuses = find_statuses([name for name in names if is_url(name)])
    rows = []
    for number, name in enumerate(names):
        status: Sequence[int] | None = statuses.get(name)
        if number not in places and not is_url(name) and Path(name).is_file():
            stat = Path(name).stat()
            status = stat.st_size, stat.st_mtime_ns
        rows.append(sound_row(number, Sound(name, places.get(number)), status and list(status)))
    return rows


def put_together(
    parts: Parts, blocks: Sequence[Block], clips: Sequence[Clip], texts: Sequence[tuple[str, str]]
) -> Embedded:
    """Return what the parts of all blocks hold, in the order of clips and texts.

    Raises:
        ValueError: there is no clip that could be read.
    """
    bad: list[BadFile] = []
    complaints: list[BadFile] = []
    numbers = {text: number for number, text in enumerate(texts)}
    audio: dict[int, np.ndarray] = {}
    captions: dict[int, np.ndarray] = {}
    for block in blocks:
        part = parts.path_of(block)
        columns = ("number", "text", "language", "problem", "complaints")
        for row, vectors in zip(read_rows(part, columns), read_vectors(part), strict=True):
            if row["text"] is not None:
                captions[numbers[row["text"], row["language"]]] = vectors[0]
                continue
            number = row["number"]
            path = Path(written(clips[number].audio))
            complaints += [BadFile(path, text, number, partly=True) for text in row["complaints"]]
            if row["problem"] is None:
                audio[number] = vectors[0]
            else:
                bad.append(BadFile(path, row["problem"], number))
    if not audio:
        raise ValueError(f"no clip could be read; the first of {len(bad):,}: {bad[0].reason}")
    dim = len(next(iter(audio.values())))
    return Embedded(
        _matrix(audio, len(clips), dim), bad, complaints, numbers, _matrix(captions, len(texts), dim)
    )


def _matrix(rows: Mapping[int, np.ndarray], count: int, dim: int) -> Tensor:
    matrix = np.full((count, dim), np.nan, np.float32)
    for number, row in rows.items():
        matrix[number] = row
    return torch.from_numpy(matrix)
