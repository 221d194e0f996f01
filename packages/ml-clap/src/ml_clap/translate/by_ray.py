"""Captions translated and judged by the workers of Ray: `ml-clap translate --engine ray`.

A row is a batch of captions, the same as in the work of one process, so that the translations are the same
to the letter. Results go into the journal as they come: the report and the manifest are then made from it,
and the same command without Ray could go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from audio_common.strict_json import parse_object

from ml_clap.bulk.blocks import make_blocks
from ml_clap.bulk.parts import Parts
from ml_clap.bulk.places import absolute, names_in, read_all, remove
from ml_clap.bulk.run import run_blocks
from ml_clap.config.translate import TranslateConfig
from ml_clap.data.job_parts import place_of, remove_own
from ml_clap.models.device import choose_device, choose_dtype
from ml_clap.output import Progress
from ml_clap.translate.factory import BACK, TRANSLATED, Factory, compare_batch, ends_of, translate_batch
from ml_clap.translate.gate import Gate, read_gate
from ml_clap.translate.journal import Journal, Stage
from ml_clap.translate.judge import Judge, load_judge
from ml_clap.translate.loading import load_translator
from ml_clap.translate.translator import Translator

Row = dict[str, Any]
SECONDS = 1.0
"""Seconds of sound that a caption counts as, where blocks are cut."""


class TranslateWorker:
    """Translates and judges batches of captions by models that it loads when it first needs them.

    Args:
        config: of the command.
        source_language: FLORES code.
        revision: of the translator where the job was started.
    """

    def __init__(self, config: TranslateConfig, source_language: str, revision: str) -> None:
        self.config = config
        self.source_language = source_language
        self.revision = revision

    @cached_property
    def translator(self) -> Translator:
        """The model that translates; ValueError if it is another one on this machine."""
        config, device = self.config, choose_device(self.config.device)
        assert config.translator is not None
        translator = load_translator(
            config.translator,
            num_beams=config.num_beams,
            max_tokens=config.max_tokens,
            device=device,
            dtype=choose_dtype(config.dtype, device),
            licence=config.licence,
        )
        if translator.revision != self.revision:
            raise ValueError(
                f"{config.translator} is of revision {translator.revision} on this machine, and was of "
                f"{self.revision} where the job was started: give all machines the same one"
            )
        return translator

    @cached_property
    def judge(self) -> Judge:
        """The model that compares."""
        assert self.config.judge is not None
        device = choose_device(self.config.device)
        return load_judge(self.config.judge, prefix=self.config.judge_prefix, device=device)

    @cached_property
    def gate(self) -> Gate | None:
        """The thresholds, whose centres are part of a similarity."""
        return read_gate(self.config.gate) if self.config.gate else None

    def work(self, rows: Sequence[Row]) -> list[Row]:
        """Return records of the journal for the batches of `batch_rows`, and why some captions have none."""
        return [record for row in rows for record in self._work(row)]

    def give_up(self, row: Row, why: str) -> list[Row]:
        """Return what stands for a batch that could not be worked on."""
        return [_record(row, row["keys"], problem=why)]

    def _work(self, row: Row) -> list[Row]:
        try:
            return [_record(row, row["keys"], self._do(row, row["keys"]))]
        except Exception:
            if len(row["keys"]) == 1:
                raise
        # One caption costs itself alone, unless it is not the captions' fault.
        records: list[Row] = []
        failures: list[Exception] = []
        for key in row["keys"]:
            try:
                records.append(_record(row, [key], self._do(row, [key])))
            except Exception as error:
                failures.append(error)
                records.append(_record(row, [key], problem=f"{type(error).__name__}: {error}"))
        if len(failures) == len(row["keys"]):
            raise failures[0]
        return records

    def _do(self, row: Row, keys: Sequence[Any]) -> list[Any]:
        if row["stage"] in (TRANSLATED, BACK):
            ends = ends_of(row["stage"], self.source_language, row["language"])
            return translate_batch(self.translator, keys, *ends)
        return compare_batch(self.judge, self.gate, keys, self.source_language, row["language"])


def _record(row: Row, keys: Sequence[Any], values: Sequence[Any] = (), problem: str | None = None) -> Row:
    return {
        "stage": row["stage"],
        "language": row["language"],
        "keys": list(keys),
        "values": list(values),
        "problem": problem,
    }


def batch_rows(journal: Journal, stage: Stage, batch_size: int) -> list[Row]:
    """Return the batches of a stage that are not done, as rows of a job."""
    return [
        {"stage": stage.name, "language": stage.language, "keys": batch}
        for batch in journal.list_left(stage, batch_size)
    ]


@dataclass
class _Taker:
    """Takes the results of parts into the journal, each once."""

    journal: Journal
    problems: list[Row] = field(default_factory=list)

    def take(self, records: Sequence[Row]) -> bool:
        """Take records, and return whether all of them are results."""
        for record in records:
            if record["problem"] is not None:
                self.problems.append(record)
                continue
            keys = [tuple(key) if isinstance(key, list) else key for key in record["keys"]]
            done = self.journal.results(record["stage"], record["language"])
            left = [place for place, key in enumerate(keys) if key not in done]
            if left:
                values = [record["values"][place] for place in left]
                self.journal.add(record["stage"], record["language"], [keys[place] for place in left], values)
        return all(record["problem"] is None for record in records)


def fill_by_ray(factory: Factory, sources: Mapping[str, Sequence[str]], config: TranslateConfig) -> None:
    """Have everything done that the factory's journal lacks, in the workers of Ray.

    Args:
        factory: whose journal is filled; its models count tokens here, and work there.
        sources: language -> captions to translate into it.
        config: of the command.

    Raises:
        RuntimeError: workers cannot be made, or no batch of a block can be worked on.
        ValueError: some captions could not be worked on; all else is in the journal.
    """
    worker = partial(TranslateWorker, _absolute(config), factory.source_language, factory.translator.revision)
    identity = {"what": "translate", **factory.journal.settings}
    assert config.out is not None
    parts = Parts(place_of("translate", identity, config.out, config.ray.parts), "jsonl")
    taker = _Taker(factory.journal)
    for name in names_in(parts.place):  # of a driver that was killed before it took them
        if name.endswith(".jsonl"):
            _take_part(name, taker)
    taker.problems.clear()  # what failed then is tried again
    for stage_of in factory.stages():
        stages = [stage_of(texts, language) for language, texts in sources.items()]
        rows = [row for stage in stages for row in batch_rows(factory.journal, stage, factory.batch_size)]
        seconds = [SECONDS * len(row["keys"]) for row in rows]
        blocks = make_blocks(rows, seconds, block_seconds=config.ray.block_seconds, settings=identity)
        with Progress(stages[0].description if len(stages) == 1 else stages[0].name, len(rows)) as shown:
            for done in run_blocks(blocks, worker, parts, config.ray):
                _take_part(parts.path_of(done.block), taker)
                shown.advance(len(done.block.rows))
        if taker.problems:
            raise ValueError(_say_problems(taker.problems))
    if config.ray.parts is None:
        remove_own(parts)


def _take_part(name: str, taker: _Taker) -> None:
    lines = read_all(name).splitlines()
    is_whole = taker.take(
        [parse_object(line, f"{name}:{number}") for number, line in enumerate(lines, start=1)]
    )
    if not is_whole:
        remove(name)  # so that the same command tries again what failed


def _say_problems(problems: Sequence[Row]) -> str:
    count = sum(len(row["keys"]) for row in problems)
    first = problems[0]
    return (
        f"{count:,} captions could not be worked on ({first['stage']}, {first['language']}): the first is "
        f"{first['keys'][0]!r}: {first['problem']}; all else is kept, and the same command tries these again"
    )


def _absolute(config: TranslateConfig) -> TranslateConfig:
    """Return the settings with local models as a worker finds them, whose folder is another one."""
    return replace(
        config,
        translator=config.translator and absolute(config.translator),
        judge=config.judge and absolute(config.judge),
        gate=config.gate and config.gate.absolute(),
    )
