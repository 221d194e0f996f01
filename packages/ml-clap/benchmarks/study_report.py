"""Tables and figures of docs/esc10.md and docs/tuxpaint.md from the runs that `study.py` keeps.

    python packages/ml-clap/benchmarks/study_report.py --esc10 data/esc10 --tuxpaint data/tuxpaint \\
        --text_encoder e5-small --out runs/study --figures docs

Intervals are bootstraps in two directions at once: seeds are drawn, and recordings (events) are drawn, with
all that belongs to them; a run of one arm is always drawn with the run of the other arm that has its seed, so
that differences are paired. The smallest difference that a study could have seen is 2.8 of its standard
errors: what a test at 5 % finds in four studies of five.

Runs that are not there yet are left out; of a seed that has one arm only neither takes part.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_clap.data.languages import LANGUAGES
from ml_clap.evaluators.figures import plot_bars, plot_heat_map, save_figure
from ml_clap.evaluators.results import Estimate
from study import ARMS, FOLDS, Data, Run, choose_rates, prepare, split

DRAWS = 2000
NAMES = [code[:3] for code in LANGUAGES]


@dataclass(frozen=True)
class Outcomes:
    """What queries of all seeds came to, one row a query; NaN where a language has none."""

    seeds: np.ndarray
    """`(rows,)`"""
    clusters: np.ndarray
    """`(rows,)` recordings or events."""
    values: dict[str, np.ndarray]
    """Arm -> `(rows, languages)` in percent."""


def draw_weights(outcomes: Outcomes) -> np.ndarray:
    """Return `(draws, rows)`: how often each row counts when seeds and clusters are drawn."""
    generator = np.random.default_rng(0)
    weights = np.ones((DRAWS, len(outcomes.seeds)))
    for units in (outcomes.seeds, outcomes.clusters):
        _, place = np.unique(units, return_inverse=True)
        count = place.max() + 1
        weights *= generator.multinomial(count, np.full(count, 1 / count), size=DRAWS)[:, place]
    return weights


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return `(draws, columns)` means of `(rows, columns)`, and last the mean over columns."""
    there = ~np.isnan(values)
    means = weights @ np.where(there, values, 0.0) / np.maximum(weights @ there, 1e-12)
    return np.concatenate([means, means.mean(axis=1, keepdims=True)], axis=1)


def estimates(values: np.ndarray, weights: np.ndarray) -> tuple[list[Estimate], np.ndarray]:
    """Return the mean of each column and of all, with 95 % intervals; and their standard errors."""
    drawn = weighted_mean(values, weights)
    (means,) = weighted_mean(values, np.ones((1, len(values))))
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    found = [Estimate(*each) for each in zip(means.tolist(), zip(low, high, strict=True), strict=True)]
    return found, np.nanstd(drawn, axis=0)


def print_arms(title: str, outcomes: Outcomes, columns: Sequence[str]) -> dict[str, list[Estimate]]:
    """Print a table of both arms and of their paired difference."""
    weights = draw_weights(outcomes)
    count = len(np.unique(outcomes.seeds))
    print(f"\n{title}: {count} seeds an arm, {len(np.unique(outcomes.clusters))} recordings or events\n")
    print("| | " + " | ".join([*columns, "mean"]) + " |\n|---" + "|---" * (len(columns) + 1) + "|")
    found = {arm: estimates(values, weights)[0] for arm, values in outcomes.values.items()}
    for arm, row in found.items():
        print(f"| {arm} | " + " | ".join(f"{one.value:.1f}" for one in row[:-1]) + f" | {row[-1]} |")
    gain, errors = estimates(outcomes.values["ten"] - outcomes.values["english"], weights)
    print("| difference | " + " | ".join(map(str, gain)) + " |")
    print("| could have seen | " + " | ".join(f"{2.8 * error:.1f}" for error in errors) + " |")
    return found | {"difference": gain}


# ESC-10


def class_scores(
    data: Data, kept: Mapping[str, np.ndarray], rows: Sequence[int], which: Sequence[int]
) -> np.ndarray:
    """Return cosines `(languages, clips, labels)` of clips with classes, by some of their captions."""
    row_of = {pair: row for row, pair in enumerate(data.texts)}
    captions = {clip.label: clip.captions for clip in data.clips}
    scores = []
    for code in LANGUAGES:
        classes = [
            kept["text"][[row_of[captions[label][code][k], code] for k in which]].mean(axis=0)
            for label in labels_of(data)
        ]
        unit = np.stack([vector / np.linalg.norm(vector) for vector in classes])
        scores.append(kept["audio"][list(rows)] @ unit.T)
    return np.stack(scores)


