"""`r1-aqa evaluate`: ask a model the questions of a benchmark, keep every raw answer, score.

Greedy: the published evaluation samples, so its score changes from run to run. Each clip is encoded once for
all questions about it and all runs (options in other orders). What answers is in `engines.py`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from audio_common import DecodeLimits, DecodePool
from audio_common.strict_json import read_object

from r1_aqa.config.changes import changes
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.data.benchmark import Benchmark, load_benchmark
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import describe_cuts
from r1_aqa.evaluators.engines import Engine, make_engine
from r1_aqa.evaluators.predictions import Prediction, PredictionFile
from r1_aqa.evaluators.scores import (
    Scores,
    check_columns,
    save_scores,
    say_letters,
    score_outputs,
    show_scores,
)
from r1_aqa.files import to_plain, write_json
from r1_aqa.lock import sole_writer
from r1_aqa.models.asked import AskedQuestions
from r1_aqa.models.generation import answer_questions
from r1_aqa.models.run_folder import find_model
from r1_aqa.models.template import PromptTemplate, read_template
from r1_aqa.output import Progress, printable
from r1_aqa.rewards.matching import choose_window

logger = logging.getLogger(__name__)

DECISIVE = {
    *("model", "engine", "endpoint", "endpoint_model", "prompt", "sound", "dtype", "max_new_tokens", "seed"),
    "bad_rows",
}
"""Settings that answers depend on, beside the template's text; answers of others need another folder."""


def evaluate_verb(config: EvaluateConfig) -> int:
    """Evaluate, and return 1 if there were rows that cannot be used, or whose audio cannot be read."""
    scores = evaluate(config)
    show_scores(scores, config.json)
    return 1 if scores["num_unreadable"] or scores["bad_rows"] else 0


def evaluate(config: EvaluateConfig) -> Scores:
    """Answer and score; write predictions.jsonl, scores.json, scores.png and, for MMAU, submission.json.

    Raises:
        FileNotFoundError: there is no such benchmark, or none of its audio.
        ValueError: `out` holds the answers of another run.
        BusyError: another process writes into `out`.
        DeafModelError: answers do not depend on the audio.
    """
    limits = DecodeLimits(seconds=config.decode_seconds, megabytes=config.decode_megabytes)
    # Two at once: while the next batch is decoded, a length may be asked for.
    with sole_writer(config.out, folder=True), DecodePool(limits, num_workers=2) as pool:
        return _evaluate(config, pool)


def _evaluate(config: EvaluateConfig, decoder: DecodePool) -> Scores:
    benchmark = load_benchmark(
        config.data, config.audio, split=config.split, limit=config.limit, bad_rows=config.bad_rows
    )
    check_columns(benchmark.questions, config.by)
    logger.info("%s: %s", benchmark.file, benchmark.version)
    if len(benchmark.questions) < benchmark.num_in_file:
        logger.info("%d of %d questions are asked (--limit)", len(benchmark.questions), benchmark.num_in_file)
    # The model that a run's folder means today is noted, for it may mean another one tomorrow.
    config = replace(config, model=find_model(config.model) if config.model else None)
    template = read_template(config.template)
    require_same_run(config, benchmark, template)
    engine = make_engine(config, template, benchmark.questions, decoder)
    file = PredictionFile(config.out / "predictions.jsonl")
    heard = engine.check_heard(benchmark.questions) if config.check_heard else None
    if heard:
        logger.info("%s", heard)
    elif config.check_heard:
        logger.info("whether the model hears cannot be checked here; --silent asks again without the sounds")
    runs, prompt = make_runs(benchmark.questions, config), ""
    for name, questions in runs.items():
        asked = engine.asked(questions, silent=name == "silent")
        if name == "given":
            say_cuts(asked)
            prompt = say_prompt(asked)
        ask(asked, engine, file, name, config)
    file.sort(list(runs))
    scores = summarize(benchmark, runs, file, config)
    scores |= {
        "model": config.model or config.endpoint_model,
        "engine": config.endpoint or config.engine,
        "prompt": str(config.template) if config.template else config.prompt,
        "template": template.text if template else None,
        "first_prompt": prompt,
        "heard": heard or "not checked",
    }
    say_letters(scores)
    say_truncated(scores, config)
    outputs = outputs_of(file, "given", len(benchmark.questions))
    save_scores(config.out, scores, benchmark.file, benchmark.questions, outputs)
    if config.card:
        logger.info("card: %s", printable(add_to_card(config, scores)))
    return scores


def add_to_card(config: EvaluateConfig, scores: Scores) -> Path:
    """Add the accuracies to the card of `config.model`, and return the card's path.

    Raises:
        ValueError: the benchmark keeps its answers to itself.
    """
    from r1_aqa.models.card import add_scores
    from r1_aqa.models.card_parts import Score

    if "strict" not in scores:
        raise ValueError(f"card: {scores['benchmark']} has no answers here, so there is no score to add")
    found = {name: scores[name] for name in ("strict", "official")}
    found |= {name: run for name, run in scores.get("runs", {}).items() if name == "silent"}
    return add_scores(
        Path(str(config.model)),
        [
            Score(
                metric=f"accuracy_{name}",
                value=one["value"],
                low=one["low"],
                high=one["high"],
                data=Path(str(scores["benchmark"])).name,
                split=config.split,
                count=one["count"],
                unit="questions",
            )
            for name, one in found.items()
        ],
    )


