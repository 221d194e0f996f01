"""The quality gate: thresholds of similarity by language, set and measured on what people translated.

A judge's vectors of two languages lie around two centres, apart from one another whatever the texts say, and
texts of one language are alike by that alone. So each language's centre, the mean over the human captions, is
taken off first (J. Libovický et al., On the Language Neutrality of Pre-trained Multilingual Representations,
2020): the similarity is the cosine of what is left. It depends on the two texts and the gate's file alone.

All of it is pure: vectors in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.figures import arms_of, draw_chance, in_style, save_figure
from ml_clap.files import write_json

FORMAT, VERSION = "ml-clap translation gate", 1
NUM_DRAWS = 1000
"""Draws of the bootstrap behind an interval."""
PER_ROW = 40
"""Languages in a row of the picture, at most."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One language: its threshold, and how often pairs of held-out clips were judged rightly."""

    num_pairs: int
    similarity: float
    """Threshold, set on all pairs."""
    accuracy: float
    """Percent, the mean over right and wrong pairs, each judged by thresholds of other clips."""
    interval: tuple[float, float]
    """95 % interval of the accuracy; clips are resampled."""
    false_rejects: float
    """Percent of right pairs that are rejected."""
    false_accepts: float
    """Percent of shuffled pairs that are accepted."""
    ranked_first: float
    """Percent of sources whose right caption is more similar than every other caption of the language."""
    centre: list[float]
    """Mean of the judge's vectors of the language."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What `ml-clap gate` measured with one judge."""

    judge: str
    fingerprint: str
    """Of the judge, its prefix included: its numbers mean nothing to another."""
    source_language: str
    source_centre: list[float]
    languages: dict[str, Measured]

    def similarity(self, source: np.ndarray, target: np.ndarray, language: str) -> np.ndarray:
        """Return the similarity `(n,)` of vectors `(n, dim)` of sources and of their translations.

        A language that was not measured gets the centre of those that were.
        """
        measured = self.languages.get(language)
        centre = measured.centre if measured else np.mean([m.centre for m in self.languages.values()], axis=0)
        left, right = remove_centre(source, self.source_centre), remove_centre(target, centre)
        return np.asarray((left * right).sum(axis=1))

    def threshold(self, language: str) -> float:
        """Return a language's threshold, or the median of all for one that was not measured."""
        if language in self.languages:
            return self.languages[language].similarity
        return float(np.median([measured.similarity for measured in self.languages.values()]))


@dataclass(frozen=True)
class Pairs:
    """Vectors `(n, dim)` of n sources and of their translations by people, and their texts."""

    source: np.ndarray
    target: np.ndarray
    source_texts: Sequence[str]
    target_texts: Sequence[str]