def labels_of(data: Data) -> list[str]:
    """Return ESC-10's labels."""
    return sorted({clip.label or "" for clip in data.clips})


def is_right(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return percent `(clips, languages)`: 100 where the true class scores highest."""
    return 100.0 * (scores.argmax(axis=2) == truth).T


@dataclass(frozen=True)
class Judgement:
    """ESC-10 judged in several ways, which differ in the prompts and in a label's offset."""

    outcomes: dict[str, Outcomes]
    """By way of judging."""
    truth: np.ndarray
    """`(rows,)` the true label of each row."""
    chosen: dict[str, np.ndarray]
    """Arm -> `(rows, languages)` the label chosen by the test's prompts."""


WAYS = ("test prompts", "training prompts", "centred", "inverted softmax")


def judge_esc10(data: Data, out: Path, rates: Mapping[str, float]) -> Judgement:
    """Judge the test clips of every pair of runs.

    `centred` takes off each label's score its mean over the validation clips, without their
    labels; `inverted softmax` divides by the mean over them of exp(score / 0.05) instead. Both undo what
    makes a label a hub.
    """
    labels = labels_of(data)
    rows: dict[str, dict[str, list[np.ndarray]]] = {way: {arm: [] for arm in ARMS} for way in WAYS}
    chosen: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    seeds, clusters, truths = [], [], []
    for seed, fold in seeds_there("esc10", out, rates):
        _, validation, test = split("esc10", data.clips, fold)
        truth = np.array([labels.index(data.clips[i].label or "") for i in test])
        seeds += [seed] * len(test)
        clusters += [data.clips[i].extra["recording"] for i in test]
        truths.append(truth)
        for arm in ARMS:
            kept = load("esc10", arm, seed, out, rates)
            scores, base = (class_scores(data, kept, part, [3]) for part in (test, validation))
            chosen[arm].append(scores.argmax(axis=2).T)
            judged = {
                "test prompts": scores,
                "training prompts": class_scores(data, kept, test, [0, 1, 2]),
                "centred": scores - base.mean(axis=1, keepdims=True),
                "inverted softmax": scores / 0.05 - np.log(np.exp(base / 0.05).mean(axis=1, keepdims=True)),
            }
            for way, found in judged.items():
                rows[way][arm].append(is_right(found, truth))
    where = np.array(seeds), np.array(clusters)
    return Judgement(
        {
            way: Outcomes(*where, {a: np.concatenate(v) for a, v in arms.items()})
            for way, arms in rows.items()
        },
        np.concatenate(truths),
        {arm: np.concatenate(found) for arm, found in chosen.items()},
    )


def report_esc10(data: Data, out: Path, rates: Mapping[str, float], figures: Path) -> None:
    """Print the tables of ESC-10 and draw its figures."""
    judged = judge_esc10(data, out, rates)
    for way, outcomes in judged.outcomes.items():
        found = print_arms(f"ESC-10, accuracy, {way}", outcomes, NAMES)
        if way == WAYS[0]:
            series = {arm: [one.value for one in found[arm]] for arm in ARMS}
            errors = {arm: [one.interval or (0.0, 0.0) for one in found[arm]] for arm in ARMS}
            names = ["English" if arm == "english" else "English + 10 %" for arm in ARMS]
            title = "Zero-shot accuracy, ESC-10"
            panels = {title: dict(zip(names, series.values(), strict=True))}
            bars = plot_bars(
                panels, [*NAMES, "mean"], {title: dict(zip(names, errors.values(), strict=True))}, "%"
            )
            save_figure(bars, figures / "esc10.png")
    print_classes(data, judged, figures)


def print_classes(data: Data, judged: Judgement, figures: Path) -> None:
    """Print the share of each class recognized in each way, and what it is taken for."""
    labels, table, names = labels_of(data), [], []
    for arm in ARMS:
        for way in WAYS:
            values = judged.outcomes[way].values[arm].mean(axis=1)
            table.append([float(values[judged.truth == k].mean()) for k in range(len(labels))])
            names.append(f"{arm}, {way}")
    print("\n| recognized (%) | " + " | ".join(labels) + " |\n|---" + "|---" * len(labels) + "|")
    for name, row in zip(names, table, strict=True):
        print(f"| {name} | " + " | ".join(f"{value:.0f}" for value in row) + " |")
    for arm in ARMS:
        counts = np.zeros((len(labels), len(labels)))
        for language in judged.chosen[arm].T:
            np.add.at(counts, (judged.truth, language), 1)
        share = 100 * counts / counts.sum(axis=1, keepdims=True)
        taken = ", ".join(
            f"{label} {value:.0f}" for label, value in zip(labels, share.mean(axis=0), strict=True)
        )
        print(f"\n{arm}: chosen in % of all clips (10 would be fair): {taken}")
        for k, label in enumerate(labels):
            other = int(np.argmax(np.where(np.arange(len(labels)) == k, -1, share[k])))
            print(f"  {label}: {share[k, k]:.0f} % right, {share[k, other]:.0f} % taken for {labels[other]}")
    by_seed = judged.outcomes[WAYS[0]]
    for arm in ARMS:
        lowest = [
            min(
                float(by_seed.values[arm][(by_seed.seeds == s) & (judged.truth == k)].mean())
                for k in range(10)
            )
            for s in np.unique(by_seed.seeds)
        ]
        print(f"{arm}: the weakest class of each seed {', '.join(f'{value:.0f}' for value in lowest)} %")
    title = "Recognized by class, mean of eight languages"
    save_figure(plot_heat_map(table, names, labels, title, "%"), figures / "esc10-classes.png")


# Tux Paint


def report_tuxpaint(study: str, data: Data, out: Path, rates: Mapping[str, float]) -> None:
    """Print text-to-audio recall of what was held out."""
    row_of = {pair: row for row, pair in enumerate(data.texts)}
    codes = LANGUAGES if study == "events" else LANGUAGES[1:]
    found: dict[int, dict[str, list[np.ndarray]]] = {k: {arm: [] for arm in ARMS} for k in (1, 10)}
    seeds, clusters, sizes = [], [], []
    for seed, fold in seeds_there(study, out, rates):
        _, _, test = split(study, data.clips, fold)
        among = np.array(test) if study == "events" else np.arange(len(data.clips))
        seeds += [seed] * len(test)
        clusters += test
        sizes.append(len(among))
        for arm in ARMS:
            kept = load(study, arm, seed, out, rates)
            ranks = np.full((len(test), len(codes)), np.nan)
            for place, i in enumerate(test):
                for column, code in enumerate(codes):
                    if code in data.clips[i].captions:
                        row = row_of[data.clips[i].captions[code][0], code]
                        scores = kept["audio"][among] @ kept["text"][row]
                        ranks[place, column] = (scores >= scores[among == i]).sum() - 1
            for k, by_arm in found.items():
                by_arm[arm].append(np.where(np.isnan(ranks), np.nan, 100.0 * (ranks < k)))
    for k, by_arm in found.items():
        values = {arm: np.concatenate(parts) for arm, parts in by_arm.items()}
        outcomes = Outcomes(np.array(seeds), np.array(clusters), values)
        chance = 100 * k * np.mean(1 / np.array(sizes))
        print_arms(
            f"Tux Paint, {study} held out, R@{k}, chance {chance:.1f}", outcomes, [c[:3] for c in codes]
        )


# Runs


def load(study: str, arm: str, seed: int, out: Path, rates: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Return the embeddings of a run."""
    with np.load(out / Run(study, arm, seed % FOLDS[study], rates[arm], seed).name) as kept:
        return dict(kept)


def seeds_there(study: str, out: Path, rates: Mapping[str, float]) -> list[tuple[int, int]]:
    """Return (seed, fold) of the seeds that have both arms."""
    return [
        (seed, seed % FOLDS[study])
        for seed in range(50)
        if all((out / Run(study, arm, seed % FOLDS[study], rates[arm], seed).name).exists() for arm in ARMS)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--esc10", type=Path, required=True)
    parser.add_argument("--tuxpaint", type=Path, required=True)
    parser.add_argument("--text_encoder", default="intfloat/multilingual-e5-small")
    parser.add_argument("--out", type=Path, required=True, help="the folder of study.py")
    parser.add_argument("--figures", type=Path, required=True)
    arguments = parser.parse_args()
    esc10 = prepare("esc10", arguments.esc10, arguments.text_encoder)
    rates = choose_rates(esc10, arguments.out)
    print(f"learning rates: {rates}")
    report_esc10(esc10, arguments.out, rates, arguments.figures)
    tuxpaint = prepare("tuxpaint", arguments.tuxpaint, arguments.text_encoder)
    for study in ("events", "descriptions"):
        if seeds_there(study, arguments.out, rates):
            report_tuxpaint(study, tuxpaint, arguments.out, rates)


if __name__ == "__main__":
    main()
