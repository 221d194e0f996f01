"""Put the questions of a benchmark to a model: which runs there are, and the answers as they come.

Here in one process (`ask_here`), or of the rows of a block in a worker of Ray (`by_ray.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import describe_cuts
from r1_aqa.evaluators.engines import Engine
from r1_aqa.evaluators.predictions import Prediction, PredictionFile
from r1_aqa.models.asked import AskedQuestions
from r1_aqa.models.generation import answer_questions
from r1_aqa.output import Progress
from r1_aqa.rewards.matching import choose_window

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What is told of the asking, beside the answers."""

    heard: str | None
    """How answers depend on the sounds; None where it was not, or cannot be, checked."""
    prompt: str
    """What is written to the model about the first question that can be asked."""


def ask_here(
    config: EvaluateConfig,
    engine: Engine,
    questions: Sequence[Question],
    runs: dict[str, list[Question]],
    file: PredictionFile,
) -> Asked:
    """Ask what the file lacks, in this process.

    Raises:
        ConnectionError: the endpoint is given up; what was answered is kept.
        DeafModelError: answers do not depend on the audio.
    """
    heard = engine.check_heard(questions) if config.check_heard else None
    if heard:
        logger.info("%s", heard)
    elif config.check_heard:
        logger.info("whether the model hears cannot be checked here; --silent asks again without the sounds")
    prompt = ""
    for name, own in runs.items():
        asked = engine.asked(own, silent=name == "silent")
        if name == "given":
            say_cuts(asked)
            prompt = first_prompt(asked)
            say_prompt(prompt)
        ask(asked, engine, file, name, config)
    return Asked(heard, prompt)


def first_prompt(asked: AskedQuestions) -> str:
    """Return what is written to the model about the first question that can be asked."""
    return next((text for text in asked.texts if text), "")


def say_prompt(prompt: str) -> None:
    """Say what is written to the model."""
    if prompt:
        logger.info("The prompt of the first question, beside its sound:\n%s", prompt)


def say_cuts(prompts: AskedQuestions) -> None:
    """Say of how many questions only a part of the sound is heard."""
    advice = "--sound.too_long windows asks about all of them"
    _, line = describe_cuts(prompts.sounds, range(len(prompts.questions)), advice)
    if line:
        logger.warning("%s", line)
    asked = sum(len(parts) > 1 for parts in prompts.windows.parts)
    if asked:
        logger.info("%d long sounds are asked about in windows of %g s", asked, prompts.windows.seconds)


def make_runs(questions: Sequence[Question], config: EvaluateConfig) -> dict[str, list[Question]]:
    """Return the questions of each run: as given, with the options in other orders, with silence."""
    runs = {"given": list(questions)}
    for number in range(1, config.shuffles + 1):
        runs[f"shuffle-{number}"] = [
            shuffle_choices(question, [config.seed, number, row]) for row, question in enumerate(questions)
        ]
    return runs | ({"silent": list(questions)} if config.silent else {})


def shuffle_choices(question: Question, seed: Sequence[int]) -> Question:
    """Return the question with its options in another order, never the given one."""
    count = len(question.choices)
    if count < 2:
        return question
    rng = np.random.default_rng(seed)  # of this question alone: a limit does not change the others
    order = list(range(count))
    while order == list(range(count)):
        order = rng.permutation(count).tolist()
    return replace(question, choices=tuple(question.choices[i] for i in order))


def ask(
    asked: AskedQuestions, engine: Engine, file: PredictionFile, run: str, config: EvaluateConfig
) -> None:
    """Answer what is not answered yet; audio that cannot be read is recorded, and ends nothing.

    Raises:
        ConnectionError: the endpoint is given up; what was answered is kept.
    """
    waiting = [row for row in range(len(asked.asked)) if (run, row) not in file.found]
    count, failed = len(asked.asked), list[str]()
    with Progress(f"Answering ({run})", count, start=count - len(waiting)) as progress:
        for batch in answers(asked, engine, waiting, run, config.batch_size):
            file.append(batch)
            progress.advance(len(batch))
            # Of sounds that cannot be read it was said already.
            failed += [f"{p.id} ({p.error})" for p in batch if p.error and not _is_told(asked, p.row)]
            if why := engine.given_up:
                raise ConnectionError(f"{why}; what was answered is kept, the same command goes on")
    if failed:
        logger.warning(
            "%d of %d questions got no answer from the model, the first: %s", len(failed), count, failed[0]
        )


def answers(
    asked: AskedQuestions, engine: Engine, rows: Sequence[int], run: str, batch_size: int
) -> Iterator[list[Prediction]]:
    """Yield the answers to some rows of a run, batch by batch, like durations together."""
    answer = partial(engine.answer, asked)
    for batch in answer_questions(asked, rows, answer, batch_size=batch_size, choose=choose_window):
        found = [(asked.asked[completion.row], completion) for completion in batch]
        yield [
            Prediction(
                c.row, q.id, run, q.choices, c.text, c.error, c.cut, c.truncated, c.windows, c.complaints
            )
            for q, c in found
        ]


def _is_told(asked: AskedQuestions, row: int) -> bool:
    return any(asked.sounds.why_not(part) for part in asked.windows.parts[row])
