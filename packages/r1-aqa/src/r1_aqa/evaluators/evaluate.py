"""`r1-aqa evaluate`: ask a model the questions of a benchmark, keep every raw answer, score.

Greedy: the published evaluation samples, so its score changes from run to run. Each clip is encoded once for
all questions about it and all runs (options in other orders). What answers is in `engines.py`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from audio_common import DecodeLimits, DecodePool
from audio_common.strict_json import read_object

from r1_aqa.bulk.places import folder_of, is_url, local_copies, written
from r1_aqa.config.changes import changes
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.data.anywhere import AnywhereDecoder
from r1_aqa.data.benchmark import Benchmark, load_benchmark
from r1_aqa.data.questions import Question
from r1_aqa.data.shard_questions import copy_questions, holds_questions
from r1_aqa.data.shards import Place, find_places
from r1_aqa.evaluators.asking import ask_here, make_runs
from r1_aqa.evaluators.engines import make_engine
from r1_aqa.evaluators.predictions import Prediction, PredictionFile
from r1_aqa.evaluators.scores import (
    Scores,
    check_columns,
    save_scores,
    say_letters,
    score_outputs,
    show_scores,
)
from r1_aqa.files import to_plain, write_atomically, write_json
from r1_aqa.lock import sole_writer
from r1_aqa.models.run_folder import find_model
from r1_aqa.models.template import PromptTemplate, read_template
from r1_aqa.output import printable

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
    benchmark, places = _load(config)
    check_columns(benchmark.questions, config.by)
    logger.info("%s: %s", benchmark.file, benchmark.version)
    if len(benchmark.questions) < benchmark.num_in_file:
        logger.info("%d of %d questions are asked (--limit)", len(benchmark.questions), benchmark.num_in_file)
    # The model that a run's folder means today is noted, for it may mean another one tomorrow.
    config = replace(config, model=find_model(config.model) if config.model else None)
    template = read_template(config.template)
    settings = require_same_run(config, benchmark, template)
    file = PredictionFile(config.out / "predictions.jsonl")
    runs = make_runs(benchmark.questions, config)
    if config.engine == "ray":
        from r1_aqa.evaluators.by_ray import ask_by_ray

        asked = ask_by_ray(config, settings, benchmark.questions, runs, file, places)
    else:
        engine = make_engine(config, template, benchmark.questions, AnywhereDecoder(decoder, places))
        asked = ask_here(config, engine, benchmark.questions, runs, file)
    file.sort(list(runs))
    scores = summarize(benchmark, runs, file, config)
    scores |= {
        "model": config.model or config.endpoint_model,
        "engine": config.endpoint or engine_of(config),
        "prompt": str(config.template) if config.template else config.prompt,
        "template": template.text if template else None,
        "first_prompt": asked.prompt,
        "heard": asked.heard or "not checked",
    }
    say_letters(scores)
    say_truncated(scores, config)
    outputs = outputs_of(file, "given", len(benchmark.questions))
    save_scores(config.out, scores, benchmark.file, benchmark.questions, outputs)
    if config.card:
        logger.info("card: %s", printable(add_to_card(config, scores)))
    return scores


def _load(config: EvaluateConfig) -> tuple[Benchmark, dict[str, Place]]:
    """Load the questions, and say where those of their sounds are that are in shards.

    Questions of a URL or of shards are kept in the output folder as they were fetched.
    """
    source, url, faults = config.data, None, list[str]()
    places: dict[str, Place] = {}
    if holds_questions(source):
        if config.audio is not None:
            raise ValueError(f"audio {config.audio} goes with a file of questions: shards hold their sounds")
        file = config.out / "questions.jsonl"
        faults, places = copy_questions(source, file)
        source = str(file)
    elif is_url(source):
        url, file = folder_of(source), config.out / f"questions{Path(source).suffix}"
        with local_copies([source]) as (copy,):
            if isinstance(copy, OSError):
                raise FileNotFoundError(str(copy)) from copy
            write_atomically(file, copy.read_bytes())
        source = str(file)
    benchmark = load_benchmark(
        source, config.audio, split=config.split, limit=config.limit, bad_rows=config.bad_rows, url=url
    )
    for fault in faults:
        logger.warning("left out: %s", fault)
    benchmark = replace(benchmark, name=config.data, bad_rows=(*benchmark.bad_rows, *faults))
    asked = [question for question in benchmark.questions if not question.fault]
    names = [written(audio) for question in asked for audio in question.audios]
    return benchmark, places or find_places(names)


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
) -> dict[str, Any]:
    """Write what decides the answers to OUT/config.json, and return it; refuse to go on with other settings.

    Raises:
        ValueError: settings changed; the message names them.
    """
    path = config.out / "config.json"
    now = {name: value for name, value in asdict(config).items() if name in DECISIVE}
    version = hashlib.sha256(template.text.encode()).hexdigest()[:16] if template else None
    now |= {"engine": engine_of(config)}
    now = to_plain(now | {"benchmark": benchmark.version, "template_version": version})
    before = read_object(path) if path.is_file() else now
    if changed := changes(before, now):
        raise ValueError(
            f"{config.out} holds the answers of another run ({'; '.join(changed)}); give another --out, or "
            "the same settings to go on"
        )
    write_json(path, now)
    return now


def engine_of(config: EvaluateConfig) -> str:
    """Return what runs the model: in the workers of Ray it is transformers, too."""
    return "transformers" if config.engine == "ray" else config.engine


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
