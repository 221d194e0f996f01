"""Show what each harness's rule makes of one and the same answer in the styles in which models write it.

    python packages/r1-aqa/benchmarks/answer_styles.py

The 800 questions are those of `tests/golden/verdicts.jsonl` (invented, with the shapes of MMAU's and MMAR's
options). First every answer is the right option, then every one a wrong one, in each style: a rule that read
all would show 100 % and 0 %. Then the 800 predictions of the file itself under every rule; last, what each
rule makes of the forms of `tests/rewards/answer_forms.jsonl`.
"""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from r1_aqa.data.questions import Question
from r1_aqa.evaluators.agreement import judge_by, judge_by_all, score_harnesses
from r1_aqa.evaluators.harnesses import HARNESSES
from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).parent.parent / "tests"
GOLDEN, FORMS = TESTS / "golden" / "verdicts.jsonl", TESTS / "rewards" / "answer_forms.jsonl"
STYLES = {
    "text": "{text}",
    "text in an answer block": "<answer>{text}</answer>",
    "thinking of all options, then a block": "<think>{all}?</think><answer>{text}</answer>",
    "letter": "{letter}",
    "letter in an answer block": "<answer>{letter}</answer>",
    "(B) text": "({letter}) {text}",
    "B. text": "{letter}. {text}",
    "B. text, explained": "{letter}. {text}\n\nThis fits best what is heard.",
    "The answer is (B).": "The answer is ({letter}).",
    "The answer is text.": "The answer is {text}.",
    "\\boxed{{B}}": "\\boxed{{{letter}}}",
    "['text']": "['{text}']",
    "(B) text<|im_end|>": "({letter}) {text}<|im_end|>",
}


def read_golden() -> tuple[list[Question], list[str | None]]:
    """Return the questions and the predictions of the golden file."""
    rows = read_lines(GOLDEN)
    return [ask(number, row) for number, row in enumerate(rows)], [row["prediction"] for row in rows]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file of ours."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def ask(number: int, row: dict[str, Any]) -> Question:
    """Return the question of a row; each is about a sound of its own."""
    sound = Path(f"{number}.wav")
    return Question(
        id=str(number), audio=sound, question="?", choices=tuple(row["choices"]), answer=row["answer"]
    )


def forms() -> Table:
    """Return a table of how many right forms each rule counts as wrong, and how many wrong ones as right."""
    table = Table(title="forms of answers")
    rows = [row for row in read_lines(FORMS) if row["choices"]]
    for name in ("rule", "right ones that count as wrong", "wrong ones that count as right"):
        table.add_column(name)
    for name, harness in HARNESSES.items():
        missed, taken = list[float](), list[float]()
        for number, row in enumerate(rows):
            value = judge_by(harness, ask(number, row), row["completion"]).value or 0.0
            (missed if row["right"] else taken).append(1 - value if row["right"] else value)
        shown = (f"{sum(found) / len(found):.1%} of {len(found)}" for found in (missed, taken))
        table.add_row(name, *shown)
    return table


def write(style: str, question: Question, step: int) -> str:
    """Return an answer in a style: the right option, or the one `step` places behind it."""
    index = (question.choices.index(question.answer or "") + step) % len(question.choices)
    letter, text = ascii_uppercase[index], question.choices[index]
    return style.format(letter=letter, text=text, all=", ".join(question.choices))


def shares(questions: list[Question], step: int) -> Table:
    """Return a table of the share of answers that each rule counts as right, by style."""
    table = Table(title="right answers" if not step else "wrong answers")
    for name in ("", *HARNESSES):
        table.add_column(name, justify="right" if name else "left")
    for name, style in STYLES.items():
        answers = [write(style, question, step) for question in questions]
        found = score_harnesses(judge_by_all(questions, answers), [q.id for q in questions], draws=2)
        table.add_row(name, *(f"{100 * found[rule]['value']:.1f}" for rule in HARNESSES))
    return table


def main() -> None:
    """Print the tables."""
    screen = Console(width=160)
    questions, predictions = read_golden()
    # Doubled options have no wrong answer that every rule could tell from the right one.
    differing = [q for q in questions if len({choice.casefold() for choice in q.choices}) == len(q.choices)]
    screen.print(f"{len(questions)} questions, {len(differing)} of them without doubled options")
    for step in (0, 1):
        screen.print(shares(differing, step))
    table = Table(title="the file's own predictions")
    for name in ("rule", "accuracy", "interval", "unread", "several", "of"):
        table.add_column(name)
    found = score_harnesses(judge_by_all(questions, predictions), [q.id for q in questions])
    for name, rule in found.items():
        span = f"{rule['low']:.1%} to {rule['high']:.1%}"
        shown = (f"{rule['value']:.1%}", span, f"{rule['unreadable']:.1%}", f"{rule['several']:.1%}")
        table.add_row(name, *shown, str(rule["denominator"]))
    screen.print(table)
    screen.print(forms())


if __name__ == "__main__":
    main()
