"""`ml-clap prepare READER SOURCE --out FILE.jsonl`: a data set to a manifest of clips that are fit for use.

Every sound file is decoded once. What is missing or damaged is left out of the manifest; clips that are cut
off, silent or very short, copies, and recordings in more than one split are kept and named. All of it is in
the report beside the manifest (`FILE.report.json`); a table sums it up. No bad file ends the work. Files
checked before are not read again unless they changed (`FILE.checked.jsonl`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audio_common.check import Check, CheckMemory, check_files
from audio_common.workers import DecodeLimits

from ml_clap.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareClothoConfig,
    PrepareConfig,
    PrepareESC50Config,
    PrepareFolderConfig,
    PrepareFSD50KConfig,
    PrepareJSONLConfig,
    PrepareReferenceConfig,
    PrepareTuxpaintConfig,
    PrepareUrbanSound8KConfig,
    PrepareWavCapsConfig,
)
from ml_clap.data.findings import INTENDED, KINDS, find_duplicates, find_failed, find_odd, find_overlaps
from ml_clap.data.manifest import BadRow, Clip, ManifestError, clip_fault, read_manifest, write_manifest
from ml_clap.data.readers.classes import read_esc50, read_fsd50k, read_urbansound8k
from ml_clap.data.readers.json_lines import read_jsonl
from ml_clap.data.readers.labelled import read_folder
from ml_clap.data.readers.published import read_audiocaps, read_clotho, read_reference
from ml_clap.data.readers.reading import Problem, Reading
from ml_clap.data.readers.tuxpaint import read_tuxpaint
from ml_clap.data.readers.wavcaps import read_wavcaps
from ml_clap.files import write_atomically, write_json
from ml_clap.lock import hold_outputs
from ml_clap.output import printable
from ml_clap.tables import print_table, show_progress, tables_beside_json

READERS: dict[type[PrepareConfig], Callable[[Any], Reading]] = {
    PrepareReferenceConfig: read_reference,
    PrepareClothoConfig: read_clotho,
    PrepareAudioCapsConfig: read_audiocaps,
    PrepareFolderConfig: read_folder,
    PrepareTuxpaintConfig: read_tuxpaint,
    PrepareWavCapsConfig: read_wavcaps,
    PrepareESC50Config: read_esc50,
    PrepareUrbanSound8KConfig: read_urbansound8k,
    PrepareFSD50KConfig: read_fsd50k,
    PrepareJSONLConfig: read_jsonl,
}
SHOWN = 3
"""Examples of each kind of problem that are printed."""
LANGUAGES_SHOWN = 10
"""Languages whose captions are counted one by one in the table."""


@dataclass(frozen=True)
class FoundKind:
    """A kind of problem that was found: what it is, how often, and what to do."""

    kind: str
    what: str
    count: int
    is_left_out: bool
    """Whether those clips are not in the manifest."""
    advice: str


@dataclass(frozen=True)
class PrepareReport:
    """What was made, and what is wrong with it."""

    manifest: Path
    clips: int
    """Clips in the manifest."""
    hours: float
    """Hours of audio in the manifest."""
    splits: dict[str, int]
    """Split -> clips; clips without one are under `(none)`."""
    captions: dict[str, int]
    """Language -> captions."""
    dropped: int
    """Clips left out because of `--drop_overlap`."""
    kinds: tuple[FoundKind, ...]
    """What was found, in sum."""
    problems: tuple[Problem, ...]
    notices: tuple[str, ...] = ()
    """What was left out as the settings say, and what changes that."""


def prepare(config: PrepareConfig) -> PrepareReport:
    """Read a data set, check it, and write its manifest and the report.

    Raises:
        ManifestError: the source has the wrong form, or not one clip of it can be used.
        FileNotFoundError: the source or a folder is not there.
    """
    assert config.out is not None, "checked by PrepareConfig"
    reading = READERS[type(config)](config)
    clips = unique_ids(_usable(reading, config.out))
    if config.licence is not None:
        clips = [replace(clip, licence=config.licence) for clip in clips]
    others = [clip for path in config.against for clip in _read_others(path, reading)]
    checks, failures = _check(clips + others, config)
    usable = [clip for clip in clips if clip.audio in checks]
    odd = find_odd(usable, checks, config)
    usable = [replace(clip, duration=_exact_seconds(checks[clip.audio])) for clip in usable]
    there = [clip for clip in others if clip.audio in checks]
    overlaps, leaking = find_overlaps(usable, there, checks)
    problems = [
        *reading.problems,
        *find_failed(clips + others, failures),
        *odd,
        *find_duplicates(usable, checks),
        *overlaps,
    ]
    kept = [clip for clip in usable if not (config.drop_overlap and clip.id in leaking)]
    report = _report(config.out, kept, len(usable) - len(kept), problems)
    report = replace(report, notices=tuple(reading.notices))
    if kept and reading.labels:
        labels = config.out.with_suffix(".labels.txt")
        write_atomically(labels, "".join(f"{label}\n" for label in reading.labels))
        said = f"{len(reading.labels):,} classes are in {labels} (ml-clap classify --labels)"
        report = replace(report, notices=(*report.notices, said))
    if kept:
        write_manifest(config.out, kept)
    write_json(report_path(report.manifest), report)
    if config.json is not None:
        write_json(config.json, report)
    with tables_beside_json(config.json):
        print_report(report)
    if not kept:
        what = f"not one of {len(clips)} clips" if clips else "not one row"
        raise ManifestError(f"{config.source}: {what} can be used; {report_path(config.out)} says why")
    return report


def prepare_verb(config: PrepareConfig) -> int:
    """Prepare, and return 1 if clips are left out because they are missing or damaged."""
    assert config.out is not None, "checked by PrepareConfig"
    with hold_outputs(config.out, report_path(config.out), config.json):
        found = prepare(config).kinds
        return int(any(each.is_left_out and each.kind not in INTENDED for each in found))


def report_path(manifest: Path) -> Path:
    """Return where the report of a manifest is."""
    return manifest.with_suffix(".report.json")


def unique_ids(clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips with `-2`, `-3`, ... after ids that others before them have."""
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


