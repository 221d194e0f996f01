"""`r1-aqa prepare generate`: questions with known answers, about sounds composed of labelled clips.

Every recording is decoded once to see where and how loud it sounds; what was found is kept beside the output.
Then everything is planned (`r1_aqa.data.plan`), and only then composed, so that the same command after a kill
goes on where it was, to the same bytes: a sound's name has a hash of what it is made of.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from audio_common import AudioError, DecodePool
from audio_common.check import Check, CheckMemory, check_files

from r1_aqa.config.prepare import PrepareGenerateConfig, QuestionKind
from r1_aqa.data.check import SoundCheck
from r1_aqa.data.composition import SAMPLE_RATE, SoundShape, describe_sound, nearest_labels, render
from r1_aqa.data.labelled import LabelledClip, assign_splits, read_clips, read_families, synthesize
from r1_aqa.data.plan import GROUPS, Plan, Planner, ShapedClip, describe_parts
from r1_aqa.data.prepare import check_recordings, decode_limits
from r1_aqa.data.questions import Question, QuestionError, write_questions
from r1_aqa.data.report import CORRUPT, MISSING, OVERLAP, ROW, SILENT, Reason, Report
from r1_aqa.data.text_probe import text_only_accuracy
from r1_aqa.files import to_json, write_atomically, write_json
from r1_aqa.lock import hold_outputs
from r1_aqa.output import Progress, progress

logger = logging.getLogger(__name__)

VERSION = 1
"""Of how sounds are composed: a part of their names."""
FEW_FILES = 64
KEPT_SOUNDS = 256
"""Decoded recordings that are kept in memory."""


@dataclass(frozen=True, kw_only=True)
class SourceClip:
    """A labelled clip that can be used."""

    clip: LabelledClip
    shape: SoundShape
    digest: str
    """Hash of its recording's sound."""


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


def generate_verb(config: PrepareGenerateConfig) -> int:
    """Generate questions, and return 1 if a clip of the source is damaged.

    Raises:
        BusyError: another process writes `out`.
    """
    with hold_outputs(*(out_file(config, split) for split in ("train", "validation", "test"))):
        return 1 if generate(config).report.is_bad else 0


def out_file(config: PrepareGenerateConfig, split: str) -> Path:
    """Return the file of a split's questions."""
    return config.out if split == "train" else config.out.with_suffix(f".{split}.jsonl")


def generate(config: PrepareGenerateConfig) -> Generation:
    """Read the source, plan the questions, compose their sounds, write both and a report.

    Raises:
        ValueError: no question can be made; the message says why.
    """
    with DecodePool(decode_limits(config), num_workers=2) as pool:
        return _generate(config, pool)


def _generate(config: PrepareGenerateConfig, pool: DecodePool) -> Generation:
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
    _write(config, sources, planned, made)
    return made


def read_sources(config: PrepareGenerateConfig, report: Report, pool: DecodePool) -> list[SourceClip]:
    """Return the clips that can be used; the report gets the others."""
    clips: list[LabelledClip] = []
    for where, found in read_clips(config):
        if isinstance(found, QuestionError):
            report.skip(where, Reason(ROW, f"cannot be read: {found}"))
        elif isinstance(found, Reason):
            report.skip(where, found)
        else:
            clips.append(found)
    checks, failures = _check(config, [clip.audio for clip in clips if clip.audio is not None], pool)
    shared: dict[Path, str] = {}
    if config.against:
        shared = check_recordings(config, [clip.audio for clip in clips if clip.audio is not None])[1]
    sources = []
    for clip in progress(clips, "Looking at sounds"):
        source = _source(clip, checks, failures, shared, config)
        if isinstance(source, Reason):
            report.skip(clip.where, source)
            continue
        if clip.audio is not None:
            check = _as_sound_check(checks[clip.audio])
            for remark in check.remarks(None, max_seconds=config.max_seconds):
                report.remark(clip.where, remark)
        sources.append(source)
    return sources


