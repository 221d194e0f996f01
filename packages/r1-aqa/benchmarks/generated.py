"""What generated questions ask of a listener: shares that are answered without hearing, and without order.

    python packages/r1-aqa/benchmarks/generated.py data/generated.jsonl data/generated.test.jsonl

The first file is of training questions, the second is described. Three answerers that hear less and less:

    presence    knows which sounds are there, but not when, how loud or how long; guesses among what is left
    text        knows the first file's answers by heart, hears nothing (r1_aqa.data.text_probe)
    first       always takes the first option
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from r1_aqa.data.plan import NUMBERS
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.data.text_probe import text_only_accuracy


def by_presence(question: Question) -> float:
    """Return the chance to be right of who knows which sounds are there, and nothing else of them."""
    heard = {event["text"] for event in question.extra["timestamps"]}
    if question.sub_category == "absent":
        return 1.0
    left = [choice for choice in question.choices if choice in heard] or list(question.choices)
    return (question.answer in left) / len(left)


def table(questions: Sequence[Question], rate: Callable[[Sequence[Question]], float]) -> dict[str, float]:
    """Return the rate of all questions, and of each difficulty."""
    groups = {"all": list(questions)}
    for question in questions:
        groups.setdefault(str(question.difficulty), []).append(question)
    return {name: rate(found) for name, found in groups.items()}


def main() -> None:
    """Print a line for each answerer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("known", type=Path)
    parser.add_argument("asked", type=Path)
    args = parser.parse_args()
    known, asked = read_questions(args.known), read_questions(args.asked)
    rates: dict[str, Callable[[Sequence[Question]], float]] = {
        "presence": lambda found: float(np.mean([by_presence(question) for question in found])),
        "text": lambda found: text_only_accuracy(known, found),
        "first": lambda found: float(np.mean([q.answer == q.choices[0] for q in found])),
        "a guess": lambda found: float(np.mean([1 / len(q.choices) for q in found])),
    }
    for name, rate in rates.items():
        # Options that are numbers are no sounds.
        about_sounds = [q for q in asked if q.sub_category not in NUMBERS or name != "presence"]
        found = table(about_sounds, rate)
        print(
            f"{name:10}", "  ".join(f"{level} {100 * value:.1f}%" for level, value in sorted(found.items()))
        )


if __name__ == "__main__":
    main()
