"""`r1-aqa prepare`: plain JSONL of questions whose audio can be used, and a report of skipped ones."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from audio_common import AudioError, DecodeLimits, DecodePool
from audio_common.check import DESCRIBED_SECONDS, CheckMemory

from r1_aqa.bulk.places import folder_of, is_url, local_copies, written
from r1_aqa.config.prepare import (
    PrepareAVQAConfig,
    PrepareClipsConfig,
    PrepareConfig,
    PrepareQuestionsConfig,
)
from r1_aqa.data.avqa import VIDEO, MediaIndex, visual_reason
from r1_aqa.data.benchmark import load_benchmark, move_sounds, name_from_url
from r1_aqa.data.check import SoundCheck, check_sounds, find_contamination, look_at_sounds, sound_checks
from r1_aqa.data.clips import parse_clips
from r1_aqa.data.layout import find_layout
from r1_aqa.data.options import take_letters_off
from r1_aqa.data.questions import Question, QuestionError, write_questions
from r1_aqa.data.readers import parse_avqa, parse_file
from r1_aqa.data.report import CORRUPT, DUPLICATE, ID, LETTERS, MISSING, OVERLAP, ROW, Reason, Report
from r1_aqa.data.rows import iterate_rows
from r1_aqa.data.sounds import extract_sound
from r1_aqa.files import is_stream, write_json
from r1_aqa.lock import hold_outputs

logger = logging.getLogger(__name__)

Rows = Sequence[tuple[str, Question]]
"""Questions, each with its place: `file:line`."""
ProbeRows = Callable[[PrepareConfig, Rows, Report], Rows]
"""Probes questions without their audio: returns those to keep with their columns, and reports the others."""


def prepare_verb(
    config: PrepareAVQAConfig | PrepareQuestionsConfig | PrepareClipsConfig, probe: ProbeRows | None = None
) -> int:
    """Prepare questions, and return 1 if some were skipped that are damaged or whose audio is.

    Args:
        config: the settings.
        probe: `r1_aqa.evaluators.dependence.probe_rows`, for `audio_dependence`.

    Raises:
        BusyError: another process writes `out`.
    """
    with hold_outputs(config.out, None if is_stream(config.out) else _validation_file(config)):
        return _prepare(config, probe)


def _prepare(
    config: PrepareAVQAConfig | PrepareQuestionsConfig | PrepareClipsConfig, probe: ProbeRows | None
) -> int:
    if isinstance(config, PrepareAVQAConfig):
        report = prepare_avqa(config, probe)
    elif isinstance(config, PrepareClipsConfig):
        report = prepare_clips(config, probe)
    else:
        report = prepare_questions(config, probe)
    return 1 if report.is_bad else 0


def prepare_questions(config: PrepareQuestionsConfig, probe: ProbeRows | None = None) -> Report:
    """Read a file of questions of any kind, check the audio, write plain JSONL and a report."""
    report = Report()
    with local_copies([written(config.source)]) as (copy,):
        if isinstance(copy, OSError):
            raise FileNotFoundError(str(copy)) from copy
        layout = find_layout(str(copy), with_sounds=config.audio is None)
        rows = [
            (where.replace(str(copy), written(config.source)), row)
            for where, row in parse_file(layout.questions)
        ]
    url = folder_of(written(config.source)) if is_url(config.source) else None
    questions = list(_readable(rows, report))
    folder = config.audio or layout.audio
    if folder is not None and is_url(folder):
        url = written(folder)
        folder = None
    found = [question for _, question in questions]
    if url is not None:
        found = name_from_url(found, layout.questions.parent, url)
    elif folder is not None:
        found = move_sounds(found, folder)
    if config.engine != "ray" and (remote := next((one.audio for one in found if is_url(one.audio)), None)):
        raise ValueError(f"{written(remote)}: audio at URLs is read with --engine ray")
    return finish(config, list(zip([where for where, _ in questions], found, strict=True)), report, probe)


def prepare_clips(config: PrepareClipsConfig, probe: ProbeRows | None = None) -> Report:
    """Make questions of a manifest of clips, check the audio, write plain JSONL and a report."""
    report = Report()
    return finish(config, list(_readable(parse_clips(config), report)), report, probe)


def _readable(
    rows: Iterable[tuple[str, Question | QuestionError]], report: Report
) -> Iterator[tuple[str, Question]]:
    for where, found in rows:
        if isinstance(found, QuestionError):
            report.skip(where, Reason(ROW, f"cannot be read: {found}"))
        else:
            yield where, found


def prepare_avqa(config: PrepareAVQAConfig, probe: ProbeRows | None = None) -> Report:
    """Read the rows of AVQA that can be answered by ear and whose audio or video is there; write them."""
    report, media = Report(), MediaIndex(config.audio)
    with DecodePool(decode_limits(config)) as decoder:
        rows = list(_avqa_rows(config, media, report, decoder))
    return finish(config, rows, report, probe)


def finish(config: PrepareConfig, rows: Rows, report: Report, probe: ProbeRows | None = None) -> Report:
    """Check the audio, skip what cannot be used, probe what is left, write questions and report.

    Raises:
        ValueError: nothing is left.
    """
    sounds, shared = check_recordings(config, [audio for _, question in rows for audio in question.audios])
    kept, seen, ids = list[tuple[str, Question]](), set(), dict[str, str]()
    for where, question in rows:
        checks = [sounds[audio] for audio in question.audios]
        skip_long = config.too_long == "skip"
        problems = (check.problem(max_seconds=config.max_seconds, skip_long=skip_long) for check in checks)
        why = next(filter(None, problems), None)
        key = (question.audios, question.question, question.choices)
        known = next((shared[audio] for audio in question.audios if audio in shared), None)
        if why is None and known is not None:
            why = Reason(OVERLAP, f"in a benchmark: {known}")
        if why is None and key in seen:
            why = Reason(DUPLICATE, "the same question twice")
        if why:
            report.skip(where, why)
            continue
        seen.add(key)
        report.longer += any(check.seconds > config.max_seconds for check in checks)
        # What a row says of the duration of several sounds may be of each or of all.
        duration = None if question.further_audio else question.extra.get("duration")
        for check in checks:
            for remark in check.remarks(duration, max_seconds=config.max_seconds):
                report.remark(where, remark)
        if take_letters_off(question.choices)[0]:
            report.remark(where, Reason(LETTERS, "letters"))
        if question.id in ids:
            twice = f"id twice: {question.id!r} is that of {ids[question.id]}, too"
            report.remark(where, Reason(ID, twice))
        ids.setdefault(question.id, where)
        kept.append((where, question))
    left = kept if probe is None else probe(config, kept, report)
    _write(config, [question for _, question in left], report)
    return report


def check_recordings(
    config: PrepareConfig, paths: list[Path]
) -> tuple[dict[Path, SoundCheck], dict[Path, str]]:
    """Return what was found about each recording, and which benchmark's file those are that are in one."""
    limits = decode_limits(config)
    if not config.check_sound:
        return look_at_sounds(paths, limits), {}
    # With the questions on the standard output nothing is kept beside them.
    folder = TemporaryDirectory() if is_stream(config.out) else nullcontext(str(config.out.parent))
    with folder as place:
        # One memory for both: a preparation that goes on does not decode the benchmark again.
        memory = CheckMemory(Path(place) / config.out.with_suffix(".checked.jsonl").name)
        sounds = _checked(config, paths, memory)
        asked = [q for p in config.against for q in load_benchmark(str(p), config.against_audio).questions]
        tests = [audio for question in asked if not question.fault for audio in question.audios]
        if not tests:
            return sounds, {}
        if long := sum(check.seconds > DESCRIBED_SECONDS for check in sounds.values()):
            logger.warning(
                "%d of %d recordings are longer than %d s: only their beginnings are compared with --against",
                long,
                len(sounds),
                DESCRIBED_SECONDS,
            )
        return sounds, find_contamination(sounds, _checked(config, tests, memory))


