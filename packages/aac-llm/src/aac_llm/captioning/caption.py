"""The verb `caption`: files, folders, manifests and shards to a file of captions."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audio_common.prefetch import BadFile

from aac_llm.bulk.places import remove
from aac_llm.captioning.groups import caption_groups
from aac_llm.captioning.loading import load_captioner, load_corrector, warn_of_length
from aac_llm.captioning.maker import CaptionMaker
from aac_llm.captioning.run import CaptionRun
from aac_llm.config.caption import CaptionConfig
from aac_llm.data.journal import Journal, describe_settings
from aac_llm.data.predictions import NO_SOUND, Prediction, unfinished_note
from aac_llm.data.sounds import find_sounds, name_bad
from aac_llm.files import is_stream
from aac_llm.lock import hold_outputs
from aac_llm.models.run_folder import resolve_model
from aac_llm.models.silence import SILENCE_DBFS
from aac_llm.output import Progress, printable

if TYPE_CHECKING:
    from aac_llm.captioning.captioner import Captioner

logger = logging.getLogger(__name__)

NUM_SHOWN = 5
"""Bad files named on the screen; all are in the report."""


@dataclass(frozen=True)
class CaptionReport:
    """Result of captioning."""

    predictions: list[Prediction]
    """All captions of the output, in order."""
    num_new: int
    """Captions made in this run."""
    num_others: int
    """Captions in the output of sounds that this run was not given."""
    bad_files: list[BadFile]
    bad_rows: list[str]
    """Rows of manifests that could not be read, and why."""
    seconds: float
    """Wall-clock time, after the model was loaded."""


def caption(config: CaptionConfig) -> int:
    """Caption, say what was done, and return 1 if some files or rows could not be read."""
    report = caption_sources(config)
    out = None if config.out is None or is_stream(config.out) else config.out
    if out:
        logger.info("%s", _summary(report, out))
    for line in say_how_heard(report.predictions):
        logger.info("%s", line)
    unfinished = sum(prediction.unfinished for prediction in report.predictions)
    if unfinished:
        logger.warning("%s", unfinished_note(unfinished, len(report.predictions)))
    for row in report.bad_rows[: NUM_SHOWN if out else None]:
        logger.warning("left out: %s", row)
    if report.bad_files:
        place = f", listed in {out}.report.json" if out else ""
        logger.warning("bad files: %s%s:", f"{len(report.bad_files):,}", place)
        # Without a report every one must be named here.
        for file in report.bad_files[: NUM_SHOWN if out else None]:
            logger.warning("  %s", name_bad(file))
    return 1 if report.bad_files or report.bad_rows else 0


def say_how_heard(predictions: Sequence[Prediction]) -> list[str]:
    """Say, a line each, which sounds were heard in windows or not at all, and if no confidence is known."""
    lines = []
    if long_ones := [one for one in predictions if one.parts]:
        first = long_ones[0].parts[0]
        names = [printable(one.id) for one in long_ones[:NUM_SHOWN]]
        more = ", ..." if len(long_ones) > NUM_SHOWN else ""
        lines.append(
            f"{len(long_ones):,} longer than the model was trained on, heard in windows of "
            f"{first.end - first.start:.1f} s of which each overlaps the one before it "
            f"(--max_seconds): {', '.join(names)}{more}"
        )
    if silent := sum(one.caption == NO_SOUND for one in predictions):
        lines.append(
            f"{silent:,} in which nothing can be heard (below {SILENCE_DBFS:.0f} dBFS): {NO_SOUND!r}"
        )
    if any(one.score is not None and one.confidence is None for one in predictions):
        lines.append(
            "captions have a score but no confidence: that is for models that a training with validation "
            "calibrated, and for captions of a search of two or more beams"
        )
    return lines


def caption_sources(config: CaptionConfig, captioner: Captioner | None = None) -> CaptionReport:
    """Caption what `config` names.

    Args:
        config: settings.
        captioner: instead of loading `config.model`.

    Raises:
        FileNotFoundError: a source is not there.
        BusyError: another process is writing `config.out`.
        JournalError: `config.out` has captions made with other settings.
        ValueError: there is nothing to caption.
    """
    with hold_outputs(config.out):
        return _caption_sources(config, captioner)


def _caption_sources(config: CaptionConfig, captioner: Captioner | None) -> CaptionReport:
    bad_rows: list[str] = []
    if config.correct:
        from aac_llm.correction.gate import with_default_detector

        config = replace(config, correction=with_default_detector(config.correction))
    out = None if config.out is None or is_stream(config.out) else config.out
    kept = None if out is None else f"{out.absolute()}.shards"
    sounds = find_sounds(config.files, config.split, language=config.language, problems=bad_rows, kept=kept)
    if captioner is None:
        config = replace(config, model=resolve_model(config.model))
    journal = None
    if out is not None:
        # Before the model is loaded: other settings are told at once.
        journal = Journal(out, describe_settings(config), sounds, overwrite=config.overwrite)
    run = CaptionRun(config, sounds, journal, bad_rows)
    if config.engine == "ray" and captioner is None:
        from aac_llm.captioning.by_ray import caption_by_ray

        began = time.monotonic()
        caption_by_ray(run)
    else:
        captioner = captioner or load_captioner(config)
        warn_of_length(config, captioner.model.trained_seconds)
        began = time.monotonic()
        caption_here(run, CaptionMaker(config, captioner, load_corrector(config)))
    predictions = run.finish()
    if kept is not None:
        remove(kept)
    # An output may hold captions of an earlier command's sounds.
    given = {sound.id for sound in sounds}
    return CaptionReport(
        predictions=predictions,
        num_new=run.num_new,
        num_others=sum(prediction.id not in given for prediction in predictions),
        bad_files=run.bad_files,
        bad_rows=bad_rows,
        seconds=time.monotonic() - began,
    )


def caption_here(run: CaptionRun, maker: CaptionMaker) -> None:
    """Caption what a run lacks, in this process."""
    sounds, done = run.lacking()
    with Progress("Captioning", len(run.sounds), start=len(run.sounds) - len(sounds)) as progress:
        for found in caption_groups(maker, sounds, done):
            run.keep(found.predictions, found.bad_files, found.complaints)
            progress.advance(len(run.sounds) - found.num_left - progress.done)


def _summary(report: CaptionReport, out: Path) -> str:
    old = len(report.predictions) - report.num_new
    others = f", {report.num_others:,} of sounds that were not given" if report.num_others else ""
    return (
        f"{out}: {len(report.predictions):,} captions ({report.num_new:,} new{others}), "
        f"in {report.seconds:,.1f} s" + (f"; {old:,} were there" if old > 0 else "")
    )
