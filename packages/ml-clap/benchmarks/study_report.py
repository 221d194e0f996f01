"""Tables and figures of docs/esc10.md and docs/tuxpaint.md from the runs that `study.py` keeps.

    python packages/ml-clap/benchmarks/study_report.py --esc10 data/esc10 --tuxpaint data/tuxpaint \\
        --out runs/study --docs docs

The tables are written between two marks of each page, the figures beside them.

Intervals are bootstraps in two directions at once: seeds are drawn, and recordings (events) are drawn, with
all that belongs to them; a run of one arm is always drawn with the run of the other arm that has its seed, so
that differences are paired. The smallest difference that a study could have seen is 2.8 of its standard
errors: what a test at 5 % finds in four studies of five.

Runs that are not there yet are left out; of a seed that has one arm only neither takes part.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from ml_clap.data.languages import LANGUAGES
from ml_clap.evaluators.charts import Series, plot_estimates, plot_heat_map
from ml_clap.evaluators.results import Estimate
from ml_clap.figures import save_figure
from study import ARMS, FOLDS, Data, Run, read_rates, read_study, split

DRAWS = 2000
MARKS = ("<!-- study_report: begin -->", "<!-- study_report: end -->")
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
    unit: str
    """What the clusters are."""


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
    """Print a table of both arms and of their paired difference, with what could have been seen."""
    weights = draw_weights(outcomes)
    seeds, clusters = (len(np.unique(units)) for units in (outcomes.seeds, outcomes.clusters))
    print(
        f"\n{title}; {seeds} seeds an arm, {len(outcomes.seeds)} judgements of {clusters} {outcomes.unit}:\n"
    )
    print("| | " + " | ".join([*columns, "mean"]) + " |\n|---" + "|---" * (len(columns) + 1) + "|")
    found = {arm: estimates(values, weights)[0] for arm, values in outcomes.values.items()}
    for arm, row in found.items():
        print(f"| {arm} | " + " | ".join(f"{one.value:.1f}" for one in row[:-1]) + f" | {row[-1]} |")
    gain, errors = estimates(outcomes.values["ten"] - outcomes.values["english"], weights)
    print("| difference | " + " | ".join(map(str, gain)) + " |")
    print("| could have seen | " + " | ".join(f"{2.8 * error:.1f}" for error in errors) + " |")
    return found | {"difference": gain}


# ESC-10


def class_vectors(data: Data, kept: Mapping[str, np.ndarray], which: Sequence[int]) -> np.ndarray:
    """Return unit vectors `(languages, labels, dim)` of the classes, by some of their captions."""
    row_of = {pair: row for row, pair in enumerate(data.texts)}
    captions = {clip.label: clip.captions for clip in data.clips}
    rows = [
        [[row_of[captions[label][code][k], code] for k in which] for label in labels_of(data)]
        for code in LANGUAGES
    ]
    means = kept["text"][np.array(rows)].mean(axis=2)
    return means / np.linalg.norm(means, axis=2, keepdims=True)


def class_scores(
    data: Data, kept: Mapping[str, np.ndarray], clips: Sequence[int], which: Sequence[int]
) -> np.ndarray:
    """Return cosines `(languages, clips, labels)` of clips with classes, by some of their captions."""
    return np.einsum("nd,lcd->lnc", kept["audio"][list(clips)], class_vectors(data, kept, which))


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
    text_alone: dict[str, np.ndarray]
    """Arm -> `(labels,)` percent: test descriptions that are nearest to those of their class in training."""


WAYS = ("test prompts", "training prompts", "centred", "inverted softmax")


def judge_esc10(data: Data, out: Path, rates: Mapping[str, float]) -> Judgement:
    """Judge the test clips of every pair of runs.

    `centred` takes off each label's score its mean over the validation clips, without looking at their
    labels; `inverted softmax` divides by the mean over them of exp(score / 0.05) instead. Both undo what
    makes a label a hub.
    """
    labels = labels_of(data)
    rows: dict[str, dict[str, list[np.ndarray]]] = {way: {arm: [] for arm in ARMS} for way in WAYS}
    chosen: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    alone: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
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
            among, asked = class_vectors(data, kept, [0, 1, 2]), class_vectors(data, kept, [3])
            nearest = np.einsum("lad,lbd->lab", asked, among).argmax(axis=2)  # (languages, labels)
            alone[arm].append(100.0 * (nearest == np.arange(len(labels))).mean(axis=0))
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
            way: Outcomes(*where, {a: np.concatenate(v) for a, v in arms.items()}, "recordings")
            for way, arms in rows.items()
        },
        np.concatenate(truths),
        {arm: np.concatenate(found) for arm, found in chosen.items()},
        {arm: np.mean(found, axis=0) for arm, found in alone.items()},
    )


def report_esc10(data: Data, out: Path, rates: Mapping[str, float], figures: Path) -> None:
    """Print the tables of ESC-10 and draw its figures."""
    judged = judge_esc10(data, out, rates)
    found = print_arms("Accuracy (%), chance 10", judged.outcomes[WAYS[0]], NAMES)
    series = {
        name: Series(
            values=[one.value for one in found[arm]],
            intervals=[one.interval for one in found[arm]],
            chances=[100 / len(labels_of(data))] * len(found[arm]),
        )
        for name, arm in zip(("English", "English + 10 %"), ARMS, strict=True)
    }
    title = "Zero-shot accuracy on ESC-10 by the captions in training"
    figure = plot_estimates({title: series}, [*NAMES, "mean"], "accuracy, %")
    save_figure(figure, figures / "esc10.png")
    print("\nMean of eight languages (%), judged in other ways:\n")
    print("| | english | ten | difference |\n|---|---|---|---|")
    for way, outcomes in judged.outcomes.items():
        weights = draw_weights(outcomes)
        arms = [estimates(outcomes.values[arm], weights)[0][-1] for arm in ARMS]
        gain, _ = estimates(outcomes.values["ten"] - outcomes.values["english"], weights)
        print(f"| {way} | {arms[0]} | {arms[1]} | {gain[-1]} |")
    print_classes(data, judged, figures)


def print_classes(data: Data, judged: Judgement, figures: Path) -> None:
    """Print the share of each class recognized in each way, and what it is taken for."""
    labels, table, names = labels_of(data), [], []
    for arm in ARMS:
        for way in WAYS:
            values = judged.outcomes[way].values[arm].mean(axis=1)
            table.append([float(values[judged.truth == k].mean()) for k in range(len(labels))])
            names.append(f"{arm}, {way}")
        table.append(judged.text_alone[arm].tolist())
        names.append(f"{arm}, text alone")
    print("\nRecognized of each class (%), mean of eight languages:\n")
    print("| | " + " | ".join(labels) + " |\n|---" + "|---" * len(labels) + "|")
    for name, row in zip(names, table, strict=True):
        print(f"| {name} | " + " | ".join(f"{value:.0f}" for value in row) + " |")
    print("\nBy the test's prompts (chosen: in % of all clips, 10 would be fair):\n")
    print("| | " + " | ".join(labels) + " |\n|---" + "|---" * len(labels) + "|")
    for arm in ARMS:
        counts = np.zeros((len(labels), len(labels)))
        for language in judged.chosen[arm].T:
            np.add.at(counts, (judged.truth, language), 1)
        share = 100 * counts / counts.sum(axis=1, keepdims=True)
        others = np.where(np.eye(len(labels), dtype=bool), -1.0, share)
        print(f"| {arm}, chosen | " + " | ".join(f"{value:.0f}" for value in share.mean(axis=0)) + " |")
        taken = [f"{labels[int(row.argmax())]} {row.max():.0f} %" for row in others]
        print(f"| {arm}, most taken for | " + " | ".join(taken) + " |")
    title = "ESC-10: recognized by class, mean of eight languages; guessing has 10 %"
    save_figure(plot_heat_map(table, names, labels, title, "% recognized"), figures / "esc10-classes.png")


# Tux Paint


def report_tuxpaint(study: str, data: Data, out: Path, rates: Mapping[str, float]) -> None:
    """Print text-to-audio recall of what was held out."""
    codes = LANGUAGES if study == "events" else LANGUAGES[1:]
    ranks: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    english: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    seeds, clusters, sizes = [], [], []
    for seed, fold in seeds_there(study, out, rates):
        _, _, test = split(study, data.clips, fold)
        among = test if study == "events" else list(range(len(data.clips)))
        seeds += [seed] * len(test)
        clusters += test
        sizes.append(len(among))
        for arm in ARMS:
            kept = load(study, arm, seed, out, rates)
            ranks[arm].append(rank_events(data, kept, test, among, codes))
            english[arm].append(rank_events(data, kept, test, among, LANGUAGES[:1]))
    for k in (1, 10):
        chance = 100 * k * np.mean(1 / np.array(sizes))
        title = f"{study.capitalize()} held out, R@{k} (%), chance {chance:.1f}"
        values = {arm: recall(np.concatenate(found), k) for arm, found in ranks.items()}
        outcomes = Outcomes(np.array(seeds), np.array(clusters), values, "events")
        print_arms(title, outcomes, [code[:3] for code in codes])
        if study == "descriptions":
            heard = [f"{arm} {recall(np.concatenate(found), k).mean():.1f}" for arm, found in english.items()]
            print(f"\nThe same events' English descriptions, which trained: {', '.join(heard)}")


def rank_events(
    data: Data,
    kept: Mapping[str, np.ndarray],
    test: Sequence[int],
    among: Sequence[int],
    codes: Sequence[str],
) -> np.ndarray:
    """Return `(events, languages)`: sounds that come before the right one; NaN without a description."""
    row_of = {pair: row for row, pair in enumerate(data.texts)}
    ranks = np.full((len(test), len(codes)), np.nan)
    for place, i in enumerate(test):
        for column, code in enumerate(codes):
            if code in data.clips[i].captions:
                text = kept["text"][row_of[data.clips[i].captions[code][0], code]]
                scores = kept["audio"][list(among)] @ text
                ranks[place, column] = (scores >= scores[list(among).index(i)]).sum() - 1
    return ranks


def recall(ranks: np.ndarray, k: int) -> np.ndarray:
    """Return 100 where the right one is among the first k, else 0, and NaN where there was no query."""
    return np.where(np.isnan(ranks), np.nan, 100.0 * (ranks < k))


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


def read_data(name: str, folder: Path) -> Data:
    """Return the clips and captions of a study, without the text encoder's vectors."""
    clips, waveforms, texts = read_study(name, folder)
    return Data(clips, waveforms, texts, features=None, model=None)  # type: ignore[arg-type]


def write_block(page: Path, text: str) -> None:
    """Put text between the two marks of a page."""
    before, _, rest = page.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    page.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--esc10", type=Path, required=True)
    parser.add_argument("--tuxpaint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the folder of study.py")
    parser.add_argument("--docs", type=Path, required=True, help="where esc10.md and tuxpaint.md are")
    arguments = parser.parse_args()
    out, rates = arguments.out, read_rates(arguments.out)
    with redirect_stdout(StringIO()) as esc10:
        print(f"Learning rates chosen: {', '.join(f'{arm} {rate:g}' for arm, rate in rates.items())}.")
        report_esc10(read_data("esc10", arguments.esc10), out, rates, arguments.docs)
    data = read_data("tuxpaint", arguments.tuxpaint)
    with redirect_stdout(StringIO()) as tuxpaint:
        for study in ("descriptions", "events"):
            if seeds_there(study, out, rates):
                report_tuxpaint(study, data, out, rates)
    for name, text in (("esc10.md", esc10), ("tuxpaint.md", tuxpaint)):
        write_block(arguments.docs / name, text.getvalue().strip() + "\n")


if __name__ == "__main__":
    main()
