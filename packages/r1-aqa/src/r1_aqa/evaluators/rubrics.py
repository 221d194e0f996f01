"""MMAR-Rubrics: a judge grades how a right answer was reasoned (arXiv:2602.14224, Interspeech 2026).

The benchmark's `MMAR-meta.jsonl` (of its GitHub repository; the hub's JSON lacks it) gives each question a
rubric: a few criteria with the grades that each may get, and an ideal reasoning. As its script does:

- a wrong answer, by the official rule, scores 0 and is not shown to the judge;
- of a right one the judge reads question, answer, ideal reasoning, rubric and the model's reasoning, and
  grades every criterion; the score is the sum of the grades over the largest possible sum;
- five raters do so, and the mean of the middle three counts;
- an answer for which a rater's reply cannot be had, or not be read, is in no mean.

The judge of the published numbers is gpt-4o-2024-11-20 at temperature 0. Its prompt is worded anew here, so
scores stand beside published ones with that reservation. A judge is a function of a system and a user text
that returns its reply: any endpoint's.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from audio_common.strict_json import JSONError, parse_json, read_records

from r1_aqa.data.questions import Question
from r1_aqa.files import append_line, to_json
from r1_aqa.lock import sole_writer
from r1_aqa.output import Progress
from r1_aqa.rewards.verdicts import judge as judge_answer
from r1_aqa.rewards.verdicts import official_text

logger = logging.getLogger(__name__)

Judge = Callable[[str, str], str]
"""Takes a system text and a user text, and returns the reply; may raise `OSError` or `ValueError`."""

RATERS = 5
TRIES = 3
"""Replies that are asked of a rater until one can be read."""
FIELDS = ("modality", "category", "sub_category")
SYSTEM = (
    "You grade how an answer to a question about a recording was reasoned. You cannot hear the recording: "
    "trust the reference. Grade by the rubric alone, and reply with JSON alone."
)


class GradeError(ValueError):
    """A judge's reply that is no set of grades; the message says why."""


@dataclass(frozen=True)
class Criterion:
    """One thing that a rubric asks of the reasoning."""

    name: str
    rule: str
    """What earns which grade."""
    grades: tuple[float, ...]
    """The grades that may be given."""


@dataclass(frozen=True)
class Graded:
    """How an answer's reasoning was graded."""

    row: int
    """Number of the question in its file, from 0."""
    id: str
    output: str
    """Hash of the output that was graded: a grade of another one does not count."""
    is_right: bool
    score: float | None
    """From 0 to 1; None where no judge's reply could be read."""
    raters: tuple[float, ...] = ()
    """Each rater's score."""
    error: str | None = None


def digest_of(output: str | None) -> str:
    """Return a short hash of an output, of none that of an empty one."""
    return hashlib.sha256((output or "").encode(errors="surrogatepass")).hexdigest()[:16]


def criteria_of(question: Question) -> tuple[Criterion, ...]:
    """Return a question's rubric.

    Raises:
        ValueError: it has none, or one that cannot be used.
    """
    rubric = question.extra.get("rubric")
    if not isinstance(rubric, list) or not rubric:
        raise ValueError(
            f"question {question.id} has no rubric; MMAR-meta.jsonl of the benchmark's repository has them, "
            "the hub's MMAR-meta.json has not"
        )
    try:
        found = [
            Criterion(str(one["name"]), str(one["scoring_point"]), tuple(map(float, one["choices"])))
            for one in rubric
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"question {question.id}: a rubric that cannot be read ({error})") from error
    if not all(criterion.grades for criterion in found):
        raise ValueError(f"question {question.id}: a criterion without grades")
    return tuple(found)


def split_output(output: str) -> tuple[str, str]:
    """Return the thinking of an output, or without a block of it what precedes the answer, and the answer.

    >>> split_output("<think>It barks.</think><answer>dog</answer>")
    ('It barks.', 'dog')
    """
    thinking = re.findall(r"<think>(.*?)</think>", output, re.S)
    answer = official_text(re.sub(r"<think>.*?</think>", "", output, flags=re.S))
    before = output.partition("<answer>")[0] if "<answer>" in output else ""
    return (" ".join(thinking) if thinking else before).strip(), answer


def write_prompt(question: Question, thinking: str, answer: str) -> str:
    """Return what a rater is asked: reference, rubric, form of the reply, and the reasoning to grade."""
    criteria = criteria_of(question)
    asked = [{"name": one.name, "rule": one.rule, "possible grades": one.grades} for one in criteria]
    form = [{"name": one.name, "score": "a possible grade", "why": "a few words"} for one in criteria]
    parts = {
        "Question": question.question,
        "Right answer": question.answer or "",
        "A good reasoning, as a reference": str(question.extra.get("thinking") or "none is given"),
        "Rubric": to_json(asked, indent=1).decode(),
        "Reply with this JSON list, an entry for each criterion in this order": to_json(
            form, indent=1
        ).decode(),
        "Reasoning to grade": f"{thinking}\nIts answer: {answer}",
    }
    return "\n\n".join(f"# {title}\n{text}" for title, text in parts.items())


