"""`aac-llm prepare READER SOURCE --out FILE.jsonl`: a data set to a manifest of clips that are fit for use.

Every sound file is decoded once. What is missing or cannot be read is left out of the manifest; clips that
are cut off, silent or very short, of another length than their metadata says, copies, and recordings in more
than one split are kept and named. All of it is in the report beside the manifest (`FILE.report.json`); a
table sums it up. No bad file ends the work. A run
that was killed goes on: files checked before are not read again unless they changed (`FILE.checked.jsonl`).
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from audio_common.check import Check, CheckMemory, check_files
from audio_common.strict_json import is_writable_text
from audio_common.workers import DecodeLimits

from aac_llm.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareAutoACDConfig,
    PrepareClothoConfig,
    PrepareConfig,
    PrepareJSONLConfig,
    PrepareMACSConfig,
    PrepareReferenceConfig,
    PrepareSLAMConfig,
    PrepareWavCapsConfig,
)
from aac_llm.data.captions import has_words
from aac_llm.data.manifest import Clip, ManifestError, read_manifest, write_manifest
from aac_llm.data.readers.audiocaps import read_audiocaps
from aac_llm.data.readers.autoacd import read_autoacd
from aac_llm.data.readers.clotho import read_clotho
from aac_llm.data.readers.json_lines import read_jsonl, read_reference, read_slam
from aac_llm.data.readers.macs import read_macs
from aac_llm.data.readers.source import Problem, Reading
from aac_llm.data.readers.wavcaps import read_wavcaps
from aac_llm.data.report import BAD_KINDS, PrepareReport, make_report, report_path, show_report
from aac_llm.files import is_stream
from aac_llm.lock import hold_outputs
from aac_llm.output import Progress

READERS: dict[type[PrepareConfig], Callable[[Any], Reading]] = {
    PrepareAudioCapsConfig: read_audiocaps,
    PrepareAutoACDConfig: read_autoacd,
    PrepareClothoConfig: read_clotho,
    PrepareJSONLConfig: read_jsonl,
    PrepareMACSConfig: read_macs,
    PrepareReferenceConfig: read_reference,
    PrepareSLAMConfig: read_slam,
    PrepareWavCapsConfig: read_wavcaps,
}
SECONDS_TOLERANCE, SHARE_TOLERANCE = 0.5, 0.05
"""A length that differs from its metadata by less than the larger of the two is taken for rounding."""
LOUD_DB = 1.0
"""Peaks above this are no rounding of an encoder."""
INTEGERS_DB = 40.0
"""Peaks above this are integers that were stored as floats (16 bits reach 90 dB)."""


def prepare(config: PrepareConfig) -> PrepareReport:
    """Read a data set, check it, and write its manifest and the report.

    Raises:
        ManifestError: the source has the wrong form, or not one clip of it can be used.
        FileNotFoundError: the source or a folder is not there.
        BusyError: another process is writing the manifest.
    """
    with hold_outputs(config.out, config.json):
        return _prepare(config)


def _prepare(config: PrepareConfig) -> PrepareReport:
    assert config.out is not None, "checked by PrepareConfig"
    if not config.source.exists() and not is_stream(config.source):
        raise FileNotFoundError(f"source: {config.source} is not there")
    reading = READERS[type(config)](config)
    clips, wordless = _split_wordless(unique_ids(reading.clips))
    clips = [replace(clip, licence=clip.licence or config.licence) for clip in clips]
    # They are checked as well: copies are found by the decoded sound.
    others = [clip for path in config.against for clip in _read_named(path)]
    checks, failures = _check(clips + others, config)
    lengths = find_lengths(clips, checks)
    # The decoded length counts: headers and metadata are wrong now and then.
    usable = [replace(clip, duration=checks[clip.audio].seconds) for clip in clips if clip.audio in checks]
    usable, long = _split_long(usable, config.max_seconds)
    there = [clip for clip in others if clip.audio in checks]
    overlaps, leaking = find_overlaps(usable, there, checks)
    problems = [
        *reading.problems,
        *wordless,
        *_failed(clips + others, failures),
        *long,
        *lengths,
        *_odd(usable, checks, config),
        *find_duplicates(usable, checks),
        *overlaps,
    ]
    kept = [clip for clip in usable if not (config.drop_overlap and clip.id in leaking)]
    report = make_report(config.out, kept, len(usable) - len(kept), problems)
    # The report is written in any case: it says why nothing is left.
    if kept:
        write_manifest(config.out, kept)
    show_report(report, config.json)
    if not kept:
        why = "see above" if is_stream(config.out) else f"{report_path(config.out)} says why"
        what = f"not one of {len(clips)} clips" if clips else "not one row"
        raise ManifestError(f"{config.source}: {what} can be used; {why}")
    return report


def prepare_verb(config: PrepareConfig) -> int:
    """Prepare, and return 1 if clips had to be left out because they are missing or damaged."""
    return 1 if any(problem.kind in BAD_KINDS for problem in prepare(config).problems) else 0


def unique_ids(clips: Sequence[Clip]) -> list[Clip]:
    """Append `-2`, `-3`, ... to ids that earlier clips have."""
    taken: set[str] = set()
    named = []
    for clip in clips:
        number, clip_id = 1, clip.id
        while clip_id in taken:
            number += 1
            clip_id = f"{clip.id}-{number}"
        taken.add(clip_id)
        named.append(replace(clip, id=clip_id))
    return named


def _split_wordless(clips: Sequence[Clip]) -> tuple[list[Clip], list[Problem]]:
    """Part the clips from those with a caption of punctuation alone, which training takes off, or no text."""
    problems = [
        Problem("row", clip.id, f"a caption must have words, got {text!r}")
        for clip in clips
        for text in clip.captions
        if not has_words(text) or not is_writable_text(text)
    ]
    problems += [
        Problem("row", clip.id, f"an id must be a text, got bytes that are none: {clip.id!r}")
        for clip in clips
        if not is_writable_text(clip.id)
    ]
    bad = {problem.where for problem in problems}
    return [clip for clip in clips if clip.id not in bad], problems


def find_lengths(clips: Sequence[Clip], checks: Mapping[Path, Check]) -> list[Problem]:
    """Find clips that are shorter or longer than their metadata (`Clip.duration`) say."""
    problems = []
    for clip in clips:
        check, said = checks.get(clip.audio), clip.duration
        # A header's estimate (after a quick check) proves nothing.
        if check is None or check.seconds is None or not check.is_exact or said is None:
            continue
        if abs(check.seconds - said) > max(SECONDS_TOLERANCE, SHARE_TOLERANCE * said):
            which = "shorter" if check.seconds < said else "longer"
            message = f"{which} than its metadata says ({check.seconds:.4g} s of {said:.4g} s)"
            problems.append(Problem("length", clip.id, message))
    return problems


def find_duplicates(clips: Sequence[Clip], checks: Mapping[Path, Check]) -> list[Problem]:
    """Find clips of one split with the same sound."""
    groups: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for clip in clips:
        # Copies in different splits are overlaps, which are worse and have their own list.
        groups[checks[clip.audio].digest, clip.split].append(clip.id)
    return [Problem("duplicate", ", ".join(ids), "the same sound") for ids in groups.values() if len(ids) > 1]


def find_overlaps(
    clips: Sequence[Clip], others: Sequence[Clip], checks: Mapping[Path, Check]
) -> tuple[list[Problem], set[str]]:
    """Find recordings in several splits or in another manifest, and the ids of training clips among them.

    A recording is known by its sound, and by its number at the source (`sound_id`): WavCaps and Clotho have
    different pieces of the same Freesound recordings.
    """
    problems: list[Problem] = []
    leaking: set[str] = set()
    seen: set[tuple[str, ...]] = set()
    for what, key in (("sound", lambda c: checks[c.audio].digest), ("recording", lambda c: c.sound_id)):
        mine, foreign = _grouped(clips, key), _grouped(others, key)
        for name, group in mine.items():
            splits = sorted({str(clip.split) for clip in group})
            elsewhere = [clip.id for clip in foreign.get(name, [])]
            ids = tuple(clip.id for clip in group)
            if (len(splits) == 1 and not elsewhere) or ids in seen:
                continue
            seen.add(ids)
            where = [f"the same {what} in the splits {', '.join(splits)}"] if len(splits) > 1 else []
            where += [f"the same {what} as {', '.join(elsewhere)}"] if elsewhere else []
            problems.append(Problem("overlap", ", ".join(ids), "; ".join(where)))
            # Only training clips can be left out: a test set stays what it was published as.
            leaking |= {clip.id for clip in group if clip.split in ("train", None)}
    return problems, leaking


def _grouped(clips: Sequence[Clip], key: Callable[[Clip], str | None]) -> dict[str, list[Clip]]:
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        name = key(clip)
        if name is not None:
            groups[name].append(clip)
    return groups


def _read_named(path: Path) -> list[Clip]:
    # Only their sounds count, whatever languages their captions are in.
    clips = read_manifest(path, keep_uncaptioned=True)
    return [replace(clip, id=f"{path}: {clip.id}") for clip in clips]


def _check(clips: Sequence[Clip], config: PrepareConfig) -> tuple[dict[Path, Check], dict[Path, str]]:
    assert config.out is not None
    # With the manifest on the standard output, nothing is kept.
    folder = tempfile.TemporaryDirectory() if is_stream(config.out) else nullcontext(config.out.parent)
    with folder as place:
        path = Path(place) / config.out.with_suffix(".checked.jsonl").name
        return _check_with(clips, CheckMemory(path, is_quick=config.quick, forget=config.recheck), config)


def _check_with(
    clips: Sequence[Clip], memory: CheckMemory, config: PrepareConfig
) -> tuple[dict[Path, Check], dict[Path, str]]:
    paths = list(dict.fromkeys(clip.audio for clip in clips))
    with Progress("Checking sounds", len(paths)) as progress:
        return check_files(
            paths,
            memory,
            num_workers=config.num_workers,
            channel=config.channel,
            progress=lambda done, _: progress.advance(done - progress.done),
            # A longer one is told by its length: `max_seconds` is no damage.
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
        )


def _split_long(clips: Sequence[Clip], longest: float | None) -> tuple[list[Clip], list[Problem]]:
    is_long = [longest is not None and (clip.duration or 0.0) > longest for clip in clips]
    problems = [
        Problem("long", clip.id, f"{clip.duration:.1f} s")
        for clip, long in zip(clips, is_long, strict=True)
        if long
    ]
    return [clip for clip, long in zip(clips, is_long, strict=True) if not long], problems


def _failed(clips: Sequence[Clip], failures: Mapping[Path, str]) -> list[Problem]:
    return [
        # Of os.path, as a name that no file system takes is an error to Path.
        Problem("corrupt" if os.path.isfile(clip.audio) else "missing", clip.id, failures[clip.audio])
        for clip in clips
        if clip.audio in failures
    ]


def _odd(clips: Sequence[Clip], checks: Mapping[Path, Check], config: PrepareConfig) -> list[Problem]:
    problems = []
    for clip in clips:
        check = checks[clip.audio]
        seconds, declared = check.seconds, check.declared_seconds
        # Encoders pad and headers round: a hundredth and 50 ms are no damage.
        if seconds is not None and declared is not None and seconds < declared * 0.99 - 0.05:
            message = f"the header says {declared:.2f} s, {seconds:.2f} s can be decoded"
            problems.append(Problem("cut off", clip.id, message))
        if seconds is not None and seconds < config.min_seconds:
            problems.append(Problem("short", clip.id, f"{seconds:.3f} s"))
        if check.peak_db is not None and check.peak_db < config.silence_db:
            problems.append(Problem("silent", clip.id, f"loudest sample at {check.peak_db:.0f} dB"))
        if check.peak_db is not None and check.peak_db > LOUD_DB:
            why = "; integers stored as floats?" if check.peak_db > INTEGERS_DB else ""
            problems.append(Problem("loud", clip.id, f"loudest sample at {check.peak_db:+.0f} dB{why}"))
        # Only the average suffers; the other choices take one channel anyway.
        if check.channels_cancel and config.channel == "mean":
            message = f"its {check.num_channels} channels cancel each other; the loudest is taken"
            problems.append(Problem("cancels", clip.id, message))
        if check.problem is not None:
            problems.append(Problem("damaged", clip.id, check.problem))
    return problems
