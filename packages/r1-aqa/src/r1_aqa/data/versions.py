"""Tell which version of a benchmark's questions a file has.

MMAU's file has changed 17 times; 364 of the 1,000 questions of test-mini differ between its first version, on
which the paper reports, and today's. Scores on two versions cannot be compared, so the version stands beside
every score.

A *fingerprint* is of the questions, not of the file's bytes: the same questions have the same one as JSON,
JSONL or Parquet, in any order, with letters before the options or without. An edit of one option changes it.

    >>> from pathlib import Path
    >>> shown = Question(id="1", audio=Path("a.wav"), question="Who?", choices=("(A) Man", "(B) Woman"))
    >>> plain = Question(id="1", audio=Path("b.flac"), question="Who?  ", choices=("Man", "Woman"))
    >>> other = Question(id="1", audio=Path("b.flac"), question="Who?", choices=("Man", "Women"))
    >>> fingerprint([shown]) == fingerprint([plain]), fingerprint([shown]) == fingerprint([other])
    (True, False)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from audio_common.strict_json import read_object

from r1_aqa.data.options import take_letters_off
from r1_aqa.data.questions import Question
from r1_aqa.files import to_json

TABLE = Path(__file__).with_name("versions.json")
"""Names by fingerprint; `benchmarks/mmau_versions.py` makes it from a clone of the benchmark's repository."""

FILES = {
    "850c2794664d53c1": "MMAU test-mini of 2024-12-09",
    "ed2fd6b6c24ebec1": "MMAU test-mini of 2025-01-28 (the paper's time)",
    "e8cc09223b497191": "MMAU test-mini of 2025-03-25 (the paper's time)",
    "d35ec10bc3097fc6": "MMAU test-mini of 2025-05-15 (v05.15.25)",
    "157f1968a686c9e7": "MMAU test-mini of 2025-05-22 (v05.15.25, edited)",
    "9f18fda99f8dbc2b": "MMAU test-mini of 2025-08-09 (v05.15.25, edited)",
}
"""Names by the beginning of a published file's SHA-256, for versions whose questions we could not read."""

COMMITS = {
    "ccd9696c0111ea7060827598f310558df0b71b0a": "MMAU test-mini of the hub, 2025-08-19 (v05.15.25)",
    "8e835a9f64ed6c703b3c9ddb6d423d9ab697061e": "MMAU test of the hub (v05.15.25)",
}
"""Names by the commit of a data set on the hub."""

DIGITS = 16
"""Hexadecimal digits of a fingerprint: enough for two of all versions ever not to agree by chance."""


def fingerprint(questions: Sequence[Question]) -> str:
    """Return a hash of ids, questions, options and answers, whatever their order in the file."""
    rows = sorted(to_json(_content(question)) for question in questions)
    return hashlib.sha256(b"\n".join(rows)).hexdigest()[:DIGITS]


def describe_version(questions: Sequence[Question], content: bytes = b"", commit: str | None = None) -> str:
    """Return a version's name if it has one, and the fingerprint of its questions in any case.

    Args:
        questions: all of the file, those that cannot be used included.
        content: the file's bytes.
        commit: that of the data set on the hub, if it came from there.
    """
    number = fingerprint(questions)
    published = FILES.get(hashlib.sha256(content).hexdigest()[:DIGITS])
    name = _table().get(number) or published or COMMITS.get(commit or "")
    if name is None and commit:
        name = f"of the hub at {commit[:12]}"
    return f"{name} [{number}]" if name else f"questions {number}"


@cache
def _table() -> dict[str, str]:
    return read_object(TABLE)


def _content(question: Question) -> list[object]:
    _, texts = take_letters_off(question.choices)
    answer = question.answer
    if answer in question.choices:
        answer = texts[question.choices.index(answer)]
    return [
        question.id,
        " ".join(question.question.split()),
        [" ".join(text.split()) for text in texts],
        " ".join((answer or "").split()),
    ]
