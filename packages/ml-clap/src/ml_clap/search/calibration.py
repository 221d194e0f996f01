"""From which score on a hit is an answer: thresholds for a stated rate of false positives, by language.

The rate is of queries: of those whose right answer is *not* among n windows, the share for which some wrong
window scores at least the threshold, so that something is shown where "nothing found" would be right. For
n = 1 it is the share of wrong pairs of a text and a sound. The larger the archive, the better its best wrong
window; so a threshold is kept for each of several n, and the one for an archive lies on the line between its
neighbours over log n. Beyond the largest n of the calibration the last line goes on: an extrapolation, which
is said with the answer.

The rate for n out of the N wrong sounds of a text is exact, and not sampled: if r of them score at least t,
then n drawn without replacement all score less with the probability C(N - r, n) / C(N, n). It is averaged
over texts. Intervals resample clips, each with all its texts: those of one clip are no independent queries.

A calibration is of one model, whose fingerprint it carries; of texts, not of sounds or composed queries; and
of the kind of sound and text that it was made with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.files import write_json

CALIBRATION_FILE = "calibration.json"
"""In the model's folder."""
FORMAT = 1


class CalibrationError(ValueError):
    """A calibration that cannot be used, or not be made."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What holds for archives of one size."""

    num_windows: int
    threshold: float
    low: float
    """Of the threshold's 95 % interval."""
    high: float
    found: float
    """Share of the texts whose right sound scores at least the threshold, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class LanguageCalibration:
    """The thresholds of one language."""

    num_texts: int
    num_clips: int
    """Clips with texts in it."""
    num_right_pairs: int
    num_wrong_pairs: int
    points: tuple[Point, ...]
    """By rising size."""

    def threshold(self, num_windows: int) -> tuple[float, bool]:
        """Return the threshold for an archive of a size, and whether it is extrapolated."""
        sizes = np.log([point.num_windows for point in self.points])
        values = np.array([point.threshold for point in self.points])
        size = math.log(max(num_windows, 1))
        if size <= sizes[-1] + 1e-9:
            return float(np.interp(size, sizes, values)), False
        # From a quarter of the largest size on: the last two points alone are close together.
        first = int(np.searchsorted(sizes, sizes[-1] - math.log(4.0) - 1e-9))
        first = min(first, len(sizes) - 2)
        slope = (values[-1] - values[first]) / (sizes[-1] - sizes[first])
        return min(1.0, float(values[-1] + max(slope, 0.0) * (size - sizes[-1]))), True


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `calibration.json` holds."""

    format: int = FORMAT
    model: str
    fingerprint: str
    data: str
    """The manifest that it was made with, and its split."""
    false_positives: float
    """The rate that was asked for, 0 to 1."""
    languages: Mapping[str, LanguageCalibration]


def calibrate_scores(
    scores: np.ndarray,
    right: np.ndarray,
    owner: Sequence[int],
    rate: float,
    *,
    num_samples: int = 200,
    seed: int = 0,
) -> LanguageCalibration:
    """Find the thresholds of one language.

    Args:
        scores: cosine of each text with each sound, (texts, sounds).
        right: which sounds are right answers of a text, (texts, sounds) bool; at least one each.
        owner: the clip of each text.
        rate: of false positives, between 0 and 1.
        num_samples: bootstrap draws for the intervals.
        seed: of the bootstrap.

    Raises:
        CalibrationError: there are too few texts or sounds for the rate.
    """
    num_texts = len(scores)
    if num_texts * rate < 1:
        raise CalibrationError(
            f"{num_texts} texts are too few for a rate of {rate:g}: at least {math.ceil(1 / rate)} are needed"
        )
    wrong = np.where(right, -np.inf, scores)
    num_wrong = (~right).sum(axis=1)
    sizes = _sizes(int(num_wrong.min()))
    best_right = np.where(right, scores, -np.inf).max(axis=1)
    clips = np.unique(np.asarray(owner))
    texts_of = [np.flatnonzero(np.asarray(owner) == clip) for clip in clips]
    generator = np.random.default_rng(seed)
    weights = np.zeros((num_samples, num_texts))
    for drawn in weights:
        for place in generator.integers(0, len(clips), len(clips)):
            drawn[texts_of[place]] += 1
    points = []
    for size in sizes:
        steps = _steps(wrong, num_wrong, size, 4 * rate)
        threshold = steps.solve(np.ones(num_texts), rate)
        spread = [steps.solve(drawn, rate) for drawn in weights]
        low, high = np.percentile(spread, [2.5, 97.5]) if spread else (threshold, threshold)
        points.append(
            Point(
                num_windows=size,
                threshold=threshold,
                low=float(low),
                high=float(high),
                found=float((best_right >= threshold).mean()),
            )
        )
    return LanguageCalibration(
        num_texts=num_texts,
        num_clips=len(clips),
        num_right_pairs=int(right.sum()),
        num_wrong_pairs=int(num_wrong.sum()),
        points=tuple(points),
    )


