"""Score answers: `r1-aqa score`, and the last step of `r1-aqa evaluate`.

Two verdicts stand side by side, and behind them those of other harnesses (`r1_aqa.evaluators.harnesses`).
*Strict*: the answer names the right option and no other, and a question
without answer is wrong. *Official*: the benchmark's own script, word for word. The scripts of MMAU and MMAR
skip questions without prediction, so a model that fails on hard ones scores higher; here they count as wrong,
and `official_denominator` reproduces the scripts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from r1_aqa.config.score import ScoreConfig
from r1_aqa.data.benchmark import read_rows
from r1_aqa.data.dependence import share_above_chance
from r1_aqa.data.layout import find_layout
from r1_aqa.data.options import count_lettered
from r1_aqa.data.questions import Question, column
from r1_aqa.evaluators.agreement import disagreements_of, judge_by_all, score_harnesses
from r1_aqa.evaluators.charts import plot_scores
from r1_aqa.evaluators.instructions import score_instructions
from r1_aqa.evaluators.predictions import read_outputs, write_submission
from r1_aqa.evaluators.report import print_scores
from r1_aqa.evaluators.statistics import interval, mcnemar, wilson_interval
from r1_aqa.files import is_stream, read_bytes, remove_leftovers, to_json, write_bytes, write_json
from r1_aqa.lock import sole_writer
from r1_aqa.rewards.completion import read_answer
from r1_aqa.rewards.matching import match_choice
from r1_aqa.rewards.verdicts import judge

logger = logging.getLogger(__name__)

Scores = dict[str, Any]

FIELDS = ("task", "modality", "difficulty", "category", "sub_category", "dataset")
"""Fields that accuracies are broken down by, where questions have them."""
FEW = 3
"""Disagreements that stand in the scores; all are in disagreements.jsonl."""

NO_DATA_SET = "no data set"


@dataclass(frozen=True)
class Accuracy:
    """Number of right answers to some questions."""

    correct: int
    total: int

    @property
    def share(self) -> float:
        """Return the share of right answers, from 0 to 1; 0 for no question."""
        return self.correct / self.total if self.total else 0.0


def overall(verdicts: Sequence[bool | None], *, count_missing: bool = True) -> Accuracy:
    """Count the right answers; None, no prediction, is wrong or skipped as the official scripts do."""
    counted = [bool(verdict) for verdict in verdicts if verdict is not None or count_missing]
    return Accuracy(sum(counted), len(counted))


def break_down(
    questions: Sequence[Question],
    verdicts: Sequence[bool | None],
    field: str,
    *,
    count_missing: bool = True,
) -> dict[str, Accuracy]:
    """Return accuracies by the values of a field, in order of appearance; others are skipped."""
    groups: dict[str, list[bool | None]] = {}
    for question, verdict in zip(questions, verdicts, strict=True):
        name = _group(question, field)
        if name is not None and (verdict is not None or count_missing):
            groups.setdefault(name, []).append(verdict)
    return {name: overall(group) for name, group in groups.items()}


def first_option(questions: Sequence[Question]) -> Accuracy:
    """Return the accuracy of always the first option: 39.5 % on MMAU test-mini, far above chance."""
    known = [q for q in questions if q.answer is not None and q.choices]
    return Accuracy(sum(q.choices[0] == q.answer for q in known), len(known))


def chance(questions: Sequence[Question]) -> float:
    """Return the expected accuracy of options drawn at random."""
    known = [q for q in questions if q.answer is not None and q.choices]
    return sum(q.choices.count(q.answer or "") / len(q.choices) for q in known) / len(known) if known else 0.0


def audio_dependence(
    questions: Sequence[Question],
    silent: Sequence[bool | None],
    outputs: Sequence[str | None],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Return the share of questions that need their audio: `all`, and by data set where there are several.

    Args:
        questions: as asked.
        silent: verdicts on the answers to silence; None where there is none.
        outputs: these answers: what names no option, and is no answer at all, tells nothing.
        draws: bootstrap draws of an interval.
        seed: seed for bootstrap sampling.

    Returns:
        `value`, `low`, `high` and `count`, see `r1_aqa.data.dependence.share_above_chance`; nothing where
        guesses are always right.
    """
    pairs = [
        (q, v)
        for q, v, output in zip(questions, silent, outputs, strict=True)
        if v is not None and not q.fault and names_an_option(output, q.choices)
    ]
    names = list(dict.fromkeys(q.dataset or NO_DATA_SET for q, _ in pairs))
    groups = {"all": pairs}
    if len(names) > 1:
        groups |= {n: [pair for pair in pairs if (pair[0].dataset or NO_DATA_SET) == n] for n in names}
    found = {}
    for name, group in groups.items():
        asked = [question for question, _ in group]
        guessed = sum(q.choices.count(q.answer or "") / len(q.choices) for q in asked if q.choices)
        if group and guessed < len(group):
            clips = [str(question.audio) for question in asked]
            known = interval([float(verdict) for _, verdict in group], clips, draws=draws, seed=seed)
            found[name] = share_above_chance(asdict(known), guessed / len(group))
    return found


