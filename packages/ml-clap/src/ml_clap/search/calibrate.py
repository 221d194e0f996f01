"""Calibrate a model's scores on data that it was not trained on: `ml-clap calibrate`.

A sound is a right answer of a text if the text is one of its captions, word for word, or if it has the same
label as the text's clip; every other sound is wrong. See `calibration.py` for what the rate means.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from audio_common.config import Channel
from audio_common.prefetch import AudioSpan, BadFile
from audio_common.workers import DecodeLimits

from ml_clap.config.calibrate import CalibrateConfig
from ml_clap.data.languages import choose_among
from ml_clap.data.manifest import BadRow, Clip, read_split
from ml_clap.files import write_json
from ml_clap.lock import hold_outputs, sole_writer
from ml_clap.search.calibration import (
    CALIBRATION_FILE,
    Calibration,
    CalibrationError,
    LanguageCalibration,
    calibrate_scores,
    false_positive_rate,
    write_calibration,
)
from ml_clap.tables import count_of, print_skipped, print_table, show_progress, tables_beside_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_clap.models.dual_encoder import DualEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredLanguage:
    """The cosines of one language's texts with the sounds of some clips."""

    scores: np.ndarray
    """(texts, sounds) float32."""
    right: np.ndarray
    """(texts, sounds) bool: which sounds are right answers."""
    owner: list[int]
    """Number of each text's clip."""


@dataclass(frozen=True)
class HeldOut:
    """How a language's threshold held on other clips."""

    num_texts: int
    num_windows: int
    """Sounds of which none is right: the size of the archive."""
    threshold: float
    false_positives: float
    """Share of the texts for which some wrong sound scores at least the threshold."""
    low: float
    """Of its 95 % interval, which resamples clips."""
    high: float
    found: float
    """Share of the texts whose right sound scores at least the threshold."""


@dataclass(frozen=True)
class CalibrationReport:
    """What a run made."""

    calibration: Calibration
    held_out: dict[str, HeldOut]
    """By language; empty where no split was held out."""
    bad_files: list[BadFile]
    bad_rows: list[BadRow]


def score_clips(
    model: DualEncoder,
    clips: Sequence[Clip],
    languages: Sequence[str],
    *,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    channel: Channel | None = None,
    decode_limits: DecodeLimits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, ScoredLanguage], list[BadFile]]:
    """Return by language the scores of all captions with all sounds, and the sounds that cannot be read."""
    from ml_clap.models.encoding import encode_files, encode_texts

    embedded, bad = encode_files(
        model,
        [AudioSpan(clip.audio) for clip in clips],
        seconds_per_batch=seconds_per_batch,
        num_workers=num_workers,
        channel=channel,
        decode_limits=decode_limits,
        progress=progress,
    )
    there = [number for number in range(len(clips)) if number not in {file.index for file in bad}]
    audio = embedded[there].numpy()
    scored = {}
    for language in languages:
        owner = [number for number in there for _ in clips[number].captions.get(language, ())]
        texts = [text for number in there for text in clips[number].captions.get(language, ())]
        if not texts:
            raise CalibrationError(f"no clip that can be read has captions in {language}")
        captions = [set(clips[number].captions.get(language, ())) for number in there]
        labels = [clips[number].label for number in there]
        right = np.array(
            [
                [
                    text in own or number == place or (label is not None and label == clips[number].label)
                    for place, own, label in zip(there, captions, labels, strict=True)
                ]
                for number, text in zip(owner, texts, strict=True)
            ]
        )
        scored[language] = ScoredLanguage(
            encode_texts(model, texts, language).numpy() @ audio.T, right, owner
        )
    return scored, bad


