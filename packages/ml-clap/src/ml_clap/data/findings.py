"""What can be wrong with the clips of a data set, how it is called, and what to do about it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_common.check import Check

from ml_clap.config.prepare import PrepareConfig
from ml_clap.data.manifest import Clip
from ml_clap.data.readers.reading import Problem

LENGTH_SECONDS, LENGTH_SHARE = 0.5, 0.05
"""A sound differs in length from its metadata if by more than both."""
LOUD_DB, INTEGER_DB = 1.0, 40.0
"""Peaks, dB of full scale: beyond it, and so far beyond that integers must have been stored as floats."""


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    text: str
    """What the table calls it."""
    advice: str
    """What to do."""
    is_left_out: bool = False
    """Whether its clips are not in the manifest."""


KINDS = {
    "row": Kind("rows that cannot be read", "mend these lines, and run again", True),
    "missing": Kind("sound files missing", "fetch them, or name their folder with --audio", True),
    "corrupt": Kind("sound files damaged", "fetch them again, or export them as wav or flac", True),
    "damaged": Kind("damaged in part", "the rest is kept; fetch them again", False),
    "cut off": Kind("shorter than their header says", "what is there is kept; fetch them again"),
    "length": Kind(
        "of another length than their metadata say", "listen whether the captions fit, or cut again"
    ),
    "short": Kind("very short", "kept; take them out if nothing can be heard (--min_seconds sets the limit)"),
    "silent": Kind("silent", "kept; take them out, or set another --silence_db"),
    "loud": Kind("beyond full scale", "kept as they are; scale them to -1 to 1 (integers: by full scale)"),
    "cancels": Kind("with channels that cancel out", "the louder one is taken; --channel chooses another"),
    "blacklisted": Kind("left out by the blacklist", "nothing: they are in test sets", True),
    "duplicate": Kind("copies of one another", "kept; take out all but one if their captions say the same"),
    "overlap": Kind("in two splits or manifests", "--drop_overlap takes them out of training"),
}
"""Kind of problem, in the order of the report."""
INTENDED = ("blacklisted",)
"""Kinds that are no failure: what is left out of them was asked for."""


def find_duplicates(clips: Sequence[Clip], checks: Mapping[Path, Check]) -> list[Problem]:
    """Find clips of one split with the same audio."""
    groups: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for clip in clips:
        groups[checks[clip.audio].digest, clip.split].append(clip.id)
    return [Problem("duplicate", ", ".join(ids), "the same sound") for ids in groups.values() if len(ids) > 1]


def find_overlaps(
    clips: Sequence[Clip], others: Sequence[Clip], checks: Mapping[Path, Check]
) -> tuple[list[Problem], set[str]]:
    """Find audio in two splits or in another manifest; returns also the ids of its training clips."""
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[checks[clip.audio].digest].append(clip)
    elsewhere: dict[str, list[Clip]] = defaultdict(list)
    for clip in others:
        elsewhere[checks[clip.audio].digest].append(clip)
    problems: list[Problem] = []
    leaking: set[str] = set()
    for digest, group in groups.items():
        splits = sorted({str(clip.split) for clip in group})
        foreign = [clip.id for clip in elsewhere.get(digest, [])]
        if len(splits) == 1 and not foreign:
            continue
        where = [f"the splits {', '.join(splits)}"] if len(splits) > 1 else []
        where += [f"also in {', '.join(foreign)}"] if foreign else []
        problems.append(Problem("overlap", ", ".join(clip.id for clip in group), "; ".join(where)))
        leaking |= {clip.id for clip in group if clip.split in ("train", None)}
    return problems, leaking


def find_failed(clips: Sequence[Clip], failures: Mapping[Path, str]) -> list[Problem]:
    """Find clips whose file is not there, or not sound."""
    return [
        Problem("corrupt" if os.path.isfile(clip.audio) else "missing", clip.id, failures[clip.audio])
        for clip in clips
        if clip.audio in failures
    ]


def find_odd(clips: Sequence[Clip], checks: Mapping[Path, Check], config: PrepareConfig) -> list[Problem]:
    """Find clips whose sound is not what it should be; their `duration` is what the source says."""
    problems = []
    for clip in clips:
        check = checks[clip.audio]
        seconds, declared = check.seconds, check.declared_seconds
        if check.channels_cancel:
            message = f"nearly nothing is left of the average of its {check.num_channels} channels"
            problems.append(Problem("cancels", clip.id, message))
        if check.is_exact and (difference := compare_lengths(seconds, clip.duration)):
            problems.append(Problem("length", clip.id, difference))
        if seconds is not None and declared is not None and seconds < declared * 0.99 - 0.05:
            message = f"the header says {declared:.2f} s, {seconds:.2f} s can be decoded"
            problems.append(Problem("cut off", clip.id, message))
        elif check.problem is not None:
            problems.append(Problem("damaged", clip.id, check.problem))
        if seconds is not None and seconds < config.min_seconds:
            problems.append(Problem("short", clip.id, f"{seconds:.3f} s"))
        if check.peak_db is not None and check.peak_db < config.silence_db:
            problems.append(Problem("silent", clip.id, f"loudest sample at {check.peak_db:.0f} dB"))
        if check.peak_db is not None and check.peak_db > LOUD_DB:
            why = "; integers stored as floats?" if check.peak_db > INTEGER_DB else ""
            problems.append(Problem("loud", clip.id, f"loudest sample at {check.peak_db:+.0f} dB{why}"))
    return problems


def compare_lengths(seconds: float | None, expected: float | None) -> str | None:
    """Return how a sound's length differs from what its metadata say; None if it does not.

    >>> compare_lengths(0.5, 10.0)
    'shorter than its metadata say (0.5 s of 10 s)'
    """
    if seconds is None or not expected:
        return None
    if abs(seconds - expected) <= max(LENGTH_SECONDS, LENGTH_SHARE * expected):
        return None
    how = "shorter" if seconds < expected else "longer"
    return f"{how} than its metadata say ({seconds:.3g} s of {expected:.3g} s)"