def names_an_option(output: str | None, choices: Sequence[str]) -> bool:
    """Return whether an answer means one of the options; without options, whether there is one."""
    text = read_answer(output or "", needs_block=False)
    return match_choice(text, choices) is not None if choices else bool(text)


def verdicts(
    questions: Sequence[Question], outputs: Sequence[str | None]
) -> tuple[list[bool | None], list[bool | None]]:
    """Return the strict and the official verdicts; None where there is no answer."""
    found = [
        judge(o, q.choices, q.answer or "", written=q.written_answer, alternatives=q.alternatives)
        for q, o in zip(questions, outputs, strict=True)
    ]
    strict = [None if o is None else v.strict for o, v in zip(outputs, found, strict=True)]
    official = [None if o is None else v.official for o, v in zip(outputs, found, strict=True)]
    return strict, official


def score_outputs(
    questions: Sequence[Question],
    outputs: Sequence[str | None],
    *,
    runs: Mapping[str, tuple[Sequence[Question], Sequence[str | None]]] | None = None,
    by: Sequence[str] = (),
    draws: int = 2000,
    seed: int = 0,
) -> Scores:
    """Return accuracies with intervals, broken down; and those of further runs (`shuffle-1`, `silent`).

    Args:
        questions: as asked.
        outputs: raw answers, None where there is none.
        runs: name -> questions (options in another order) and answers.
        by: further columns to break down by.
        draws: bootstrap draws of an interval.
        seed: seed for bootstrap sampling.
    """
    known = list(zip(*_known(questions, outputs), strict=True))
    if not any(question.answer for question, _ in known):
        missing = sum(output is None for output in outputs)
        return {"num_questions": len(questions), "num_missing": missing, "hidden": True}
    asked, answers = [q for q, _ in known], [o for _, o in known]

    clips = clusters_of(asked)

    def accuracy(values: Sequence[bool | float | None]) -> Scores:
        # Questions about one clip are drawn together; without answer is wrong.
        return asdict(interval([float(value or 0) for value in values], clips, draws=draws, seed=seed))

    strict, official = verdicts(asked, answers)
    tables_by = {field: _by(asked, strict, official, field) for field in (*FIELDS, *by)}
    judged = judge_by_all(asked, answers)
    differing = disagreements_of(asked, answers, judged)
    scores: Scores = {
        "num_questions": len(asked),
        "num_missing": sum(answer is None for answer in answers),
        "num_not_scored": len(questions) - len(asked),
        "strict": accuracy(strict),
        "official": accuracy(official),
        "official_denominator": asdict(overall(official, count_missing=False)),
        "harnesses": score_harnesses(judged, clips, draws=draws, seed=seed),
        "num_disagreements": len(differing),
        "disagreements": differing[:FEW],
        "by": {field: found for field, found in tables_by.items() if found},
        "first_option": first_option(asked).share,
        "chance": chance(asked),
    }
    tables = {name: verdicts(*_known(*run))[0] for name, run in (runs or {}).items()}
    if lettered := count_lettered(asked):
        scores["letters_taken_off"] = lettered
    if instructions := score_instructions(questions, outputs):
        scores["instructions"] = instructions
    if count := sum("reference" in q.extra and q.answer is None for q in questions):
        scores["num_to_judge"] = count
    if tables:
        scores["runs"] = {name: accuracy(table) for name, table in tables.items()}
    if "silent" in tables:
        scores["needs_sound"] = _mcnemar(strict, tables["silent"])
        told = _known(*(runs or {})["silent"])[1]
        scores["audio_dependence"] = audio_dependence(asked, tables["silent"], told, draws=draws, seed=seed)
    orders = [table for name, table in tables.items() if name.startswith("shuffle")]
    if orders:
        # How often each question is right in all orders of its options.
        columns = list(zip(strict, *orders, strict=True))
        means = [sum(map(bool, column)) / len(column) for column in columns]
        always = Accuracy(sum(all(column) for column in columns), len(columns)).share
        scores["shuffled"] = {"mean": accuracy(means), "always": always, "orders": 1 + len(orders)}
    return scores


def clusters_of(questions: Sequence[Question]) -> list[str]:
    """Return what the questions are clustered by: the recording, where a column names it, or the sound."""
    return [str(question.extra.get("recording") or question.audio) for question in questions]


def compare(
    questions: Sequence[Question], first: Sequence[str | None], second: Sequence[str | None]
) -> Scores:
    """Return McNemar's test of two models on the same questions, by the strict verdict."""
    a, b = (verdicts(*_known(questions, outputs))[0] for outputs in (first, second))
    return _mcnemar(a, b) | {"first": overall(a).share, "second": overall(b).share}


