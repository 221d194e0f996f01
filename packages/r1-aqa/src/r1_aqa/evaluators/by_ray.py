"""`r1-aqa evaluate --engine ray`: blocks of questions answered by workers of Ray, put together in one file.

A worker loads the model once and answers a block as `asking.py` answers all: each clip is encoded once for
all questions about it and all runs, so questions about one clip stand side by side. Its part has the lines of
predictions.jsonl, which the driver appends as parts come; either engine goes on where the other one stopped.
The first block is a look at the model: whether it hears, and what is written to it. Until that is known no
answer is kept.

Answers are greedy and of a question alone; in another batch the rounding of its numbers may differ, which
changes an answer only where two tokens are equally likely to the last digits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from audio_common import DecodeLimits, DecodePool

from r1_aqa.bulk.blocks import Block, Row, leave_out, make_blocks
from r1_aqa.bulk.parts import Parts
from r1_aqa.bulk.places import absolute, written
from r1_aqa.bulk.run import Done, run_blocks
from r1_aqa.bulk.seconds import BYTES_PER_SECOND, seconds_of
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.data.members import local_sounds
from r1_aqa.data.questions import Question
from r1_aqa.data.shards import Place
from r1_aqa.evaluators.asking import Asked, answers, first_prompt, say_prompt
from r1_aqa.evaluators.engines import make_engine
from r1_aqa.evaluators.predictions import Prediction, PredictionFile, from_row, to_row
from r1_aqa.files import to_plain
from r1_aqa.models.heard import DeafModelError
from r1_aqa.models.template import read_template
from r1_aqa.output import Progress

logger = logging.getLogger(__name__)

LOOKED_AT = 64
"""Questions, the first ones, with which a worker looks at the model: eight that can be asked are enough."""
SILENT = "silent"
"""The run without sounds."""


class EvaluateWorker:
    """Answers the questions of blocks; made in each worker process.

    Args:
        config: settings of the command.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        self.config = config
        limits = DecodeLimits(seconds=config.decode_seconds, megabytes=config.decode_megabytes)
        self.decoder = DecodePool(limits, num_workers=2)
        self.engine = make_engine(config, read_template(config.template), [], self.decoder)

    def work(self, rows: Sequence[Row]) -> list[Row]:
        """Return the answers to some questions in all their runs, or what a look at the model shows."""
        if "look" in rows[0]:
            return [self._look(rows[0]["look"], _places(rows))]
        names = list(dict.fromkeys(name for row in rows for name in _sounds(row["question"])))
        with local_sounds(names, _places(rows)) as copies:
            here = dict(zip(names, copies, strict=True))
            lacking = {row["row"]: _why_lacking(row["question"], here) for row in rows}
            results = [one for row in rows if (why := lacking[row["row"]]) for one in self.give_up(row, why)]
            left = [row for row in rows if not lacking[row["row"]]]
            for run in dict.fromkeys(run for row in left for run in row["runs"]):
                results += self._answer(run, [row for row in left if run in row["runs"]], here)
            return _named(results, here)

    def give_up(self, row: Row, why: str) -> list[Row]:
        """Return that a question could not be asked in any of its runs."""
        if "look" in row:
            return [{"prompt": "", "heard": None, "deaf": None}]
        return [
            to_row(Prediction(row["row"], row["question"]["id"], run, tuple(choices), None, why))
            for run, choices in row["runs"].items()
        ]

    def _answer(self, run: str, rows: Sequence[Row], here: Mapping[str, Path | OSError]) -> list[Row]:
        questions = [
            replace(_question(row["question"], here), choices=tuple(row["runs"][run])) for row in rows
        ]
        asked = self.engine.asked(questions, silent=run == SILENT)
        found = answers(asked, self.engine, range(len(rows)), run, self.config.batch_size)
        return [to_row(replace(one, row=rows[one.row]["row"])) for batch in found for one in batch]

    def _look(self, rows: Sequence[Row], places: Mapping[str, Place]) -> Row:
        """Return what is written to the model, and whether it hears."""
        told: Row = {"prompt": "", "heard": None, "deaf": None}
        names = list(dict.fromkeys(name for row in rows for name in _sounds(row)))
        with local_sounds(names, places) as copies:
            here = dict(zip(names, copies, strict=True))
            questions = [_question(row, here) for row in rows]
            told["prompt"] = first_prompt(self.engine.asked(questions[:1], silent=False))
            if self.config.check_heard:
                try:
                    told["heard"] = self.engine.check_heard(questions)
                except ValueError as error:  # it does not hear, or there is no question to tell by
                    told["deaf"] = str(error)
        return told


def ask_by_ray(
    config: EvaluateConfig,
    settings: Mapping[str, Any],
    questions: Sequence[Question],
    runs: Mapping[str, Sequence[Question]],
    file: PredictionFile,
    places: Mapping[str, Place] | None = None,
) -> Asked:
    """Ask what the file lacks by Ray.

    Args:
        config: settings of the command.
        settings: those that answers depend on.
        questions: of the benchmark.
        runs: the same questions in each run.
        file: gets the answers.
        places: where sounds are that are members of shards.

    Raises:
        DeafModelError: answers do not depend on the audio.
        ValueError: Ray is not installed, or the cluster is too small for a worker.
        RuntimeError: a worker cannot go on; what was answered is kept.
    """
    parts = Parts(config.ray.parts or f"{config.out.absolute()}/parts")
    blocks = blocks_of(config, settings, questions, runs, file, places or {})
    count, waiting = sum(map(len, runs.values())), sum(len(block.rows) for block in blocks) - 1
    asked, early = None, list[Done]()
    worker = partial(EvaluateWorker, elsewhere(config))
    with Progress("Answering", len(questions), start=len(questions) - waiting) as progress:
        for done in run_blocks(blocks, worker, parts, config.ray):
            early.append(done)
            if "look" in done.block.rows[0]:
                asked = _told(parts.read(done.block)[0])
            elif asked is None:
                continue
            for one in early:
                if "look" not in one.block.rows[0]:
                    file.append(from_row(row) for row in parts.read(one.block))
                    progress.advance(len(one.block.rows))
            early.clear()
    say_failed([one for one in file.found.values() if one.error], count)
    if config.ray.parts is None:  # all they hold is in the file
        parts.remove()
    assert asked is not None  # its block is one of them
    return asked