def remove_centre(vectors: np.ndarray, centre: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return vectors `(n, dim)` without their common part, of length one (0 where nothing is left)."""
    left = vectors - np.asarray(centre, vectors.dtype)
    return np.asarray(left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-9))


def best_threshold(right: np.ndarray, wrong: np.ndarray) -> float:
    """Return the threshold with the best mean accuracy over right and wrong pairs, from it on accepted.

    Of several that are equally good, the middle one.
    """
    values = np.unique(np.concatenate([right, wrong]))
    candidates = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, [np.nextafter(values[-1], 2)]])
    false_rejects = np.searchsorted(np.sort(right), candidates) / len(right)
    true_rejects = np.searchsorted(np.sort(wrong), candidates) / len(wrong)
    gain = true_rejects - false_rejects
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    return float(candidates[best[len(best) // 2]])


def shuffle_pairs(pairs: Pairs, num_shuffles: int, rng: np.random.Generator) -> np.ndarray:
    """Return for each source the numbers `(n, num_shuffles)` of wrong captions; equal texts are never wrong.

    Raises:
        ValueError: a source has no caption that is wrong for it.
    """
    rows = []
    for number in range(len(pairs.source_texts)):
        wrong = _wrong_for(pairs, number)
        if not len(wrong):
            raise ValueError(f"all captions are translations of {pairs.source_texts[number]!r}")
        rows.append(rng.choice(wrong, num_shuffles, replace=len(wrong) < num_shuffles))
    return np.stack(rows)


def _wrong_for(pairs: Pairs, number: int) -> np.ndarray:
    source, target = pairs.source_texts[number], pairs.target_texts[number]
    return np.array(
        [
            other
            for other in range(len(pairs.source_texts))
            if pairs.source_texts[other] != source and pairs.target_texts[other] != target
        ],
        int,
    )


def measure(pairs: Pairs, *, num_shuffles: int, num_folds: int, seed: int) -> Measured:
    """Set a language's threshold, and measure it on folds of clips that had no part in setting it.

    Args:
        pairs: one for each clip.
        num_shuffles: wrong captions for each source.
        num_folds: each is judged with centres and threshold of the others.
        seed: of shuffles, folds and interval.
    """
    rng = np.random.default_rng(seed)
    number = len(pairs.source_texts)
    wrong = shuffle_pairs(pairs, num_shuffles, rng)
    folds = rng.permutation(np.arange(number) % num_folds)
    rejected = np.zeros(number)
    accepted = np.zeros((number, num_shuffles))
    first = np.zeros(number)
    for fold in range(num_folds):
        tested = folds == fold
        right_scores, wrong_scores, all_scores = _scores(pairs, wrong, ~tested)
        threshold = best_threshold(right_scores[~tested], wrong_scores[~tested].ravel())
        rejected[tested] = right_scores[tested] < threshold
        accepted[tested] = wrong_scores[tested] >= threshold
        for one in np.flatnonzero(tested).tolist():
            first[one] = all_scores[one, one] > all_scores[one, _wrong_for(pairs, one)].max()
    right_scores, wrong_scores, _ = _scores(pairs, wrong, np.ones(number, bool))
    share = accepted.mean(axis=1)
    means = rng.integers(number, size=(NUM_DRAWS, number))
    draws = 100 - 50 * (rejected[means].mean(axis=1) + share[means].mean(axis=1))
    low, high = np.quantile(draws, (0.025, 0.975))
    return Measured(
        num_pairs=number,
        similarity=best_threshold(right_scores, wrong_scores.ravel()),
        accuracy=100 - 50 * float(rejected.mean() + share.mean()),
        interval=(float(low), float(high)),
        false_rejects=100 * float(rejected.mean()),
        false_accepts=100 * float(share.mean()),
        ranked_first=100 * float(first.mean()),
        centre=pairs.target.mean(axis=0).tolist(),
    )


def _scores(pairs: Pairs, wrong: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return similarities of right pairs (n,), of shuffled ones and of all; centres are of `known` clips."""
    source = remove_centre(pairs.source, pairs.source[known].mean(axis=0))
    target = remove_centre(pairs.target, pairs.target[known].mean(axis=0))
    scores = source @ target.T
    return np.diag(scores), np.take_along_axis(scores, wrong, axis=1), scores


def write_gate(path: Path, gate: Gate) -> None:
    """Write a gate for `read_gate`."""
    write_json(
        path, {"format": FORMAT, "version": VERSION} | {f.name: getattr(gate, f.name) for f in fields(gate)}
    )


def read_gate(path: Path) -> Gate:
    """Read a gate; ValueError if the file is none."""
    record: dict[str, Any] = read_object(path)
    if record.pop("format", None) != FORMAT or record.pop("version", None) != VERSION:
        raise ValueError(f"{path} is no translation gate; `ml-clap gate` makes one")
    try:
        languages = {code: Measured(**measured) for code, measured in record.pop("languages").items()}
        gate = Gate(**record, languages=languages)
        sizes = {len(gate.source_centre), *(len(measured.centre) for measured in languages.values())}
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} is a damaged translation gate: {error}") from error
    if len(sizes) != 1 or not languages:
        raise ValueError(f"{path} is a damaged translation gate: no language, or centres of several sizes")
    return gate


@in_style()
def plot_gate(gate: Gate, path: Path) -> None:
    """Draw each language's accuracy on held-out clips with its interval, best first, in several rows."""
    from matplotlib.figure import Figure

    found = sorted(gate.languages.items(), key=lambda item: -item[1].accuracy)
    num_rows = -(-len(found) // PER_ROW)
    length = -(-len(found) // num_rows)
    figure = Figure(figsize=(max(4.0, 1.2 + 0.21 * length), 0.7 + 2.3 * num_rows))
    for row, axes in enumerate(figure.subplots(num_rows, 1, sharey=True, squeeze=False)[:, 0]):
        shown = found[row * length : (row + 1) * length]
        values = [measured.accuracy for _, measured in shown]
        arms = arms_of(values, [measured.interval for _, measured in shown])
        axes.errorbar(range(len(shown)), values, arms, fmt="o", color="C0", elinewidth=1)
        draw_chance(axes, 50)
        axes.set_xticks(range(len(shown)), [code for code, _ in shown], rotation=90, fontsize=7)
        axes.set_xlim(-0.7, length - 0.3)
        axes.set_ylabel("accuracy, %")
    figure.axes[0].set_title("Right and shuffled pairs judged rightly, by language (95 % intervals)")
    figure.axes[0].legend(loc="lower left")
    save_figure(figure, path)
