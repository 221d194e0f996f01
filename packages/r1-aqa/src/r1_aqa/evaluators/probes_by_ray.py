"""`r1-aqa prepare --audio_dependence PROBE --engine ray`: probes asked by workers of Ray.

What a probe says depends on the question alone. It goes into the same memory beside the output as a local
run's, so either engine goes on where the other one stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from r1_aqa.bulk.blocks import Row, make_blocks
from r1_aqa.bulk.parts import Parts
from r1_aqa.bulk.places import absolute
from r1_aqa.bulk.run import run_blocks
from r1_aqa.config.prepare import PrepareConfig
from r1_aqa.data.dependence import option_probabilities
from r1_aqa.data.questions import Question, QuestionError
from r1_aqa.files import to_plain


class ProbeWorker:
    """Asks a probe the questions of blocks; made in each worker process.

    Args:
        name: of the probe.
        device: where it runs.
    """

    def __init__(self, name: str, device: str) -> None:
        from r1_aqa.models.option_scores import load_probe

        self.probe = load_probe(name, device=device)

    def work(self, rows: Sequence[Row]) -> list[Row]:
        """Return what the probe says to each question: probabilities of its options, or why it cannot."""
        from r1_aqa.models.option_scores import score_options

        found: list[Row] = []
        for row in rows:
            question = row["question"]
            lists = {name: tuple(question[name]) for name in ("choices", "alternatives", "further_audio")}
            try:
                asked = Question(**question | lists)
                said: Any = option_probabilities(score_options(self.probe, asked)).tolist()
            except QuestionError as error:
                said = str(error)
            found.append({"key": row["key"], "said": said})
        return found

    def give_up(self, row: Row, why: str) -> list[Row]:
        """Return that a question could not be asked, which is not remembered."""
        return [{"key": row["key"], "failed": why}]


def ask_by_ray(
    config: PrepareConfig, name: str, stamp: str, waiting: Mapping[str, Question]
) -> Iterator[tuple[str, Any, bool]]:
    """Yield what a probe says to questions, as blocks end: the key, what it says, and whether to remember it.

    Args:
        config: settings of the command.
        name: of the probe.
        stamp: of its version.
        waiting: questions by key.

    Raises:
        ValueError: Ray is not installed, or the cluster is too small for a worker.
        RuntimeError: a worker cannot go on; what was said is kept.
    """
    parts = Parts(config.ray.parts or f"{config.out.absolute()}.parts")
    rows: list[Row] = [{"key": key, "question": _plain(question)} for key, question in waiting.items()]
    # A probe hears nothing: each question counts as a second.
    blocks = make_blocks(
        rows,
        [1.0] * len(rows),
        block_seconds=config.ray.block_seconds,
        settings={"probe": name, "stamp": stamp},
    )
    for done in run_blocks(blocks, partial(ProbeWorker, absolute(name), config.device), parts, config.ray):
        for row in parts.read(done.block):
            yield row["key"], row.get("said", row.get("failed")), "said" in row
    if config.ray.parts is None:  # all they hold is in the memory
        parts.remove()


def _plain(question: Question) -> Row:
    # Its sounds are not heard, but how many there are is told.
    return to_plain(replace(question, extra={}, audio=Path("-"), further_audio=question.further_audio))