def plan_questions(config: PrepareGenerateConfig, sources: Sequence[SourceClip]) -> GeneratedQuestions:
    """Plan all questions of all splits; nothing is decoded or written.

    Raises:
        ValueError: none can be made.
    """
    shares = {"validation": config.validation_share, "test": config.test_share}
    digests = {source.clip.name: source.digest for source in sources if source.clip.audio is not None}
    split_of = assign_splits([source.clip for source in sources], digests, shares, config.seed)
    near, alike = _near(config, sources), _alike(sources)
    plans: dict[str, list[Plan]] = {}
    not_asked: dict[str, str] = {}
    for split, number in _numbers(config, split_of).items():
        own = [
            ShapedClip(name=source.clip.name, label=source.clip.label, shape=source.shape)
            for source in sources
            if split_of[source.clip.name] == split
        ]
        planner = Planner(own, near, config, split, alike)
        kinds = _possible(planner, config.kinds, not_asked)
        shared = (
            [number // len(kinds) + (i < number % len(kinds)) for i in range(len(kinds))] if kinds else []
        )
        found = [planner.plan(kind, count) for kind, count in zip(kinds, shared, strict=True)]
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


# ------------------------------------------------------------------------------------------ the source


def _check(
    config: PrepareGenerateConfig, paths: Iterable[Path], pool: DecodePool
) -> tuple[dict[Path, Check], dict[Path, str]]:
    """Decode each recording once; what was found is remembered until it changes."""
    wanted = list(dict.fromkeys(paths))
    if not wanted:
        return {}, {}
    memory = CheckMemory(config.out.with_suffix(".shapes.jsonl"))
    with Progress("Decoding recordings", len(wanted)) as shown:
        return check_files(
            wanted,
            memory,
            # A second process takes as long to start as to decode some dozens.
            num_workers=1 if len(wanted) < FEW_FILES else 2,
            sample_rate=SAMPLE_RATE,
            channel=config.channel,
            describe=describe_sound,
            decode_limits=pool,
            progress=lambda done, total: shown.advance(done - shown.done),
        )


def _source(
    clip: LabelledClip,
    checks: Mapping[Path, Check],
    failures: Mapping[Path, str],
    shared: Mapping[Path, str],
    config: PrepareGenerateConfig,
) -> SourceClip | Reason:
    """Return a clip with its shape, or why it cannot be used."""
    if clip.event is not None:
        shape = SoundShape.from_json(describe_sound(synthesize(clip.event)))
        return SourceClip(clip=clip, shape=shape, digest=clip.name)
    assert clip.audio is not None
    if clip.audio in failures:
        is_there = os.path.isfile(clip.audio)
        return (
            Reason(CORRUPT, f"unreadable: {failures[clip.audio]}") if is_there else Reason(MISSING, "missing")
        )
    check = checks[clip.audio]
    skip_long = config.too_long == "skip"
    if why := _as_sound_check(check).problem(max_seconds=config.max_seconds, skip_long=skip_long):
        return why
    if clip.audio in shared:
        return Reason(OVERLAP, f"in a benchmark: {shared[clip.audio]}")
    end = min(config.max_seconds, clip.end if clip.end is not None else config.max_seconds)
    shape = SoundShape.from_json(check.description).between(clip.start, end)
    if shape.is_silent:
        return Reason(SILENT, "silent")
    return SourceClip(clip=clip, shape=shape, digest=check.digest)


def _as_sound_check(check: Check) -> SoundCheck:
    assert check.seconds is not None
    assert check.peak_db is not None
    return SoundCheck(
        check.seconds, check.peak_db, channels_cancel=check.channels_cancel, damage=check.problem
    )


def _near(config: PrepareGenerateConfig, sources: Sequence[SourceClip]) -> dict[str, list[str]]:
    """Return label -> others, those of its family first, and the most alike in sound first."""
    families = read_families(config, [source.clip for source in sources])
    bands: dict[str, list[np.ndarray]] = {}
    for source in sources:
        bands.setdefault(source.clip.label, []).append(source.shape.bands)
    near = nearest_labels(bands)
    return {
        label: sorted(others, key=lambda other, own=label: not _is_family(families, own, other))  # type: ignore[misc]
        for label, others in near.items()
    }


def _is_family(families: Mapping[str, str], label: str, other: str) -> bool:
    return label in families and families[label] == families.get(other)


def _alike(sources: Sequence[SourceClip]) -> dict[str, frozenset[str]]:
    """Return label -> labels of clips that share a caption."""
    labels: dict[str, set[str]] = {}
    for source in sources:
        for text in source.clip.texts:
            labels.setdefault(text, set()).add(source.clip.label)
    alike: dict[str, set[str]] = {}
    for group in labels.values():
        for label in group if len(group) > 1 else ():
            alike.setdefault(label, set()).update(group - {label})
    return {label: frozenset(others) for label, others in alike.items()}


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
    planner: Planner, kinds: Sequence[QuestionKind], not_asked: dict[str, str]
) -> list[QuestionKind]:
    found = []
    for kind in kinds:
        try:
            planner.levels(kind)
            found.append(kind)
        except ValueError as error:
            not_asked[f"{planner.split} {kind}"] = str(error)
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
    digests = [by_name[part.source].digest for part in plan.composition.parts]
    content = to_json([VERSION, plan.composition, digests])
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
