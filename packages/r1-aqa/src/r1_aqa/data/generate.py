"""`r1-aqa prepare generate`: questions with known answers, about sounds composed of labelled clips.

Every recording is decoded once to see where and how loud it sounds; what was found is kept beside the output.
Then everything is planned (`r1_aqa.data.plan`), and only then composed, so that the same command after a kill
goes on where it was, to the same bytes: a sound's name has a hash of what it is made of.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from audio_common import AudioError, DecodePool

from r1_aqa.config.prepare import PrepareGenerateConfig, QuestionKind
from r1_aqa.data.composition import SAMPLE_RATE, render
from r1_aqa.data.draw import draw_plans
from r1_aqa.data.labelled import assign_splits, synthesize
from r1_aqa.data.placement import ShapedClip
from r1_aqa.data.plan import GROUPS, Askable, Plan, describe_parts
from r1_aqa.data.prepare import ProbeRows, decode_limits
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.report import CORRUPT, ROW, Reason, Report
from r1_aqa.data.sources import SourceClip, alike_labels, near_labels, read_sources
from r1_aqa.data.text_probe import text_only_accuracy
from r1_aqa.files import to_json, write_atomically, write_json
from r1_aqa.lock import hold_outputs
from r1_aqa.output import Progress

logger = logging.getLogger(__name__)

VERSION = 1
"""Of how sounds are composed: a part of their names."""
KEPT_SOUNDS = 256
"""Decoded recordings that are kept in memory."""


@dataclass(frozen=True, kw_only=True)
class GeneratedQuestions:
    """Everything that is made, before it is: plans by split, and why a kind has none."""

    plans: Mapping[str, list[Plan]]
    not_asked: Mapping[str, str]
    """`SPLIT KIND` -> why no question of it can be made."""


@dataclass
class Generation:
    """What was made."""

    report: Report = field(default_factory=Report)
    questions: dict[str, list[Question]] = field(default_factory=dict)
    """By split."""
    summary: dict[str, Any] = field(default_factory=dict)
    """What the report's file says."""


def generate_verb(config: PrepareGenerateConfig, probe: ProbeRows | None = None) -> int:
    """Generate questions, and return 1 if a clip of the source is damaged.

    Args:
        config: the settings.
        probe: finds the questions that can be answered without their sound, see `r1_aqa.data.prepare`.

    Raises:
        BusyError: another process writes `out`.
    """
    with hold_outputs(*(out_file(config, split) for split in ("train", "validation", "test"))):
        return 1 if generate(config, probe).report.is_bad else 0


def out_file(config: PrepareGenerateConfig, split: str) -> Path:
    """Return the file of a split's questions."""
    return config.out if split == "train" else config.out.with_suffix(f".{split}.jsonl")


def generate(config: PrepareGenerateConfig, probe: ProbeRows | None = None) -> Generation:
    """Read the source, plan the questions, compose their sounds, probe them, write all and a report.

    Raises:
        ValueError: no question can be made; the message says why.
    """
    with DecodePool(decode_limits(config), num_workers=2) as pool:
        return _generate(config, pool, probe)


def _generate(config: PrepareGenerateConfig, pool: DecodePool, probe: ProbeRows | None) -> Generation:
    made = Generation()
    sources = read_sources(config, made.report, pool)
    if not sources:
        first = made.report.skipped[0] if made.report.skipped else None
        why = f"; the first: {first.where}: {first.message}" if first else ""
        raise ValueError(f"{config.source} has no clip that can be used{why}")
    planned = plan_questions(config, sources)
    for place, why in planned.not_asked.items():
        logger.warning("%s: not asked, for %s", place, why)
    compose_all(config, sources, planned, made, pool)
    if probe is not None:
        rows = [(question.id, question) for own in made.questions.values() for question in own]
        kept = [question for _, question in probe(config, rows, made.report)]
        made.questions = {split: [q for q in kept if q.split == split] for split in made.questions}
    _write(config, sources, planned, made)
    return made


