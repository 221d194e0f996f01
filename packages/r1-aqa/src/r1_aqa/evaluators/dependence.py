"""`r1-aqa prepare ... --audio_dependence PROBE...`: which questions can be answered without their sound.

What the probes said is kept beside the output, question by question (`.probed.jsonl`), so that an interrupted
command goes on where it was, and other shares or filters cost nothing.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from audio_common.strict_json import read_records

from r1_aqa.config.prepare import (
    PrepareAVQAConfig,
    PrepareClipsConfig,
    PrepareConfig,
    PrepareGenerateConfig,
    PrepareQuestionsConfig,
)
from r1_aqa.data import generate, prepare
from r1_aqa.data.dependence import (
    dependence_of,
    is_answered,
    is_marked_dependent,
    luck,
    option_probabilities,
    options_of,
    why_not_probed,
    with_dependence,
)
from r1_aqa.data.questions import Question, QuestionError
from r1_aqa.data.report import INDEPENDENT, UNPROBED, Reason, Report
from r1_aqa.evaluators.statistics import interval
from r1_aqa.files import append_line, is_stream, to_json, write_atomically
from r1_aqa.output import Progress

logger = logging.getLogger(__name__)

CONTROLS = 16
"""Questions that are asked once more with their answer in the text."""
LEAST_READ = 0.75
"""Share of the controls that a probe must answer if it is to be believed."""

Said = tuple[str, Any, bool]
"""A question's key, what a probe says to it, and whether that is remembered."""
AskProbe = Callable[[str, str, Mapping[str, Question]], Iterator[Said]]
"""Name of a probe, stamp of its version, and questions by key -> what it says to each."""


def prepare_verb(config: PrepareAVQAConfig | PrepareQuestionsConfig | PrepareClipsConfig) -> int:
    """Prepare questions, probing them where probes are named; exit code and errors as `data.prepare`'s."""
    return prepare.prepare_verb(config, probe_rows if config.audio_dependence else None)


def generate_verb(config: PrepareGenerateConfig) -> int:
    """Generate questions, probing them where probes are named; exit code and errors as `data.generate`'s."""
    return generate.generate_verb(config, probe_rows if config.audio_dependence else None)


def probe_rows(config: PrepareConfig, rows: prepare.Rows, report: Report) -> prepare.Rows:
    """Return the questions to keep, with their columns; report those that are left out or cannot be probed.

    Raises:
        ValueError: a probe is no model that can be asked.
    """
    questions = [question for _, question in rows]
    memory = ProbeMemory(None if is_stream(config.out) else config.out.with_suffix(".probed.jsonl"))
    ask: AskProbe = partial(ask_here, config.device)
    if config.engine == "ray":
        from r1_aqa.evaluators.probes_by_ray import ask_by_ray

        ask = partial(ask_by_ray, config)
    probed_by = probe_questions(config.audio_dependence, questions, memory, ask)
    say_weak(probed_by.reads)
    kept, probed = [], []
    for (where, question), said in zip(rows, probed_by.found, strict=True):
        if isinstance(said, str):
            reason = Reason(UNPROBED, f"not probed: {said}")
            # Nobody knows whether it depends on its sound.
            (report.skip if config.only_dependent else report.remark)(where, reason)
            kept += [] if config.only_dependent else [(where, question)]
            continue
        question = with_dependence(question, said, config.dependence_share)
        probed.append(question)
        if config.only_dependent and not is_marked_dependent(question):
            report.skip(where, Reason(INDEPENDENT, "answered without its sound"))
        else:
            kept.append((where, question))
    report.audio_dependence = summarize(probed, config.dependence_share) | {"reads": probed_by.reads}
    for line in describe(report.audio_dependence):
        logger.info("%s", line)
    return kept


@dataclass(frozen=True)
class ProbeReport:
    """What probes said to questions, and whether they can read at all."""

    found: list[dict[str, list[float]] | str]
    """For each question, the probability of each option by each probe, or why it cannot be probed."""
    reads: dict[str, dict[str, int]]
    """By probe, `right` and `count` of the controls: questions whose text says the answer."""


def probe_questions(
    names: Sequence[str], questions: Sequence[Question], memory: ProbeMemory, ask: AskProbe
) -> ProbeReport:
    """Ask probes all questions, and some once more with the answer in their text.

    Args:
        names: the probes: hub ids, folders, runs.
        questions: with options and known answers; others are not asked.
        memory: what was found before.
        ask: asks a probe: `ask_here`, or the workers of Ray.

    Raises:
        ValueError: a probe is no model that can be asked.
    """
    found: list[dict[str, list[float]] | str] = [why_not_probed(question) or {} for question in questions]
    reads = {}
    controls = make_controls([q for q, known in zip(questions, found, strict=True) if known == {}])
    for name in names:
        said = _ask(name, [*controls, *questions], memory, ask)
        for row, question in enumerate(questions):
            known = found[row]
            if isinstance(known, dict):
                answer = said[_key(question)]
                found[row] = answer if isinstance(answer, str) else known | {name: answer}
        answers = [(said[_key(control)], options_of(control)[1]) for control in controls]
        right = [is_answered(values, place) for values, place in answers if not isinstance(values, str)]
        reads[name] = {"right": sum(right), "count": len(right)}
    return ProbeReport(found, reads)


def make_controls(questions: Sequence[Question]) -> list[Question]:
    """Return some of the questions, drawn by lot, with the right answer in their text.

    A model that cannot pick what it was just told is no probe: it would call every question dependent.
    """
    drawn = random.Random(0).sample(questions, min(CONTROLS, len(questions)))
    return [replace(q, question=f"The right answer is: {_told(q)}. {q.question}") for q in drawn]


