"""Scores of answers: `r1-aqa score`, and what `r1-aqa evaluate` ends with.

Two verdicts stand side by side. *Strict*: the answer names the right option and no other, and a question
without answer is wrong. *Official*: the benchmark's own script, word for word, which passes over questions
without answer (`official_denominator`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from r1_aqa.config.score import ScoreConfig
from r1_aqa.data.benchmark import identify
from r1_aqa.data.questions import Question, read_questions
from r1_aqa.evaluators.aggregates import FIELDS, Accuracy, break_down, chance, first_option, overall
from r1_aqa.evaluators.predictions import read_outputs, write_submission
from r1_aqa.evaluators.statistics import bootstrap, mcnemar
from r1_aqa.rewards.verdicts import judge

Scores = dict[str, Any]


def score(config: ScoreConfig) -> Scores:
    """Score a file of answers and print a table."""
    from r1_aqa.evaluators.report import print_scores

    questions = read_questions(config.questions)
    outputs = read_outputs(config.predictions, questions)
    scores = score_outputs(questions, outputs, seed=config.seed)
    scores["benchmark"], scores["version"] = str(config.questions), identify(config.questions)
    if config.versus:
        others = read_outputs(config.versus, questions)
        scores["versus"] = compare(questions, outputs, others) | {"predictions": str(config.versus)}
    print_scores(scores)
    if config.out:
        save_scores(config.out, scores, config.questions, outputs)
    return scores


def score_outputs(
    questions: Sequence[Question],
    outputs: Sequence[str | None],
    *,
    runs: Mapping[str, tuple[Sequence[Question], Sequence[str | None]]] | None = None,
    seed: int = 0,
) -> Scores:
    """Accuracies with intervals, broken down; and of further runs (`shuffle-1`, `silent`).

    Args:
        questions: as asked.
        outputs: raw answers, None where there is none.
        runs: name -> questions (options in another order) and answers.
        seed: of the draws.

    Raises:
        ValueError: no question has a known answer.
    """
    known = [(q, o) for q, o in zip(questions, outputs, strict=True) if q.answer is not None]
    if not known:
        return {
            "num_questions": len(questions),
            "num_missing": sum(o is None for o in outputs),
            "hidden": True,
        }
    asked, answers = [q for q, _ in known], [o for _, o in known]
    strict, official = verdicts(asked, answers)
    scores: Scores = {
        "num_questions": len(asked),
        "num_missing": sum(each is None for each in answers),
        "strict": asdict(bootstrap([bool(each) for each in strict], _clips(asked), seed=seed)),
        "official": asdict(bootstrap([bool(each) for each in official], _clips(asked), seed=seed)),
        "official_denominator": asdict(overall(official, count_missing=False)),
        "by": {field: _by(asked, strict, official, field) for field in FIELDS},
        "first_option": first_option(asked).share,
        "chance": chance(asked),
    }
    scores["by"] = {field: found for field, found in scores["by"].items() if found}
    for name, (again, found) in (runs or {}).items():
        values = [bool(v) for v in verdicts(again, found)[0]]
        scores.setdefault("runs", {})[name] = asdict(bootstrap(values, _clips(again), seed=seed))
        if name == "silent":
            scores["needs_sound"] = _mcnemar([bool(v) for v in strict], values)
    shuffled = [each for name, each in (runs or {}).items() if name.startswith("shuffle")]
    if shuffled:
        scores["shuffled"] = _shuffled(asked, strict, shuffled, seed)
    return scores


def verdicts(
    questions: Sequence[Question], outputs: Sequence[str | None]
) -> tuple[list[bool | None], list[bool | None]]:
    """Strict and official verdicts; None where there is no answer."""
    found = [judge(o, q.choices, q.answer or "") for q, o in zip(questions, outputs, strict=True)]
    strict = [None if o is None else v.strict for o, v in zip(outputs, found, strict=True)]
    official = [None if o is None else v.official for o, v in zip(outputs, found, strict=True)]
    return strict, official


def compare(
    questions: Sequence[Question], first: Sequence[str | None], second: Sequence[str | None]
) -> Scores:
    """McNemar's test of two models on the same questions, by the strict verdict."""
    asked = [(q, a, b) for q, a, b in zip(questions, first, second, strict=True) if q.answer is not None]
    a = [bool(v) for v in verdicts([q for q, _, _ in asked], [x for _, x, _ in asked])[0]]
    b = [bool(v) for v in verdicts([q for q, _, _ in asked], [x for _, _, x in asked])[0]]
    return _mcnemar(a, b) | {"first": sum(a) / len(a), "second": sum(b) / len(b)}


def save_scores(out: Path, scores: Scores, benchmark: Path, outputs: Sequence[str | None]) -> None:
    """scores.json, scores.png, and for MMAU submission.json."""
    from r1_aqa.evaluators.plot import plot_scores

    out.mkdir(parents=True, exist_ok=True)
    (out / "scores.json").write_text(json.dumps(scores, indent=2, ensure_ascii=False), encoding="utf-8")
    if "strict" in scores:
        plot_scores(scores, out / "scores.png")
    if "audio_id" in benchmark.read_text(encoding="utf-8")[:2000]:
        write_submission(out / "submission.json", benchmark, outputs)


def _by(
    questions: Sequence[Question], strict: Sequence[bool | None], official: Sequence[bool | None], field: str
) -> dict[str, dict[str, Any]]:
    exact, scripts = break_down(questions, strict, field), break_down(questions, official, field)
    return {
        name: {"strict": each.share, "official": scripts[name].share, "total": each.total}
        for name, each in exact.items()
    }


def _shuffled(
    questions: Sequence[Question],
    given: Sequence[bool | None],
    runs: Sequence[tuple[Sequence[Question], Sequence[str | None]]],
    seed: int,
) -> Scores:
    """Mean over all orders of the options, and the share that is right in every one of them."""
    table = [[bool(v) for v in given], *([bool(v) for v in verdicts(q, o)[0]] for q, o in runs)]
    means = [sum(column) / len(table) for column in zip(*table, strict=True)]
    return {
        "mean": asdict(bootstrap(means, _clips(questions), seed=seed)),
        "always": Accuracy(sum(all(column) for column in zip(*table, strict=True)), len(means)).share,
        "orders": len(table),
    }


def _mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Scores:
    return asdict(mcnemar(first, second))


def _clips(questions: Sequence[Question]) -> list[str]:
    return [str(question.audio) for question in questions]