def plan_questions(config: PrepareGenerateConfig, sources: Sequence[SourceClip]) -> GeneratedQuestions:
    """Plan all questions of all splits; nothing is decoded or written.

    Raises:
        ValueError: none can be made.
    """
    shares = {"validation": config.validation_share, "test": config.test_share}
    digests = {source.clip.name: source.digest for source in sources if source.clip.audio is not None}
    split_of = assign_splits([source.clip for source in sources], digests, shares, config.seed)
    near, alike = near_labels(config, sources), alike_labels(sources)
    plans: dict[str, list[Plan]] = {}
    not_asked: dict[str, str] = {}
    for split, number in _numbers(config, split_of).items():
        own = [
            ShapedClip(name=source.clip.name, label=source.clip.label, shape=source.shape)
            for source in sources
            if split_of[source.clip.name] == split
        ]
        askable = Askable(own, near, config, split, alike)
        kinds = _possible(askable, config.kinds, not_asked)
        shared = (
            [number // len(kinds) + (i < number % len(kinds)) for i in range(len(kinds))] if kinds else []
        )
        found = [draw_plans(askable, kind, count) for kind, count in zip(kinds, shared, strict=True)]
        # Kinds take turns, so that the beginning of the file has all of them.
        plans[split] = [
            kind[i] for i in range(max(map(len, found), default=0)) for kind in found if i < len(kind)
        ]
    if not any(plans.values()):
        raise ValueError(f"no question can be made of {config.source}: " + next(iter(not_asked.values())))
    return GeneratedQuestions(plans=plans, not_asked=not_asked)


def compose_all(
    config: PrepareGenerateConfig,
    sources: Sequence[SourceClip],
    planned: GeneratedQuestions,
    made: Generation,
    pool: DecodePool,
) -> None:
    """Compose the sounds that are not there yet, and make the questions."""
    by_name = {source.clip.name: source for source in sources}
    total, there = sum(map(len, planned.plans.values())), 0
    with Progress("Composing sounds", total) as shown:
        load = lru_cache(KEPT_SOUNDS)(partial(_samples, config, by_name, pool))
        for split, plans in planned.plans.items():
            numbers = Counter[str]()
            made.questions[split] = []
            for plan in plans:
                numbers[plan.kind] += 1
                identity = f"{split}-{plan.kind}-{numbers[plan.kind]:05d}"
                path = _folder(config) / f"{identity}-{_hash(plan, by_name)}.flac"
                try:
                    if path.is_file():
                        there += 1
                    else:
                        write_atomically(path, flac_bytes(render(plan.composition, load)))
                    made.questions[split].append(_question(identity, path, plan, split, by_name))
                except AudioError as error:
                    # A file that changed or went away since it was looked at.
                    made.report.skip(identity, Reason(CORRUPT, f"unreadable: {error}"))
                except ValueError as error:
                    # A label that cannot stand in a question.
                    made.report.skip(identity, Reason(ROW, f"cannot be asked: {error}"))
                shown.advance()
    if there:
        logger.info("%d of %d sounds were there already", there, total)
    used = {question.audio for questions in made.questions.values() for question in questions}
    if others := set(_folder(config).glob("*.flac")) - used:
        logger.info("%d other sounds, of earlier settings perhaps, stay in %s", len(others), _folder(config))


def flac_bytes(samples: np.ndarray) -> bytes:
    """Return samples `(samples,)` at 16 kHz as a FLAC file of 16 bits."""
    import soundfile

    memory = io.BytesIO()
    soundfile.write(memory, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return memory.getvalue()


def _numbers(config: PrepareGenerateConfig, split_of: Mapping[str, str]) -> dict[str, int]:
    """Return the number of questions of each split, as many for each recording of one as of another."""
    counts = Counter(split_of.values())
    shares = {"validation": config.validation_share, "test": config.test_share}
    numbers = {}
    for split in ("validation", "test"):
        # Where the source has splits of its own these have their share of its clips.
        share = shares[split] or counts[split] / len(split_of)
        if counts[split]:
            numbers[split] = max(1, round(config.num_questions * share))
    return {"train": max(0, config.num_questions - sum(numbers.values())), **numbers}


def _possible(
    askable: Askable, kinds: Sequence[QuestionKind], not_asked: dict[str, str]
) -> list[QuestionKind]:
    found = []
    for kind in kinds:
        try:
            askable.levels(kind)
            found.append(kind)
        except ValueError as error:
            not_asked[f"{askable.split} {kind}"] = str(error)
    return found


# ------------------------------------------------------------------------------------------ the output


def _samples(
    config: PrepareGenerateConfig, by_name: Mapping[str, SourceClip], pool: DecodePool, name: str
) -> np.ndarray:
    clip = by_name[name].clip
    if clip.event is not None:
        return synthesize(clip.event)
    assert clip.audio is not None
    samples = pool.load_audio(
        clip.audio, sample_rate=SAMPLE_RATE, duration=config.max_seconds, channel=config.channel
    )
    return np.asarray(samples, np.float32)


def _folder(config: PrepareGenerateConfig) -> Path:
    return config.out.parent / f"{config.out.stem}-audio"


def _hash(plan: Plan, by_name: Mapping[str, SourceClip]) -> str:
    # By what recordings hold, and not by their names, which another machine may give others.
    parts = tuple(replace(part, source=by_name[part.source].digest) for part in plan.composition.parts)
    content = to_json([VERSION, replace(plan.composition, parts=parts)])
    return hashlib.blake2b(content, digest_size=4).hexdigest()


def _question(
    identity: str, path: Path, plan: Plan, split: str, by_name: Mapping[str, SourceClip]
) -> Question:
    parts = plan.composition.parts
    return Question(
        id=identity,
        audio=path,
        question=plan.question,
        choices=plan.choices,
        answer=plan.answer,
        dataset="generated",
        task="sound",
        category=GROUPS[plan.kind],
        sub_category=plan.kind,
        difficulty=plan.difficulty,
        split=split,
        extra={
            "duration": plan.composition.seconds,
            "timestamps": describe_parts(plan.composition),
            "sources": [
                {
                    "clip": part.source,
                    "recording": by_name[part.source].clip.recording,
                    "start": part.start,
                    "gain_db": part.gain_db,
                }
                for part in parts
            ],
        },
    )


def _write(
    config: PrepareGenerateConfig,
    sources: Sequence[SourceClip],
    planned: GeneratedQuestions,
    made: Generation,
) -> None:
    report = made.report
    report.kept = len(made.questions.get("train", ()))
    report.validation = len(made.questions.get("validation", ()))
    made.summary = report.summary(str(config.out), config.max_seconds)
    made.summary |= {
        "clips": len(sources),
        "labels": len({source.clip.label for source in sources}),
        "splits": {
            split: describe_questions(own, known=() if split == "train" else made.questions.get("train", ()))
            for split, own in made.questions.items()
        },
        "not_asked": dict(planned.not_asked),
    }
    path = config.out.with_suffix(".report.json")
    write_json(path, made.summary)
    if config.json is not None:
        write_json(config.json, made.summary)
    for is_bad, line in report.lines():
        logger.log(logging.WARNING if is_bad else logging.INFO, "%s", line)
    for split, questions in made.questions.items():
        if questions:
            write_questions(out_file(config, split), questions)
            logger.info("%s: %s", out_file(config, split), _in_words(made.summary["splits"][split]))
    logger.info(
        "%d clips of %d labels, %d skipped (%s); report: %s",
        len(sources),
        made.summary["labels"],
        len(report.skipped),
        report.counts(),
        path,
    )


def describe_questions(questions: Sequence[Question], known: Sequence[Question] = ()) -> dict[str, Any]:
    """Return how many there are, of which kinds, about how many recordings, and what needs no hearing.

    Args:
        questions: of a split.
        known: others, of which a reader learns what can be known from text alone.
    """
    if not questions:
        return {"questions": 0}
    recordings = {source["recording"] for question in questions for source in question.extra["sources"]}
    return {
        "questions": len(questions),
        "recordings": len(recordings),
        "kinds": dict(Counter(question.sub_category for question in questions)),
        "difficulties": dict(Counter(question.difficulty for question in questions)),
        "first_option": round(float(np.mean([q.answer == q.choices[0] for q in questions])), 4),
        "chance": round(float(np.mean([1 / len(q.choices) for q in questions])), 4),
        "text_only": round(text_only_accuracy(known, questions), 4) if known else None,
    }


def _in_words(about: Mapping[str, Any]) -> str:
    text_only = about["text_only"]
    return (
        f"{about['questions']} questions about sounds of {about['recordings']} recordings; without hearing, "
        f"always the first option is right in {100 * about['first_option']:.1f}%"
        + (f", who knows the training answers in {100 * text_only:.1f}%" if text_only is not None else "")
        + f", a guess in {100 * about['chance']:.1f}%"
    )