def try_held_out(
    scored: ScoredLanguage, calibrated: LanguageCalibration, *, num_samples: int = 200, seed: int = 0
) -> HeldOut:
    """Measure on other clips how often a threshold lets something wrong through, and something right."""
    size = int((~scored.right).sum(axis=1).min())
    if size < 1:
        raise CalibrationError("the held-out split has a text for which every sound is right")
    threshold, _ = calibrated.threshold(size)
    rates = false_positive_rate(np.where(scored.right, -np.inf, scored.scores), threshold, size)
    found = np.where(scored.right, scored.scores, -np.inf).max(axis=1) >= threshold
    owner = np.asarray(scored.owner)
    clips = [rates[owner == number] for number in np.unique(owner)]
    generator = np.random.default_rng(seed)
    drawn = [
        np.concatenate([clips[place] for place in generator.integers(0, len(clips), len(clips))]).mean()
        for _ in range(num_samples)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return HeldOut(
        num_texts=len(rates),
        num_windows=size,
        threshold=threshold,
        false_positives=float(rates.mean()),
        low=float(low),
        high=float(high),
        found=float(found.mean()),
    )


def calibrate(config: CalibrateConfig) -> CalibrationReport:
    """Score the clips, find the thresholds, print and write them.

    Raises:
        CalibrationError: there are too few texts, or no place to write to.
    """
    from ml_clap.models.checkpoint import find_model
    from ml_clap.models.loading import load_model

    bad_rows: list[BadRow] = []
    clips = read_split(config.data, config.split, language=config.language, bad_rows=bad_rows)
    clips = clips[: config.limit]
    others = [] if config.held_out is None else read_split(config.data, config.held_out)
    languages = _choose_languages(clips, config.languages)
    found = find_model(config.model)
    out = config.out or _place_in(found)
    model = load_model(found, device=config.device)
    bad: list[BadFile] = []

    def score(some: Sequence[Clip]) -> dict[str, ScoredLanguage]:
        with show_progress("Encoding clips") as progress:
            scored, unread = score_clips(
                model,
                some,
                languages,
                seconds_per_batch=config.seconds_per_batch,
                num_workers=config.num_workers,
                channel=config.channel,
                decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
                progress=progress,
            )
        bad.extend(unread)
        return scored

    calibrated = {
        code: calibrate_scores(
            one.scores,
            one.right,
            one.owner,
            config.false_positives,
            num_samples=config.bootstrap,
            seed=config.seed,
        )
        for code, one in score(clips).items()
    }
    held_out = {}
    if others:
        held_out = {code: try_held_out(one, calibrated[code]) for code, one in score(others).items()}
    calibration = Calibration(
        model=str(config.model),
        fingerprint=model.fingerprint(),
        data=f"{config.data}, split {config.split or 'all'}",
        false_positives=config.false_positives,
        languages=calibrated,
    )
    report = CalibrationReport(calibration, held_out, bad, bad_rows)
    with sole_writer(out):
        write_calibration(out, calibration)
    with tables_beside_json(config.json):
        print_calibration(report, out)
    if config.json is not None:
        write_json(config.json, report)
    return report


def calibrate_verb(config: CalibrateConfig) -> int:
    """Calibrate, and return 1 if files or lines had to be skipped."""
    with hold_outputs(config.json):
        report = calibrate(config)
    return int(bool(report.bad_files or report.bad_rows))


def _choose_languages(clips: Sequence[Clip], wanted: Sequence[str]) -> list[str]:
    try:
        return choose_among({language for clip in clips for language in clip.captions}, wanted)
    except ValueError as e:
        raise CalibrationError(str(e)) from e


def _place_in(model: str | Path) -> Path:
    if not Path(model).is_dir():
        raise CalibrationError(f"{model} is no folder to keep the calibration in: name a file with --out")
    return Path(model) / CALIBRATION_FILE


def print_calibration(report: CalibrationReport, out: Path) -> None:
    """Print each language's threshold for the largest archive, and how it held on other clips."""
    rows = []
    for code, one in report.calibration.languages.items():
        point = one.points[-1]
        row = [code, f"{one.num_texts:,}", f"{point.num_windows:,}", f"{point.threshold:.3f}"]
        rows.append([*row, f"{point.low:.3f}-{point.high:.3f}", f"{100 * point.found:.1f}"])
    rate = 100 * report.calibration.false_positives
    print_table(
        f"Thresholds for {rate:g} % false positives",
        ["language", "texts", "windows", "threshold", "95 %", "found %"],
        rows,
        f"found: the share of texts whose right sound scores at least the threshold. Written to {out}",
    )
    if report.held_out:
        rows = []
        for code, held in report.held_out.items():
            row = [code, f"{held.num_texts:,}", f"{held.num_windows:,}", f"{100 * held.false_positives:.1f}"]
            rows.append([*row, f"{100 * held.low:.1f}-{100 * held.high:.1f}", f"{100 * held.found:.1f}"])
        print_table(
            "The same thresholds on the clips held out",
            ["language", "texts", "windows", "false %", "95 %", "found %"],
            rows,
        )
    print_skipped([file.reason for file in report.bad_files])
    if report.bad_rows:
        print(f"{count_of(len(report.bad_rows), 'line')} of the manifest skipped")