def say_failed(failed: Sequence[Prediction], count: int) -> None:
    """Say how many answers are missing, and why the first is."""
    if failed:
        logger.warning(
            "%d of %d questions, over all runs, got no answer, the first: %s (%s)",
            len(failed),
            count,
            failed[0].id,
            failed[0].error,
        )


def blocks_of(
    config: EvaluateConfig,
    settings: Mapping[str, Any],
    questions: Sequence[Question],
    runs: Mapping[str, Sequence[Question]],
    file: PredictionFile,
    places: Mapping[str, Place],
) -> list[Block]:
    """Return the look at the model, and blocks of the questions that lack an answer in some run."""
    plain = [_plain(question) for question in questions]
    rows: list[Row] = []
    for number, question in enumerate(plain):
        left = {name: list(own[number].choices) for name, own in runs.items()}
        left = {name: choices for name, choices in left.items() if (name, number) not in file.found}
        rows.append({"row": number, "question": question, "runs": left} | _placed([question], places))
    names = [written(question.audio) for question in questions]
    sizes = [places[name].size / BYTES_PER_SECOND if name in places else None for name in names]
    seconds = seconds_of(names, [0.0 if q.fault else size for q, size in zip(questions, sizes, strict=True)])
    order = _in_blocks(names, places)
    limit, most = config.sound.limit, config.ray.block_seconds
    # Longer than any block, so that it is one by itself and the first to be done.
    looked_at = [one for one in plain if one["fault"] is None][:LOOKED_AT]
    look: Row = {"look": looked_at} | _placed(looked_at, places)
    blocks = make_blocks(
        [look, *(rows[place] for place in order)],
        [2 * most + max(seconds), *(min(seconds[place], limit) for place in order)],
        block_seconds=most,
        settings=settings,
    )
    return leave_out(blocks, lambda row: "look" not in row and not row["runs"], settings)


def _in_blocks(names: Sequence[str], places: Mapping[str, Place]) -> list[int]:
    """Return the order of questions by the names of their sounds.

    Those about one clip side by side, so that it is encoded once for them, and those of a shard, which is
    then opened once.
    """
    homes = [places[name].shard if name in places else name for name in names]
    first: dict[str, int] = {}
    for place, name in enumerate((*homes, *names)):
        first.setdefault(name, place)
    return sorted(range(len(names)), key=lambda place: (first[homes[place]], first[names[place]], place))


def elsewhere(config: EvaluateConfig) -> EvaluateConfig:
    """Return settings whose files are found from any working folder: a worker has its own."""
    assert config.model is not None  # the configuration sees to it
    family = config.family
    if family is not None:
        file, colon, name = family.rpartition(":")
        family = absolute(file) + colon + name
    template = config.template and config.template.absolute()
    return replace(config, model=absolute(config.model), template=template, family=family)


def _told(row: Row) -> Asked:
    if row["deaf"]:
        raise DeafModelError(row["deaf"])
    if row["heard"]:
        logger.info("%s", row["heard"])
    say_prompt(row["prompt"])
    return Asked(row["heard"], row["prompt"])


def _plain(question: Question) -> Row:
    # Further columns are for scores, which the driver makes.
    return to_plain(replace(question, extra={}))


def _question(row: Row, here: Mapping[str, Path | OSError]) -> Question:
    """Return the question of a row, with its sounds as they are here."""

    def find(audio: str) -> Path:
        copy = here.get(written(audio))
        return copy if isinstance(copy, Path) else Path(audio)

    return Question(
        **row
        | {
            "audio": find(row["audio"]),
            "further_audio": tuple(map(find, row["further_audio"])),
            "choices": tuple(row["choices"]),
            "alternatives": tuple(row["alternatives"]),
        }
    )


def _sounds(row: Row) -> list[str]:
    """Return the sounds of a question; none of one that cannot be asked."""
    return [] if row["fault"] else [written(audio) for audio in (row["audio"], *row["further_audio"])]


def _placed(questions: Sequence[Row], places: Mapping[str, Place]) -> Row:
    """Return what a row has beside its questions: where those of their sounds are that are in shards."""
    found = {name: list(places[name]) for one in questions for name in _sounds(one) if name in places}
    return {"places": found} if found else {}


def _places(rows: Sequence[Row]) -> dict[str, Place]:
    return {name: Place(*place) for row in rows for name, place in row.get("places", {}).items()}


def _why_lacking(row: Row, here: Mapping[str, Path | OSError]) -> str | None:
    return next((str(here[name]) for name in _sounds(row) if isinstance(here[name], OSError)), None)


def _named(results: Sequence[Row], here: Mapping[str, Path | OSError]) -> list[Row]:
    """Return answers that name sounds as the benchmark does, and not the copies that a worker fetched."""
    copies = {str(copy): name for name, copy in here.items() if str(copy) != name}

    def name(text: str) -> str:
        for copy, original in copies.items():
            text = text.replace(copy, original)
        return text

    if not copies:
        return list(results)
    return [
        row
        | ({"error": name(row["error"])} if row["error"] else {})
        | ({"complaints": [name(text) for text in row["complaints"]]} if "complaints" in row else {})
        for row in results
    ]