def read_grades(reply: str, criteria: Sequence[Criterion]) -> float:
    """Return the sum of a reply's grades over the largest possible sum, from 0 to 1.

    Raises:
        GradeError: it is no JSON list with an allowed grade for every criterion.
    """
    found = re.search(r"\[\s*\{.*\}\s*\]", reply, re.S)
    try:
        grades = parse_json(found[0] if found else reply, "the judge's reply")
    except JSONError as error:
        raise GradeError(str(error)) from error
    if not isinstance(grades, list) or len(grades) != len(criteria):
        raise GradeError(f"expected a list of {len(criteria)} grades, got {reply[:80]!r}")
    total = 0.0
    for grade, criterion in zip(grades, criteria, strict=True):
        score = grade.get("score") if isinstance(grade, dict) else None
        if isinstance(score, bool) or not isinstance(score, int | float) or score not in criterion.grades:
            raise GradeError(f"{criterion.name}: expected one of {criterion.grades}, got {score!r}")
        total += score
    most = sum(max(criterion.grades) for criterion in criteria)
    return total / most if most else 0.0


def trimmed_mean(scores: Sequence[float]) -> float:
    """Return the mean without the smallest and the largest; of one or two all of it.

    >>> trimmed_mean([0.0, 0.5, 0.5, 0.8, 1.0])
    0.6
    """
    kept = sorted(scores)[1:-1] if len(scores) >= 3 else scores
    return fmean(kept)


def grade(row: int, question: Question, output: str | None, judge: Judge, *, raters: int = RATERS) -> Graded:
    """Grade one output; a judge that fails, or writes nothing that can be read, makes the score None."""
    digest = digest_of(output)
    right = bool(question.answer) and judge_answer(output, question.choices, question.answer or "").official
    if not right or output is None:
        return Graded(row, question.id, digest, is_right=False, score=0.0)
    try:
        criteria = criteria_of(question)
        prompt = write_prompt(question, *split_output(output))
        scores = tuple(_ask(prompt, criteria, judge) for _ in range(raters))
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        return Graded(row, question.id, digest, is_right=True, score=None, error=why)
    return Graded(row, question.id, digest, is_right=True, score=trimmed_mean(scores), raters=scores)


def grade_all(
    questions: Sequence[Question],
    outputs: Sequence[str | None],
    judge: Judge,
    file: Path,
    *,
    raters: int = RATERS,
) -> dict[str, Any]:
    """Grade all outputs, keep each grade in a file as it comes, and return the means; the same call resumes.

    Args:
        questions: with rubrics.
        outputs: raw, in the questions' order; None where there is none.
        judge: asked `raters` times for each right answer.
        file: JSON Lines, one `Graded` each; what could not be graded before is asked again.
        raters: the middle ones of whose scores count.

    Returns:
        `score` and `accuracy` (of those that could be graded), `total`, `num_not_graded`, and `by`.
    """
    with sole_writer(file):
        before = [_from_row(row) for row in read_records(file)] if file.is_file() else []
        digests = dict(enumerate(map(digest_of, outputs)))
        is_valid = [found.score is not None and digests.get(found.row) == found.output for found in before]
        done = {found.row: found for found, valid in zip(before, is_valid, strict=True) if valid}
        waiting = [row for row in range(len(questions)) if row not in done]
        with Progress("Grading", len(questions), start=len(done)) as progress:
            for row in waiting:
                done[row] = grade(row, questions[row], outputs[row], judge, raters=raters)
                append_line(file, asdict(done[row]))
                progress.advance()
    failed = [found for found in done.values() if found.score is None]
    if failed:
        logger.warning(
            "%d of %d answers could not be graded and are in no mean; asked again next time (the first: %s)",
            len(failed),
            len(questions),
            failed[0].error,
        )
    return summarize(questions, [done[row] for row in range(len(questions))])


def summarize(questions: Sequence[Question], graded: Sequence[Graded]) -> dict[str, Any]:
    """Return mean scores and accuracies of what could be graded, over all and by the questions' groups."""
    groups: dict[str, dict[str, Any]] = {}
    for field in FIELDS:
        names = dict.fromkeys(getattr(question, field) for question in questions)
        groups[field] = {
            name: _means([g for q, g in zip(questions, graded, strict=True) if getattr(q, field) == name])
            for name in names
            if name is not None
        }
    by = {field: found for field, found in groups.items() if found}
    return _means(graded) | {"num_not_graded": sum(one.score is None for one in graded), "by": by}


def _means(graded: Sequence[Graded]) -> dict[str, Any]:
    known = [(one.score, one.is_right) for one in graded if one.score is not None]
    if not known:
        return {"score": None, "accuracy": None, "total": 0}
    scores, right = zip(*known, strict=True)
    return {"score": fmean(scores), "accuracy": fmean(right), "total": len(known)}


def _ask(prompt: str, criteria: Sequence[Criterion], judge: Judge) -> float:
    for left in reversed(range(TRIES)):
        try:
            return read_grades(judge(SYSTEM, prompt), criteria)
        except GradeError:
            if not left:
                raise
    raise AssertionError("a try returns or raises")


def _from_row(row: dict[str, Any]) -> Graded:
    try:
        return Graded(**row | {"raters": tuple(row["raters"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"no grade as it is written here ({error}); give another file") from error