def _checked(config: PrepareConfig, paths: Iterable[Path], memory: CheckMemory) -> dict[Path, SoundCheck]:
    if config.engine == "local":
        return check_sounds(paths, memory, config.channel, decode_limits(config))
    from r1_aqa.data.by_ray import check_by_ray

    paths = list(dict.fromkeys(paths))
    return sound_checks(paths, *check_by_ray(config, paths, memory))


def decode_limits(config: PrepareConfig) -> DecodeLimits:
    """Return what decoding one sound may take."""
    return DecodeLimits(seconds=config.decode_seconds, megabytes=config.decode_megabytes)


def split_recordings(
    questions: Sequence[Question], share: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Return training and validation questions; no recording is in both."""
    # Whole recordings: with questions about one clip on both sides validation would be too easy.
    group = group_recordings(questions)
    groups = sorted({group[str(question.audio)] for question in questions})
    random.Random(seed).shuffle(groups)
    chosen = set(groups[: round(len(groups) * share)])
    return (
        [q for q in questions if group[str(q.audio)] not in chosen],
        [q for q in questions if group[str(q.audio)] in chosen],
    )


def group_recordings(questions: Sequence[Question]) -> dict[str, str]:
    """Return the group of each recording, named by one of its: a question's sounds are all in one group."""
    parent: dict[str, str] = {}

    def top(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for question in questions:
        first, *further = (top(str(audio)) for audio in question.audios)
        for name in further:
            parent[top(name)] = top(first)
    return {name: top(name) for name in parent}


def _avqa_rows(
    config: PrepareAVQAConfig, media: MediaIndex, report: Report, decoder: DecodePool
) -> Iterator[tuple[str, Question]]:
    for where, row in iterate_rows(config.source):
        try:
            if isinstance(row, QuestionError):
                raise row
            if why := visual_reason(row, config.relations, config.visual_words):
                report.skip(where, why)
                continue
            audio = media.find(str(row["video_name"]))
            if audio is None:
                text = f"missing: no file of {row['video_name']} in {config.audio}"
                report.skip(where, Reason(MISSING, text))
                continue
            if audio.suffix.lower() in VIDEO:
                folder = config.out.parent / f"{config.out.stem}-audio"
                audio = extract_sound(audio, folder, config.channel, decoder=decoder)
            yield where, parse_avqa(row, audio)
        except AudioError as error:
            report.skip(where, Reason(CORRUPT, f"unreadable: {error}"))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            report.skip(where, Reason(ROW, f"cannot be read: {error}"))


def _write(config: PrepareConfig, kept: list[Question], report: Report) -> None:
    training, validation = split_recordings(kept, config.validation_share, config.seed)
    report.kept, report.validation = len(training), len(validation)
    # The report comes first: it says why, if no question is left.
    path = _report_file(config)
    summary = report.summary(str(config.out), config.max_seconds)
    if not is_stream(config.out):
        write_json(path, summary)
    if config.json is not None:
        write_json(config.json, summary)
    if not kept:
        if not report.skipped:
            raise ValueError(f"{config.source} has no questions")
        first = report.skipped[0]
        raise ValueError(
            f"no question of {config.source} is left ({report.counts()}){_see(config, path)}; "
            f"the first: {first.where}: {first.message}"
        )
    for is_bad, line in report.lines():
        logger.log(logging.WARNING if is_bad else logging.INFO, "%s", line)
    write_questions(config.out, [replace(q, split=q.split or "train") for q in training])
    if validation:
        write_questions(_validation_file(config), [replace(q, split="validation") for q in validation])
    logger.info(
        "%d questions kept, %d for validation, %d skipped (%s)%s",
        len(training),
        len(validation),
        len(report.skipped),
        report.counts(),
        _see(config, path),
    )


def _report_file(config: PrepareConfig) -> Path:
    return config.out.with_suffix(".report.json")


def _validation_file(config: PrepareConfig) -> Path:
    return config.out.with_suffix(".validation.jsonl")


def _see(config: PrepareConfig, path: Path) -> str:
    return "" if is_stream(config.out) else f"; report: {path}"