def false_positive_rate(wrong: np.ndarray, threshold: float, num_windows: int) -> np.ndarray:
    """Return for each text the chance that one of `num_windows` wrong sounds scores at least a threshold.

    Args:
        wrong: scores (texts, sounds), -inf where a sound is right.
        threshold: the least score of a hit.
        num_windows: at most as many as a text has wrong sounds.
    """
    num_wrong = np.isfinite(wrong).sum(axis=1)
    above = (wrong >= threshold).sum(axis=1)
    return 1.0 - np.exp(_log_none_drawn(num_wrong, above, num_windows))


def _sizes(most: int) -> list[int]:
    """Return the sizes of archives to calibrate for: powers of two, and the largest one."""
    if most < 2:
        raise CalibrationError(
            "at least three clips with different texts are needed: two wrong sounds a text"
        )
    return sorted({*(2**power for power in range(most.bit_length()) if 2**power <= most), most})


@dataclass(frozen=True)
class _Steps:
    """By how much the rate of false positives rises as the threshold falls past a score of a text."""

    scores: np.ndarray
    """Falling."""
    heights: np.ndarray
    """In one text's rate."""
    texts: np.ndarray
    """Whose score it is."""

    def solve(self, weights: np.ndarray, rate: float) -> float:
        """Return the least threshold at which the weighted mean rate is at most `rate`."""
        total = np.cumsum(self.heights * (weights / weights.sum())[self.texts])
        # All scores before `place` may be let through; the one at it may not.
        place = int(np.searchsorted(total, rate + 1e-12, side="right"))
        if place >= len(self.scores):
            return float(self.scores[-1])
        return float(np.nextafter(self.scores[place], np.float32(2.0)))


def _steps(wrong: np.ndarray, num_wrong: np.ndarray, size: int, most: float) -> _Steps:
    """Return the steps for `size` wrong sounds, from the highest score to where the mean passes `most`."""
    texts = np.broadcast_to(np.arange(len(wrong))[:, None], wrong.shape)
    values = -np.sort(-wrong.astype(np.float32), axis=1)
    # A text's r-th best score is let through together with the r - 1 before it.
    above = np.arange(1, values.shape[1] + 1)
    chances = 1.0 - np.exp(_log_none_drawn(num_wrong[:, None], above[None], size))
    finite = np.isfinite(values)
    scores, heights, texts = values[finite], np.diff(chances, axis=1, prepend=0.0)[finite], texts[finite]
    order = np.argsort(-scores, kind="stable")
    order = order[: 1 + int(np.searchsorted(np.cumsum(heights[order]) / len(wrong), most))]
    return _Steps(scores[order], heights[order], texts[order])


def _log_none_drawn(total: np.ndarray, above: np.ndarray, size: int) -> np.ndarray:
    """Return log of C(total - above, size) / C(total, size): that none of those above is drawn."""
    from scipy.special import gammaln

    left = np.asarray(total - above, np.float64)
    whole = np.asarray(total, np.float64)
    possible = left >= size
    safe = np.where(possible, left, float(size))
    value = gammaln(safe + 1) - gammaln(safe - size + 1) - gammaln(whole + 1) + gammaln(whole - size + 1)
    return np.where(possible, np.minimum(value, 0.0), -np.inf)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON."""
    write_json(path, calibration)


def read_calibration(path: Path, fingerprint: str) -> Calibration:
    """Read a calibration of the model with a fingerprint.

    Raises:
        CalibrationError: it is of another model, or the file is none.
        FileNotFoundError: there is no such file.
    """
    record = read_object(path)
    if record.get("format") != FORMAT:
        raise CalibrationError(f"{path}: this version reads format {FORMAT}, got {record.get('format')!r}")
    try:
        languages = {
            str(code): LanguageCalibration(
                **{**values, "points": tuple(_point(one) for one in values["points"])}
            )
            for code, values in record["languages"].items()
        }
        calibration = Calibration(**{**record, "languages": languages})
        if not all(language.points for language in languages.values()):
            raise ValueError("a language has no points")
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise CalibrationError(f"{path} is no calibration ({e}): `ml-clap calibrate` makes one") from e
    if calibration.fingerprint != fingerprint:
        raise CalibrationError(
            f"{path} is of another model (fingerprint {calibration.fingerprint}, this one's is "
            f"{fingerprint}): "
            "run `ml-clap calibrate` again, or search with --threshold none"
        )
    return calibration


def _point(values: Mapping[str, Any]) -> Point:
    point = Point(**values)
    numbers = (point.threshold, point.low, point.high, point.found)
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers):
        raise ValueError("a threshold is no number")
    if not isinstance(point.num_windows, int) or point.num_windows < 1:
        raise ValueError(f"num_windows is {point.num_windows!r}")
    return point