def say_prompt(asked: AskedQuestions) -> str:
    """Say, and return, what is written to the model about the first question that can be asked."""
    first = next((text for text in asked.texts if text), "")
    if first:
        logger.info("The prompt of the first question, beside its sound:\n%s", first)
    return first


def say_cuts(prompts: AskedQuestions) -> None:
    """Say of how many questions only a part of the sound is heard."""
    advice = "--sound.too_long windows asks about all of them"
    _, line = describe_cuts(prompts.sounds, range(len(prompts.questions)), advice)
    if line:
        logger.warning("%s", line)
    asked = sum(len(parts) > 1 for parts in prompts.windows.parts)
    if asked:
        logger.info("%d long sounds are asked about in windows of %g s", asked, prompts.windows.seconds)


def say_truncated(scores: Scores, config: EvaluateConfig) -> None:
    """Say how many answers `max_new_tokens` ended."""
    if count := scores["num_truncated"]:
        logger.warning(
            "%d of %d answers were ended after %d tokens (--max_new_tokens) and may lack their end",
            count,
            scores["num_questions"],
            config.max_new_tokens,
        )


def require_same_run(
    config: EvaluateConfig, benchmark: Benchmark, template: PromptTemplate | None = None
) -> None:
    """Write what decides the answers to OUT/config.json; refuse to go on with other settings.

    Raises:
        ValueError: settings changed; the message names them.
    """
    path = config.out / "config.json"
    now = {name: value for name, value in asdict(config).items() if name in DECISIVE}
    version = hashlib.sha256(template.text.encode()).hexdigest()[:16] if template else None
    now = to_plain(now | {"benchmark": benchmark.version, "template_version": version})
    before = read_object(path) if path.is_file() else now
    if changed := changes(before, now):
        raise ValueError(
            f"{config.out} holds the answers of another run ({'; '.join(changed)}); give another --out, or "
            "the same settings to go on"
        )
    write_json(path, now)


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
        for batch in answer_questions(
            asked,
            waiting,
            partial(engine.answer, asked),
            batch_size=config.batch_size,
            choose=choose_window,
        ):
            rows = [(asked.asked[completion.row], completion) for completion in batch]
            file.append(
                Prediction(
                    c.row, q.id, run, q.choices, c.text, c.error, c.cut, c.truncated, c.windows, c.complaints
                )
                for q, c in rows
            )
            progress.advance(len(batch))
            # Of sounds that cannot be read it was said already.
            failed += [f"{q.id} ({c.error})" for q, c in rows if c.error and not _is_told(asked, c.row)]
            if why := engine.given_up:
                raise ConnectionError(f"{why}; what was answered is kept, the same command goes on")
    if failed:
        logger.warning(
            "%d of %d questions got no answer from the model, the first: %s", len(failed), count, failed[0]
        )


def _is_told(asked: AskedQuestions, row: int) -> bool:
    return any(asked.sounds.why_not(part) for part in asked.windows.parts[row])


def outputs_of(file: PredictionFile, run: str, count: int) -> list[str | None]:
    """Return the raw answers of a run."""
    return [prediction.output if prediction else None for prediction in file.run(run, count)]


def complaints_of(questions: Sequence[Question], predictions: Sequence[Prediction]) -> list[str]:
    """Return what is odd about sounds that were heard nevertheless, each once: `file: what`."""
    found = (f"{questions[p.row].audio}: {text}" for p in predictions for text in p.complaints)
    return list(dict.fromkeys(found))


def summarize(
    benchmark: Benchmark, runs: dict[str, list[Question]], file: PredictionFile, config: EvaluateConfig
) -> Scores:
    """Return the scores of all runs."""
    count = len(benchmark.questions)
    more = {name: (q, outputs_of(file, name, count)) for name, q in runs.items() if name != "given"}
    scores = score_outputs(
        benchmark.questions,
        outputs_of(file, "given", count),
        runs=more,
        by=config.by,
        draws=config.bootstrap,
        seed=config.seed,
    )
    given = [prediction for prediction in file.run("given", count) if prediction]
    bad = {row for row, question in enumerate(benchmark.questions) if question.fault}
    return scores | {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "num_unreadable": sum(bool(prediction.error) and prediction.row not in bad for prediction in given),
        "num_cut": sum(prediction.cut for prediction in given),
        "num_windowed": sum(bool(prediction.windows) for prediction in given),
        "num_truncated": sum(prediction.truncated for prediction in given),
        "complaints": complaints_of(benchmark.questions, given),
        "num_in_file": benchmark.num_in_file,
        "bad_rows": list(benchmark.bad_rows),
    }