def _usable(reading: Reading, out: Path) -> list[Clip]:
    """Return the clips that a manifest can hold; the others become problems."""
    faults = [clip_fault(clip, out) for clip in reading.clips]
    for clip, fault in zip(reading.clips, faults, strict=True):
        if fault is not None:
            reading.add_problem("row", clip.id, fault)
    return [clip for clip, fault in zip(reading.clips, faults, strict=True) if fault is None]


def _read_others(path: Path, reading: Reading) -> list[Clip]:
    """Return the clips of another manifest, named by it; its bad lines become problems."""
    bad_rows: list[BadRow] = []
    clips = read_manifest(path, bad_rows=bad_rows)
    for row in bad_rows:
        reading.add_problem("row", row.where, row.message)
    return [replace(clip, id=f"{path}: {clip.id}") for clip in clips]


def _exact_seconds(check: Check) -> float | None:
    """Return a length to be relied on: a quick check has only an estimate of some files."""
    return check.seconds if check.is_exact else None


def _check(clips: Sequence[Clip], config: PrepareConfig) -> tuple[dict[Path, Check], dict[Path, str]]:
    assert config.out is not None
    memory = CheckMemory(
        config.out.with_suffix(".checked.jsonl"), is_quick=config.quick, forget=config.recheck
    )
    paths = [clip.audio for clip in clips]
    with show_progress("Checking audio") as progress:
        return check_files(
            paths,
            memory,
            num_workers=config.num_workers,
            channel=config.channel,
            progress=progress,
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
        )


def _report(out: Path, clips: Sequence[Clip], dropped: int, problems: Sequence[Problem]) -> PrepareReport:
    captions: Counter[str] = Counter()
    for clip in clips:
        captions.update({language: len(texts) for language, texts in clip.captions.items()})
    return PrepareReport(
        manifest=out,
        clips=len(clips),
        hours=sum(clip.duration or 0.0 for clip in clips) / 3600,
        splits=dict(Counter(clip.split or "(none)" for clip in clips)),
        captions=dict(captions),
        dropped=dropped,
        kinds=_sum_up(problems),
        problems=tuple(problems),
    )


def _sum_up(problems: Sequence[Problem]) -> tuple[FoundKind, ...]:
    counts = Counter(problem.kind for problem in problems)
    return tuple(
        FoundKind(name, kind.text, counts[name], kind.is_left_out, kind.advice)
        for name, kind in KINDS.items()
        if counts[name]
    )


def print_report(report: PrepareReport) -> None:
    """Print how much there is, and some of each kind of problem."""
    rows = [["clips", f"{report.clips:,}"], ["hours", f"{report.hours:.2f}"]]
    rows += [[f"split {split}", f"{count:,}"] for split, count in report.splits.items()]
    rows += _caption_rows(report.captions)
    rows += [[found.what, f"{found.count:,}"] for found in report.kinds]
    rows += [["skipped as overlapping", f"{report.dropped:,}"]] if report.dropped else []
    print_table(str(report.manifest), ["", "number"], rows)
    for notice in report.notices:
        print(printable(notice))
    for found in report.kinds:
        those = [problem for problem in report.problems if problem.kind == found.kind]
        for problem in those[:SHOWN]:
            print(printable(f"{found.kind}: {problem.where}: {problem.message}"))
        if len(those) > SHOWN:
            print(f"{found.kind}: {len(those) - SHOWN:,} more in {report_path(report.manifest)}")
        print(f"{found.kind}: {'left out; ' if found.is_left_out else ''}{found.advice}")


def _caption_rows(captions: Mapping[str, int]) -> list[list[str]]:
    listed = list(captions.items())[:LANGUAGES_SHOWN]
    rows = [[f"captions {language}", f"{count:,}"] for language, count in listed]
    if len(captions) > LANGUAGES_SHOWN:
        rest = len(captions) - LANGUAGES_SHOWN
        rows.append(
            [f"captions in {rest} more languages", f"{sum(captions.values()) - sum(dict(listed).values()):,}"]
        )
    return rows
