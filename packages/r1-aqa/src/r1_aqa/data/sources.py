"""Labelled clips that can be used: where and how loud they sound, and which labels are alike."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from audio_common import DecodePool
from audio_common.check import Check, CheckMemory, check_files

from r1_aqa.config.prepare import PrepareGenerateConfig
from r1_aqa.data.check import SoundCheck
from r1_aqa.data.composition import SAMPLE_RATE, SoundShape, describe_sound, nearest_labels
from r1_aqa.data.labelled import LabelledClip, read_clips, read_families, synthesize
from r1_aqa.data.prepare import check_recordings
from r1_aqa.data.questions import QuestionError
from r1_aqa.data.report import CORRUPT, MISSING, OVERLAP, ROW, SILENT, Reason, Report
from r1_aqa.output import Progress, progress

FEW_FILES = 64
"""Files for which a second process is not worth its start."""


@dataclass(frozen=True, kw_only=True)
class SourceClip:
    """A labelled clip that can be used."""

    clip: LabelledClip
    shape: SoundShape
    digest: str
    """Hash of its recording's sound."""


def read_sources(config: PrepareGenerateConfig, report: Report, pool: DecodePool) -> list[SourceClip]:
    """Return the clips that can be used; the report gets the others."""
    clips: list[LabelledClip] = []
    spelled: dict[str, str] = {}
    for where, found in read_clips(config):
        if isinstance(found, QuestionError):
            report.skip(where, Reason(ROW, f"cannot be read: {found}"))
        elif isinstance(found, Reason):
            report.skip(where, found)
        else:
            # "Dog" and "dog" are one label, as it was spelled first.
            label = spelled.setdefault(found.label.casefold(), found.label)
            clips.append(replace(found, label=label))
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


def near_labels(config: PrepareGenerateConfig, sources: Sequence[SourceClip]) -> dict[str, list[str]]:
    """Return label -> others, those of its family first, and the most alike in sound first."""
    families = read_families(config, [source.clip for source in sources])
    bands: dict[str, list[np.ndarray]] = {}
    for source in sources:
        bands.setdefault(source.clip.label, []).append(source.shape.bands)
    near = {}
    for label, others in nearest_labels(bands).items():
        kin = [other for other in others if _is_family(families, label, other)]
        # Of a family that is large enough all are equally near.
        is_enough = len(kin) >= config.num_choices - 1
        near[label] = kin if is_enough else kin + [other for other in others if other not in kin]
    return near


def _is_family(families: Mapping[str, str], label: str, other: str) -> bool:
    return label in families and families[label] == families.get(other)


def alike_labels(sources: Sequence[SourceClip]) -> dict[str, frozenset[str]]:
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