def _known(
    questions: Sequence[Question], outputs: Sequence[str | None]
) -> tuple[list[Question], list[str | None]]:
    """Return the questions that count, and their outputs: those with a known answer, and bad rows."""
    pairs = [
        (q, None if q.fault else o)
        for q, o in zip(questions, outputs, strict=True)
        if q.answer is not None or q.fault
    ]
    return [q for q, _ in pairs], [o for _, o in pairs]


def _by(
    questions: Sequence[Question], strict: Sequence[bool | None], official: Sequence[bool | None], field: str
) -> dict[str, dict[str, Any]]:
    exact, scripts = break_down(questions, strict, field), break_down(questions, official, field)
    members: dict[str, list[int]] = {}
    for row, question in enumerate(questions):
        if (name := _group(question, field)) is not None:
            members.setdefault(name, []).append(row)
    clips, found = clusters_of(questions), {}
    for name, group in exact.items():
        rows = members[name]
        # Groups are small: a bootstrap of a handful of clips would be too short.
        span = wilson_interval([bool(strict[row]) for row in rows], [clips[row] for row in rows])
        found[name] = {
            "strict": group.share,
            "official": scripts[name].share,
            "total": group.total,
            "low": span.low,
            "high": span.high,
            "chance": chance([questions[row] for row in rows]),
        }
    return found


def _group(question: Question, field: str) -> str | None:
    value = column(question, field)
    # Columns of one's own may be numbers or lists.
    return value if isinstance(value, str | None) else to_json(value).decode()


def _mcnemar(first: Sequence[bool | None], second: Sequence[bool | None]) -> Scores:
    return asdict(mcnemar([bool(verdict) for verdict in first], [bool(verdict) for verdict in second]))


# -- the verb -------------------------------------------------------------------------------------------


def score_verb(config: ScoreConfig) -> int:
    """Score, and return 1 if there were rows that cannot be used, as `evaluate` does."""
    scores = score(config)
    return 1 if scores["bad_rows"] or scores["bad_answers"] else 0


def score(config: ScoreConfig) -> Scores:
    """Score a file of answers and print a table.

    Raises:
        ValueError: the file's answers are not to these questions.
        BusyError: another process writes into `out`.
    """
    layout = find_layout(str(config.data), with_sounds=False)
    rows = read_rows(layout.questions, bad_rows=config.bad_rows, commit=layout.commit)
    questions = rows.questions
    check_columns(questions, config.by)
    bad_answers: list[str] = []
    outputs = read_outputs(config.predictions, questions, faults=bad_answers)
    scores = score_outputs(questions, outputs, by=config.by, draws=config.bootstrap, seed=config.seed)
    scores["benchmark"], scores["version"] = str(config.data), rows.version
    scores["bad_rows"] = rows.bad_rows
    say_letters(scores)
    if config.versus:
        others = read_outputs(config.versus, questions, faults=bad_answers)
        scores["versus"] = compare(questions, outputs, others) | {"predictions": str(config.versus)}
    scores["bad_answers"] = bad_answers
    with sole_writer(config.out, folder=True) if config.out else nullcontext():
        if config.out:
            remove_leftovers(config.out)
            save_scores(config.out, scores, layout.questions, questions, outputs)
        show_scores(scores, config.json)
    return scores


def check_columns(questions: Sequence[Question], by: Sequence[str]) -> None:
    """Raise for a column that no question has; the message names those that there are."""
    for name in by:
        if all(column(question, name) is None for question in questions):
            there = sorted({key for question in questions for key in question.extra})
            raise ValueError(
                f"by: no question has the column {name!r}; further columns: {', '.join(there) or 'none'}"
            )


def say_letters(scores: Scores) -> None:
    """Say that options were compared without their letters, where they have some."""
    if count := scores.get("letters_taken_off"):
        logger.info(
            "the options of %d questions have letters, as in (A) Man: the strict verdict takes them off",
            count,
        )


def save_scores(
    out: Path, scores: Scores, benchmark: Path, questions: Sequence[Question], outputs: Sequence[str | None]
) -> None:
    """Write scores.json, scores.png, disagreements.jsonl, and for MMAU submission.json."""
    write_json(out / "scores.json", scores)
    if "strict" in scores:
        plot_scores(scores, out / "scores.png")
        known = _known(questions, outputs)
        found = disagreements_of(*known, judge_by_all(*known))
        write_bytes(out / "disagreements.jsonl", b"".join(to_json(row) + b"\n" for row in found))
    if "audio_id" in read_bytes(benchmark)[:2000].decode(errors="replace"):
        write_submission(out / "submission.json", benchmark, questions, outputs)


def show_scores(scores: Scores, path: Path | None) -> None:
    """Print scores as a table, or as JSON alone for `-`; write them to any other file beside the table."""
    if path is not None:
        write_json(path, scores)
    if not is_stream(path):
        print_scores(scores)
