"""Judge the same answers by every harness's rule: accuracies side by side, and the answers they differ on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from r1_aqa.data.questions import Question
from r1_aqa.evaluators.harnesses import HARNESSES, Harness
from r1_aqa.evaluators.statistics import interval


@dataclass(frozen=True)
class Judgement:
    """Verdict of a harness on the answer to a question.

    Attributes:
        value: 1 right, 0 wrong, between them the expected value of a draw; None: the harness leaves it out.
        is_read: whether its rule could read the answer.
        num_right: for how many options (differing texts) the answer would count.
    """

    value: float | None
    is_read: bool = False
    num_right: int = 0


def judge_by(harness: Harness, question: Question, output: str | None) -> Judgement:
    """Return a harness's verdict; the question has a known answer, or is a row that cannot be used."""
    choices, right = question.choices, question.answer
    if output is None or right is None:
        return Judgement(None if harness.skips_missing and not question.fault else 0.0)
    if not choices and harness.needs_options:
        return Judgement(None)
    if not choices:
        # Any annotator's answer is right.
        reading = harness.rule(output, choices, [right, *question.alternatives])
        return Judgement(max(reading.right), reading.is_read, 1)
    index, answers = choices.index(right), list(choices)
    answers[index] = question.written_answer or right
    reading = harness.rule(output, choices, answers)
    texts = {answer for answer, share in zip(answers, reading.right, strict=True) if share}
    return Judgement(reading.right[index], reading.is_read, len(texts))


def disagreements_of(
    questions: Sequence[Question],
    outputs: Sequence[str | None],
    judgements: Mapping[str, Sequence[Judgement]],
) -> list[dict[str, Any]]:
    """Return the questions on which harnesses differ: what was said, and each one's verdict.

    Args:
        questions: as asked.
        outputs: raw answers.
        judgements: by harness, one for each question.
    """
    found = []
    for row, (question, output) in enumerate(zip(questions, outputs, strict=True)):
        values = {name: judged[row].value for name, judged in judgements.items()}
        # What no rule can read is right by none; lmms-eval's draws are no disagreement.
        is_read = any(judged[row].is_read for judged in judgements.values())
        if output is not None and is_read and len({v for v in values.values() if v is not None}) > 1:
            found.append(
                {
                    "id": question.id,
                    "question": question.question,
                    "choices": list(question.choices),
                    "answer": question.answer,
                    "output": output,
                    "verdicts": values,
                    "unread_by": [name for name, judged in judgements.items() if not judged[row].is_read],
                }
            )
    return found


def judge_by_all(questions: Sequence[Question], outputs: Sequence[str | None]) -> dict[str, list[Judgement]]:
    """Return every harness's verdict on every answer; a row that cannot be used has none."""
    return {
        name: [judge_by(harness, q, None if q.fault else o) for q, o in zip(questions, outputs, strict=True)]
        for name, harness in HARNESSES.items()
    }


def score_harnesses(
    judgements: Mapping[str, Sequence[Judgement]],
    clusters: Sequence[str],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return each harness's accuracy over what it counts, and the shares that its rule could not read.

    Args:
        judgements: by harness, one for each question.
        clusters: the clip or recording of each question.
        draws: bootstrap draws of an interval.
        seed: seed for bootstrap sampling.
    """
    scores = {}
    for name, judged in judgements.items():
        counted = [row for row, judgement in enumerate(judged) if judgement.value is not None]
        found: dict[str, Any] = {"title": HARNESSES[name].title, "denominator": len(counted)}
        if counted:
            values = [judged[row].value or 0.0 for row in counted]
            found |= asdict(interval(values, [clusters[row] for row in counted], draws=draws, seed=seed))
            found["unreadable"] = sum(not judged[row].is_read for row in counted) / len(counted)
            # An answer that would be right whichever of two options was.
            several = [judged[row].is_read and judged[row].num_right > 1 for row in counted]
            found["several"] = sum(several) / len(counted)
        scores[name] = found
    return scores
