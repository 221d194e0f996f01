"""Tables, power and figure of the runs of study.py, as docs/r1-aqa-study.md has them.

    python packages/r1-aqa/examples/study_report.py runs/aqa-study
    python packages/r1-aqa/examples/study_report.py runs/aqa-study --pilots

Intervals are of seeds and scenes drawn together: two runs on the same scenes, or by the same seed, share what
is easy for them. That is the pigeonhole bootstrap (A. Owen, 2007, arXiv:0712.1111), which is wide rather than
narrow. `--pilots` shows the runs on validation, whose seeds also chose the learning rates.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from audio_common.strict_json import read_object
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.figures import BLACK, arms_of, in_style, save_figure
from r1_aqa.files import write_atomically, write_json

LEVEL, POWER, DRAWS = 0.95, 0.8, 2000
COMPARED = (("grpo", "sft"), ("grpo", "sft-compute"))
NAMES = {
    "start": "the start",
    "sft": "SFT, equal samples",
    "sft-compute": "SFT, equal computing",
    "grpo": "GRPO",
}
KINDS = ("presence", "first", "count", "loudest", "overlap")


@dataclass(frozen=True)
class Difference:
    """One arm against another, on the seeds that both have."""

    start: str
    arm: str
    reference: str
    split: str
    seeds: int
    value: float
    low: float
    high: float
    better: int
    """Seeds in which the arm is better."""

    def __str__(self) -> str:
        return f"{100 * self.value:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


# Statistics


def pigeonhole(values: np.ndarray, scenes: Sequence[str], draws: int = DRAWS) -> tuple[float, float]:
    """Return the interval of the mean of `values`, `(seeds, questions)`, with seeds and scenes drawn anew."""
    rng = np.random.default_rng(0)
    names, member = np.unique(np.asarray(scenes), return_inverse=True)
    sums = np.stack([np.bincount(member, row) for row in values])  # (seeds, scenes)
    counts = np.bincount(member)
    seeds = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=draws)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    means = np.einsum("ds,sc,dc->d", seeds, sums, drawn) / (len(values) * drawn @ counts)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def clustered_variance(values: np.ndarray, scenes: Sequence[str]) -> float:
    """Return the variance of the mean of `values`, `(questions,)`, whose scenes are independent.

    >>> clustered_variance(np.array([1.0, 1.0, 0.0, 0.0]), ["a", "a", "b", "b"])
    0.25
    """
    names, member = np.unique(np.asarray(scenes), return_inverse=True)
    sums = np.bincount(member, values - values.mean())
    return float((sums**2).sum() / len(values) ** 2 * len(names) / (len(names) - 1))


def detectable(standard_error: float, seeds: int) -> float:
    """Return the smallest true difference that so many seeds find with the power `POWER` (two-sided t-test).

    >>> round(detectable(1.0, 5), 2)
    3.72
    """
    t = scipy.stats.t(max(1, seeds - 1))
    return float(standard_error * (t.ppf((1 + LEVEL) / 2) + t.ppf(POWER)))


# Runs


def read_runs(out: Path) -> list[dict[str, Any]]:
    """Return all runs that are there."""
    return [read_object(path) for path in sorted((out / "runs").glob("*.json"))]


def verdicts(runs: Sequence[dict[str, Any]], start: str, arm: str, split: str) -> dict[int, np.ndarray]:
    """Return the verdicts of an arm by seed, each `(questions,)`."""
    own = [run for run in runs if (run["start"], run["arm"]) == (start, arm) and split in run]
    return {run["seed"]: np.asarray(run[split], dtype=float) for run in own}


def differences(
    runs: Sequence[dict[str, Any]], start: str, arm: str, reference: str, split: str
) -> dict[int, np.ndarray]:
    """Return arm - reference of every question, for the seeds that have both."""
    own, other = verdicts(runs, start, arm, split), verdicts(runs, start, reference, split)
    return {seed: own[seed] - other[seed] for seed in sorted(own.keys() & other.keys())}


def compare(
    runs: Sequence[dict[str, Any]],
    questions: Sequence[Question],
    names: tuple[str, str, str, str],
    meant: np.ndarray,
) -> Difference | None:
    """Compare (start, arm, reference, split) on the questions that are meant; None if no seed has both."""
    found = differences(runs, *names)
    rows = np.flatnonzero(meant)
    if not found or not len(rows):
        return None
    values = np.stack([difference[rows] for difference in found.values()])
    low, high = pigeonhole(values, [str(questions[row].extra["scene"]) for row in rows])
    better = int((values.mean(1) > 0).sum())
    return Difference(*names, len(values), float(values.mean()), low, high, better)


# Power


def plan(
    runs: Sequence[dict[str, Any]], scenes: Sequence[str], num_test_scenes: int, seeds: int
) -> dict[str, Any]:
    """Return what so many seeds can see, from runs on validation that differ in their seed alone.

    The variance of a seed's difference is that between seeds, beyond what its questions explain, and that of
    its questions, which is less in the test by its number of scenes. Pooled over starts and comparisons.
    """
    spread, noise = [], []
    for start in sorted({run["start"] for run in runs}):
        for arm, reference in COMPARED:
            rates = {name: chosen_rate(runs, start, name) for name in (arm, reference)}
            own = [run for run in runs if run["arm"] not in rates or run["rate"] == rates[run["arm"]]]
            found = list(differences(own, start, arm, reference, "validation").values())
            if len(found) > 1:
                spread.append(float(np.var([values.mean() for values in found], ddof=1)))
                noise.append(float(np.mean([clustered_variance(values, scenes) for values in found])))
    if not spread:
        raise ValueError("power: no two pilots of one start are there; let study.py make them")
    between = max(0.0, float(np.mean(spread) - np.mean(noise)))
    within = float(np.mean(noise)) * len(set(scenes)) / num_test_scenes
    error = float(np.sqrt((between + within) / seeds))
    return {
        "seeds": seeds,
        "deviation_between_seeds": between**0.5,
        "error_of_one_seed": within**0.5,
        "standard_error": error,
        "detectable": detectable(error, seeds),
        "power": POWER,
        "pilots": len(spread),
    }


def chosen_rate(runs: Sequence[dict[str, Any]], start: str, arm: str) -> float | None:
    """Return the learning rate that pilots of more than one seed have."""
    rates = [
        run["rate"] for run in runs if (run["start"], run["arm"]) == (start, arm) and "validation" in run
    ]
    return max(set(rates), key=rates.count) if rates else None


def write_power(out: Path, seeds: int) -> None:
    """Write the power calculation, once: before the first answer to a test question."""
    path = out / f"power-{seeds}.json"
    if path.is_file():
        return
    scenes = [str(question.extra["scene"]) for question in read_questions(out / "data" / "validation.jsonl")]
    test = {question.extra["scene"] for question in read_questions(out / "data" / "test_in.jsonl")}
    found = plan(read_runs(out), scenes, len(test), seeds)
    write_json(path, found)
    print(
        f"{seeds} seeds can see a difference of {100 * found['detectable']:.1f} points with power {POWER}",
        flush=True,
    )


# Report


@dataclass(frozen=True)
class Tables:
    """The runs to report, and the questions that they answered, by the name of a column."""

    runs: list[dict[str, Any]]
    columns: dict[str, tuple[str, list[Question], np.ndarray]]
    """Name -> split, its questions, and which of them are meant, `(questions,)` bool."""

    def starts(self) -> list[str]:
        """Return the starts that have runs."""
        return list(dict.fromkeys(run["start"] for run in self.runs))

    def accuracy(self, start: str, arm: str, column: str) -> float:
        """Return the mean accuracy of an arm over seeds."""
        split, _, meant = self.columns[column]
        found = verdicts(self.runs, start, arm, split).values()
        return float(np.mean([values[: len(meant)][meant[: len(values)]].mean() for values in found]))


def read_tables(out: Path, *, pilots: bool) -> Tables:
    """Return the runs on the test, or on validation at the chosen rates.

    Raises:
        SystemExit: there are none yet.
    """

    def column(split: str, file: str, keep: Callable[[Question], bool] = lambda question: True) -> Any:
        questions = read_questions(out / "data" / f"{file}.jsonl")
        return split, questions, np.array([keep(question) for question in questions])

    runs = [run for run in read_runs(out) if ("validation" if pilots else "test_in") in run]
    if not runs:
        raise SystemExit(f"{out} has no such run yet: let study.py go on")
    if pilots:
        runs = [run for run in runs if run["rate"] == chosen_rate(runs, run["start"], run["arm"])]
        return Tables(runs, {"validation": column("validation", "validation")})
    return Tables(
        runs,
        {
            "in distribution": column("test_in", "test_in"),
            "with silence": column("silent", "test_in"),
            "new pairs": column("test_out", "test_out", lambda q: q.extra["shift"] == "pair"),
            "three sounds": column("test_out", "test_out", lambda q: q.extra["shift"] == "three"),
        },
    )


def accuracies(tables: Tables) -> list[str]:
    """Return accuracy and cost of every arm, as lines of Markdown."""
    heads = ("start", "arm", "rate", "updates", "processor time, s", "seeds", *tables.columns)
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for start in tables.starts():
        for arm, name in NAMES.items():
            own = [run for run in tables.runs if (run["start"], run["arm"]) == (start, arm)]
            if not own:
                continue
            costs = [run["cpu_seconds"] for run in own if run["device"] == "cpu"]
            cost = f"{np.median(costs):.0f}" if costs else ""
            cells = (f"{own[0]['rate']:g}", str(own[0]["updates"]), cost) if arm != "start" else ("", "", "")
            values = [f"{100 * tables.accuracy(start, arm, column):.1f}" for column in tables.columns]
            lines.append(f"| {' | '.join((start, name, *cells, str(len(own)), *values))} |")
    return lines


def comparisons(tables: Tables) -> list[Difference]:
    """Return every comparison of the study, in all columns but the silent one."""
    pairs = [*COMPARED, *((arm, "start") for arm in NAMES if arm != "start")]
    found = []
    for start in tables.starts():
        for arm, reference in pairs:
            for column, (split, questions, meant) in tables.columns.items():
                if split == "silent":
                    continue
                one = compare(tables.runs, questions, (start, arm, reference, split), meant)
                found += [replace(one, split=column)] if one else []
    return found


def comparison_table(found: Sequence[Difference]) -> list[str]:
    """Return the comparisons as lines of Markdown: points, interval, seeds in which the first is better."""
    columns = list(dict.fromkeys(one.split for one in found))
    lines = [f"| start | comparison | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for key in dict.fromkeys((one.start, one.arm, one.reference) for one in found):
        start, arm, reference = key
        cells = [
            f"{one}, {one.better} of {one.seeds}"
            for one in found
            if (one.start, one.arm, one.reference) == key
        ]
        lines.append(f"| {start} | {NAMES[arm]} - {NAMES[reference]} | {' | '.join(cells)} |")
    return lines


def by_kind(tables: Tables) -> list[str]:
    """Return GRPO against fine-tuning of equal computing by the kind of question, as lines of Markdown."""
    split, questions, _ = next(iter(tables.columns.values()))
    lines = [f"| start | {' | '.join(KINDS)} |", "|---" * (len(KINDS) + 1) + "|"]
    for start in tables.starts():
        cells = []
        for kind in KINDS:
            meant = np.array([question.extra["kind"] == kind for question in questions])
            cells.append(str(compare(tables.runs, questions, (start, *COMPARED[1], split), meant) or ""))
        lines.append(f"| {start} | {' | '.join(cells)} |")
    return lines


def write_report(out: Path, *, pilots: bool = False) -> None:
    """Write tables, numbers and figure of the runs that are there."""
    tables = read_tables(out, pilots=pilots)
    found = comparisons(tables)
    lines = [*accuracies(tables), "", *comparison_table(found), ""]
    lines += ["GRPO - SFT of equal computing, by kind of question:", "", *by_kind(tables), ""]
    for path in sorted(out.glob("power-*.json")):
        planned = read_object(path)
        lines.append(
            f"Planned by {planned['pilots']} comparisons of pilots: {planned['seeds']} seeds can see a "
            f"difference of {100 * planned['detectable']:.1f} points with power {planned['power']}."
        )
    name = "pilots" if pilots else "report"
    write_atomically(out / f"{name}.md", "\n".join(lines) + "\n")
    write_json(out / f"{name}.json", {"comparisons": [asdict(one) for one in found]})
    draw(found, out / f"{name}.png")
    print("\n".join(lines))


@in_style()
def draw(found: Sequence[Difference], picture: Path) -> None:
    """Draw GRPO's differences from fine-tuning with their intervals."""
    from matplotlib.figure import Figure

    shown = [one for one in found if (one.arm, one.reference) in COMPARED]
    rows = list(dict.fromkeys((one.start, one.reference) for one in shown))
    figure = Figure(figsize=(7, 0.45 * len(rows) + 1.4))
    axis = figure.subplots()
    for place, column in enumerate(dict.fromkeys(one.split for one in shown)):
        own = [one for one in shown if one.split == column]
        heights = [rows.index((one.start, one.reference)) + 0.15 * place for one in own]
        middle = [100 * one.value for one in own]
        bars = arms_of(middle, [(100 * one.low, 100 * one.high) for one in own])
        axis.errorbar(middle, heights, xerr=bars, fmt="osD"[place % 3], label=column)
    axis.axvline(0, color=BLACK, linewidth=0.9)
    axis.set_yticks(range(len(rows)), [f"{start}: GRPO - {NAMES[reference]}" for start, reference in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_title(f"Difference in accuracy, {100 * LEVEL:.0f} % intervals (0: no difference)")
    axis.set_xlabel("percentage points, right: GRPO is better")
    axis.grid(visible=False, axis="y")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save_figure(figure, picture)


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of study.py")
    parser.add_argument("--pilots", action="store_true", help="the runs on validation")
    options = parser.parse_args()
    write_report(options.out, pilots=options.pilots)


if __name__ == "__main__":
    main()
