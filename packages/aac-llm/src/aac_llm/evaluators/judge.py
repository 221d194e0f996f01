"""A language model's judgements of captions, asked for at an endpoint and kept on disk as they come.

An answer that is no judgement costs its clip only: the score is of the others, and the output says of how
many. With a file of answers a run that was killed asks only about the rest, and the reasons can be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from audio_common.strict_json import read_records
from numpy.typing import NDArray

from aac_llm.config.judge import JudgeConfig
from aac_llm.files import append_line, is_stream, to_json, write_atomically
from aac_llm.metrics.clair_a import PROMPT, Judgement, check_prompt, prompt_version, question, read_judgement
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.models.endpoint import CutAnswerError, Endpoint, LLMError
from aac_llm.output import Progress

ASKED_AT_ONCE = 8
"""Questions for each request that may run at the same time, between two writings of answers."""

Ask = Callable[[Sequence[str]], Sequence["str | LLMError"]]
"""From questions to an answer for each, or why there is none."""


@dataclass(frozen=True)
class Judgements:
    """Scores of captions by a language model."""

    scores: NDArray[np.float64]
    """(captions,) from 0 to 1; NaN where there is no judgement."""
    reasons: tuple[str, ...]
    """Why a caption has none; empty where it has one."""

    @property
    def failures(self) -> list[str]:
        """Why there is none, for each caption without one."""
        return [reason for reason in self.reasons if reason]

    def split(self, count: int) -> list[Judgements]:
        """Return those of so many systems, of as many captions each."""
        size = len(self.reasons) // count
        places = [slice(start, start + size) for start in range(0, size * count, size)]
        return [Judgements(self.scores[place], self.reasons[place]) for place in places]


def judge_captions(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    settings: JudgeConfig,
    *,
    ask: Ask | None = None,
) -> Judgements:
    """Ask a judge about each caption; equal questions are asked once.

    Args:
        candidates: (captions,) as they are, not tokenised: grammar counts.
        references: those of each caption's clip.
        settings: where the judge is, and where its answers are kept.
        ask: instead of the endpoint of `settings`.

    Raises:
        MissingMetricError: no judge is named, or not one answer is a judgement.
        ValueError: a prompt without a place for the texts.
    """
    if settings.llm is None:
        raise MissingMetricError("no language model judges", "name one with --judge.llm and --judge.endpoint")
    prompt = read_prompt(settings.prompt)
    questions = [question(*pair, prompt) for pair in zip(candidates, references, strict=True)]
    held = {} if settings.answers is None else _read_answers(settings.answers, settings.llm)
    found: dict[str, Judgement | str] = {text: held[key] for text in questions if (key := _key(text)) in held}
    lacking = [text for text in dict.fromkeys(questions) if text not in found]
    # One client for all: it remembers that a service is dead.
    ask = ask or _endpoint(settings)
    step = ASKED_AT_ONCE * settings.concurrency
    with Progress("Judging", len(lacking)) as progress:
        for start in range(0, len(lacking), step):
            asked = lacking[start : start + step]
            for text, answer in zip(asked, ask(asked), strict=True):
                found[text] = _judge(answer)
                _keep(settings, text, found[text])
            progress.advance(len(asked))
    return _collect([found[text] for text in questions])


def read_prompt(path: Path | None) -> str:
    """Return the question to the judge: ours, or that of a file.

    Raises:
        ValueError: it has no place for the caption or for the references.
    """
    if path is None:
        return PROMPT
    prompt = path.read_text(encoding="utf-8")
    try:
        check_prompt(prompt)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return prompt


def describe_judge(settings: JudgeConfig) -> str:
    """Return the judge's name and the version of its question, as `gpt-4o, prompt 1a2b3c4d`."""
    return f"{settings.llm}, prompt {prompt_version(read_prompt(settings.prompt))}"


def _endpoint(settings: JudgeConfig) -> Ask:
    endpoint = Endpoint.from_settings(settings, str(settings.llm))
    return lambda questions: endpoint.ask([[{"role": "user", "content": text}] for text in questions])


def _judge(answer: str | LLMError) -> Judgement | str:
    # A judgement may be whole, and a word after it cut.
    if isinstance(answer, CutAnswerError) and answer.has_whole_line:
        answer = answer.answer
    if isinstance(answer, LLMError):
        return str(answer)
    try:
        return read_judgement(answer)
    except ValueError as error:
        return str(error)


def _collect(found: Sequence[Judgement | str]) -> Judgements:
    reasons = tuple(one if isinstance(one, str) else "" for one in found)
    if all(reasons):
        raise MissingMetricError(
            f"the judge gave no judgement of {len(found):,} captions; the first time: {reasons[0]}",
            "see that --judge.endpoint serves --judge.llm, and that it answers in JSON",
        )
    return Judgements(np.array([np.nan if isinstance(one, str) else one.score for one in found]), reasons)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _keep(settings: JudgeConfig, text: str, found: Judgement | str) -> None:
    # What failed is asked again by the next run.
    if settings.answers is not None and isinstance(found, Judgement):
        record = {"question": _key(text), "llm": settings.llm, "score": found.score, "reason": found.reason}
        append_line(settings.answers, record)


def _read_answers(path: Path, llm: str) -> dict[str, Judgement]:
    if is_stream(path):
        raise ValueError("judge.answers: expected a file, got the standard output")
    records = read_records(path)
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        # A kill cut its last line; what is appended next would be damaged with it.
        write_atomically(path, b"".join(to_json(record) + b"\n" for record in records))
    held = {}
    for record in records:
        match record:
            case {
                "llm": str(name),
                "question": str(key),
                "score": int() | float() as score,
                "reason": str(why),
            }:
                if name == llm and 0 <= score <= 1:
                    held[key] = Judgement(float(score), why)
    return held
