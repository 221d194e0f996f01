"""`aac-llm correct --engine ray`: blocks of captions repaired by workers of Ray, put together in the journal.

A worker loads gate and language model once, and repairs a block as `correct.py` repairs all. Its part has the
lines of the output file. Answers are greedy and of a caption alone, so blocks change nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from aac_llm.bulk.blocks import Row, leave_out, make_blocks
from aac_llm.bulk.parts import Parts
from aac_llm.bulk.places import absolute
from aac_llm.bulk.run import run_blocks
from aac_llm.config.correct import CorrectConfig
from aac_llm.correction.acceptance import NO_ANSWER
from aac_llm.correction.corrector import CHUNK, Corrector
from aac_llm.data.journal import Journal
from aac_llm.data.predictions import Prediction, from_json, row_of
from aac_llm.files import to_plain


class CorrectWorker:
    """Repairs the captions of blocks; made in each worker process.

    Args:
        config: settings of the command.
    """

    def __init__(self, config: CorrectConfig) -> None:
        self.corrector = Corrector(config)

    def work(self, rows: Sequence[Row]) -> list[Row]:
        """Return the predictions with repaired captions."""
        predictions = [from_json(row) for row in rows]
        return [
            row_of(one)
            for start in range(0, len(predictions), CHUNK)
            for one in self.corrector.correct_predictions(predictions[start : start + CHUNK])
        ]

    def give_up(self, row: Row, why: str) -> list[Row]:
        """Return a caption as it was, to be asked about again by the next run."""
        # As `_with_correction` writes what was considered; without the gate there is no score.
        correction = {
            "before": row["caption"],
            "after": row["caption"],
            "accepted": False,
            "score_before": 0.0,
        }
        return [row | {"correction": correction | {"reason": f"{NO_ANSWER} ({why})"}}]


def correct_by_ray(
    config: CorrectConfig, predictions: Sequence[Prediction], journal: Journal
) -> Iterator[list[Prediction]]:
    """Yield repaired captions as blocks end; the caller puts them into the journal.

    Args:
        config: settings.
        predictions: all captions of the job.
        journal: what it holds is not done again.

    Raises:
        ValueError: Ray is not installed, or the cluster is too small for a worker.
        RuntimeError: a worker cannot go on; what was corrected is kept.
    """
    parts = Parts(config.ray.parts or f"{config.out.absolute()}.parts")
    if config.overwrite:
        parts.remove()
    held = {prediction.key for prediction in journal.predictions}
    rows = [to_plain(row_of(prediction)) for prediction in predictions]
    # Captions have no seconds of sound that anyone listens to here: each counts as one.
    blocks = make_blocks(
        rows, [1.0] * len(rows), block_seconds=config.ray.block_seconds, settings=journal.settings
    )
    left = leave_out(blocks, lambda row: from_json(row).key in held, journal.settings)
    for done in run_blocks(left, partial(CorrectWorker, elsewhere(config)), parts, config.ray):
        yield [from_json(row) for row in parts.read(done.block)]
    if config.ray.parts is None:  # all they hold is in the journal
        parts.remove()


def elsewhere(config: CorrectConfig) -> CorrectConfig:
    """Return settings whose folders are found from any working folder: a worker has its own."""
    return replace(config, llm=_absolute(config.llm), fluency_model=_absolute(config.fluency_model))


def _absolute(source: str | None) -> str | None:
    return source and absolute(source)