def _told(question: Question) -> str:
    options, right = options_of(question)
    return options[right]


def _ask(
    name: str, questions: Iterable[Question], memory: ProbeMemory, ask: AskProbe
) -> Mapping[str, list[float] | str]:
    """Return what a probe says to each question, by `_key`: probabilities, or why it cannot be asked."""
    from r1_aqa.models.option_scores import stamp_of
    from r1_aqa.output import quiet_models

    quiet_models(not logger.isEnabledFor(logging.INFO), logger.isEnabledFor(logging.DEBUG))
    stamp = stamp_of(name)
    known = memory.of(f"{name} {stamp}")
    asked = {_key(question): question for question in questions if not why_not_probed(question)}
    waiting = {key: question for key, question in asked.items() if key not in known}
    with Progress(f"Probing ({name})", len(asked), start=len(asked) - len(waiting)) as progress:
        # A probe that has nothing left to say is not loaded.
        for key, said, is_remembered in ask(name, stamp, waiting) if waiting else ():
            if is_remembered:
                known.add(key, said)
            else:
                known[key] = said
            progress.advance()
    return known


def ask_here(device: str, name: str, stamp: str, waiting: Mapping[str, Question]) -> Iterator[Said]:
    """Yield what a probe says to questions, in this process."""
    from r1_aqa.models.option_scores import load_probe, score_options

    probe = load_probe(name, device=device)
    for key, question in waiting.items():
        try:
            said: Any = option_probabilities(score_options(probe, question)).tolist()
        except QuestionError as error:
            said = str(error)
        yield key, said, True


def _key(question: Question) -> str:
    """Return what two questions have in common that are the same to a probe."""
    seen = [question.question, question.about_video, len(question.audios), *options_of(question)[0]]
    return hashlib.sha256(to_json(seen)).hexdigest()[:32]


class ProbeMemory:
    """What probes said, in a JSON Lines file that grows; None keeps it for this command alone."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.is_file():
            needed = {"probe", "question", "said"}
            self.rows = [row for row in read_records(path) if needed <= row.keys()]
            # Half a last line, left by a kill, is dropped before anything is appended.
            write_atomically(path, b"".join(to_json(row) + b"\n" for row in self.rows))

    def of(self, probe: str) -> ProbeAnswers:
        """Return what one probe said."""
        said = {row["question"]: row["said"] for row in self.rows if row["probe"] == probe}
        return ProbeAnswers(self, probe, said)


class ProbeAnswers(dict[str, Any]):
    """What one probe said, by question; what is added is kept."""

    def __init__(self, memory: ProbeMemory, probe: str, said: Mapping[str, Any]) -> None:
        super().__init__(said)
        self.memory, self.probe = memory, probe

    def add(self, question: str, said: Any) -> None:
        """Add what it says to a question."""
        self[question] = said
        if self.memory.path is not None:
            append_line(self.memory.path, {"probe": self.probe, "question": question, "said": said})


def say_weak(reads: Mapping[str, Mapping[str, int]]) -> None:
    """Say how many controls each probe answers, and which probes are no readers."""
    for name, control in reads.items():
        if not control["count"]:
            continue
        is_weak = control["right"] < LEAST_READ * control["count"]
        logger.log(
            logging.WARNING if is_weak else logging.INFO,
            "%s picks the answer of %d of %d questions that say it in their text%s",
            name,
            control["right"],
            control["count"],
            ": a poor reader, which calls questions dependent that are not; take a larger model"
            if is_weak
            else "",
        )


# -- shares ---------------------------------------------------------------------------------------------


def summarize(questions: Sequence[Question], share: float) -> dict[str, Any]:
    """Return the share of questions that depend on their audio, of all and of each data set.

    Beside each share, `by_luck`: what it would be if the probes knew nothing.
    """
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.dataset or "", []).append(question)
    names = {name: _share(group, share) for name, group in groups.items()} if len(groups) > 1 else {}
    return {"all": _share(questions, share) if questions else None, "by_dataset": names}


def _share(questions: Sequence[Question], share: float) -> dict[str, Any]:
    columns = [dependence_of(question) or {} for question in questions]
    clips = [str(question.audio) for question in questions]
    found = asdict(interval([is_marked_dependent(question) for question in questions], clips))
    lucky = [
        luck(len(column["probes"]), len(options_of(question)[0]), share)
        for question, column in zip(questions, columns, strict=True)
    ]
    probes = {name for column in columns for name in column["probes"]}
    right = {name: _accuracy(questions, name) for name in sorted(probes)}
    return found | {"by_luck": 1 - sum(lucky) / len(lucky), "probability": right}


def _accuracy(questions: Sequence[Question], probe: str) -> float:
    """Return the mean probability that a probe gives the right option."""
    own = [(dependence_of(question) or {})["probes"][probe] for question in questions]
    return sum(own) / len(own)


def describe(shares: dict[str, Any]) -> list[str]:
    """Return a line for the screen for all questions and for each data set."""
    if shares["all"] is None:
        return ["no question could be probed: none has both options and an answer"]
    lines = [_describe("questions", shares["all"])]
    return lines + [_describe(name or "no data set", found) for name, found in shares["by_dataset"].items()]


def _describe(name: str, found: dict[str, Any]) -> str:
    return (
        f"{name}: {found['value']:.1%} of {found['count']} depend on their audio ({found['low']:.1%} to "
        f"{found['high']:.1%}; {found['by_luck']:.1%} if the probes knew nothing)"
    )
