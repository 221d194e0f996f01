"""`aac-llm caption --engine ray`: blocks of sounds captioned by workers of Ray, put together in the journal.

A worker loads the captioner once and captions a block as `caption.py` captions all (`groups.py`). Its part
has a line for each caption, each sound that could not be captioned and each complaint. The driver adds
parts to the journal as they come, so the file, its order and its report are the local run's, and either
engine goes on where the other one stopped. A caption depends on its sound alone, so blocks change no text;
scores may differ by rounding. Sampling is seeded block by block, and so draws other captions than a local
run.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from audio_common.prefetch import BadFile

from aac_llm.bulk.blocks import Block, Row, leave_out, make_blocks
from aac_llm.bulk.parts import Parts
from aac_llm.bulk.places import absolute, written
from aac_llm.bulk.run import run_blocks
from aac_llm.bulk.seconds import seconds_of
from aac_llm.captioning.groups import caption_groups
from aac_llm.captioning.loading import load_captioner, load_corrector
from aac_llm.captioning.maker import CaptionMaker
from aac_llm.captioning.run import CaptionRun
from aac_llm.config.caption import CaptionConfig
from aac_llm.data.predictions import Prediction, from_json, row_of
from aac_llm.data.shards import Place
from aac_llm.data.sounds import Sound
from aac_llm.output import Progress


class CaptionWorker:
    """Captions the sounds of blocks; made in each worker process.

    Args:
        config: settings of the command.
    """

    def __init__(self, config: CaptionConfig) -> None:
        self.config = config
        self.captioner = load_captioner(config)
        self.corrector = load_corrector(config)

    def work(self, rows: Sequence[Row]) -> list[Row]:
        """Return what was found of some sounds: captions, bad files and complaints, an object each."""
        if self.config.do_sample:
            self._seed(rows)
        maker = CaptionMaker(self.config, self.captioner, self.corrector)
        sounds = [_sound(row) for row in rows]
        done = {number: set(row["done"]) for number, row in enumerate(rows) if "done" in row}
        results: list[Row] = []
        for found in caption_groups(maker, sounds, done):
            results += [{"prediction": row_of(prediction)} for prediction in found.predictions]
            results += [_told("bad_file", file) for file in found.bad_files]
            results += [_told("complaint", file) for file in found.complaints]
        return results

    def give_up(self, row: Row, why: str) -> list[Row]:
        """Return that a sound could not be captioned."""
        return [{"bad_file": {"audio": row["audio"], "reason": why, "partly": False}}]

    def _seed(self, rows: Sequence[Row]) -> None:
        import torch

        # Of the block: one that is done again draws the same.
        torch.manual_seed(zlib.crc32(f"{self.config.seed} {[row['id'] for row in rows]}".encode()))


def caption_by_ray(run: CaptionRun) -> None:
    """Caption what a run lacks by Ray; what comes is kept at once.

    Raises:
        ValueError: Ray is not installed, or the cluster is too small for a worker.
        RuntimeError: a worker cannot go on; what was captioned is kept.
    """
    config = run.config
    assert config.out is not None  # the configuration sees to it
    parts = Parts(config.ray.parts or f"{config.out.absolute()}.parts")
    if config.overwrite:
        parts.remove()
    blocks = blocks_of(run)
    num_left = sum(len(block.rows) for block in blocks)
    worker = partial(CaptionWorker, elsewhere(config))
    with Progress("Captioning", len(run.sounds), start=len(run.sounds) - num_left) as progress:
        for done in run_blocks(blocks, worker, parts, config.ray):
            run.keep(*read_results(parts.read(done.block)))
            progress.advance(len(done.block.rows))
    if config.ray.parts is None:  # all they hold is in the journal
        parts.remove()


def blocks_of(run: CaptionRun) -> list[Block]:
    """Return the blocks of what a run lacks."""
    config = run.config
    settings = run.journal.settings if run.journal else {}
    lacking, windows = run.lacking()
    starts = {sound.id: sorted(windows.get(number, ())) for number, sound in enumerate(lacking)}
    rows = [_row(sound, starts.get(sound.id, ())) for sound in run.sounds]
    seconds = seconds_of(
        [sound.audio for sound in run.sounds], [sound.likely_seconds for sound in run.sounds]
    )
    blocks = make_blocks(rows, seconds, block_seconds=config.ray.block_seconds, settings=settings)
    return leave_out(blocks, lambda row: row["id"] not in starts, settings)


def read_results(rows: Iterable[Row]) -> tuple[list[Prediction], list[BadFile], list[BadFile]]:
    """Return the captions, bad files and complaints of a part."""
    predictions: list[Prediction] = []
    bad_files: list[BadFile] = []
    complaints: list[BadFile] = []
    for row in rows:
        if "prediction" in row:
            predictions.append(from_json(row["prediction"]))
        elif "bad_file" in row:
            bad_files.append(_bad_file(row["bad_file"], len(bad_files)))
        else:
            complaints.append(_bad_file(row["complaint"], len(complaints)))
    return predictions, bad_files, complaints


def elsewhere(config: CaptionConfig) -> CaptionConfig:
    """Return settings whose folders are found from any working folder: a worker has its own."""
    correction = replace(
        config.correction,
        llm=_absolute(config.correction.llm),
        fluency_model=_absolute(config.correction.fluency_model),
    )
    return replace(
        config,
        model=absolute(config.model),
        decoder=_absolute(config.decoder),
        sentence_encoder=absolute(config.sentence_encoder),
        cider_captions=config.cider_captions and config.cider_captions.absolute(),
        correction=correction,
    )


def _absolute(source: str | None) -> str | None:
    return source and absolute(source)


def _row(sound: Sound, done: Sequence[float]) -> Row:
    row: Row = {"id": sound.id, "audio": sound.audio, "references": list(sound.references)}
    if sound.place is not None:
        row["place"] = list(sound.place)
    return row | {"done": list(done)} if done else row


def _sound(row: Row) -> Sound:
    place = Place(*row["place"]) if "place" in row else None
    return Sound(row["id"], Path(row["audio"]), tuple(row["references"]), place=place)


def _told(kind: str, file: BadFile) -> Row:
    return {kind: {"audio": written(file.path), "reason": file.reason, "partly": file.partly}}


def _bad_file(row: dict[str, Any], index: int) -> BadFile:
    return BadFile(Path(row["audio"]), row["reason"], index, row["partly"])
