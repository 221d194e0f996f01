"""Tables, power and figure of the runs of study.py, as docs/r1-aqa-study.md has them.

    python packages/r1-aqa/examples/study_report.py runs/aqa-study

Intervals are of seeds and scenes drawn together: two runs on the same scenes, or by the same seed, share what is
easy for them. That is the pigeonhole bootstrap (A. Owen, 2007, arXiv:0712.1111), which is wide rather than narrow.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from audio_common.strict_json import read_object
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
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
    keep: Callable[[Question], bool] = lambda question: True,
) -> Difference | None:
    """Compare (start, arm, reference, split) on the questions to keep; None if no seed has both."""
    found = differences(runs, *names)
    rows = [row for row, question in enumerate(questions) if keep(question)]
    if not found or not rows:
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

    The variance of a seed's difference is that between seeds, beyond what its questions explain, and that of its
    questions, which is less in the test by its number of scenes. Pooled over starts and comparisons.
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


def accuracies(out: Path, runs: Sequence[dict[str, Any]], files: dict[str, list[Question]]) -> list[str]:
    """Return accuracy, silent control and cost of every arm, as lines of Markdown."""
    lines = [
        "| start | arm | rate | updates | processor time, s | seeds | in distribution | with silence | new pairs | three sounds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    shifts = {s: [q.extra["shift"] == s for q in files["test_out"]] for s in ("pair", "three")}
    for start in dict.fromkeys(run["start"] for run in runs):
        for arm, name in NAMES.items():
            own = [run for run in runs if (run["start"], run["arm"]) == (start, arm) and "test_in" in run]
            if not own:
                continue
            out_values = np.stack([run["test_out"] for run in own]).astype(float)
            cells = [
                f"{own[0]['rate']:g}" if arm != "start" else "",
                str(own[0]["updates"] or ""),
                f"{np.median([run['cpu_seconds'] for run in own]):.0f}" if arm != "start" else "",
                str(len(own)),
                f"{100 * np.mean([np.mean(run['test_in']) for run in own]):.1f}",
                f"{100 * np.mean([np.mean(run['silent']) for run in own]):.1f}",
                *(f"{100 * out_values[:, np.array(chosen)].mean():.1f}" for chosen in shifts.values()),
            ]
            lines.append(f"| {start} | {name} | " + " | ".join(cells) + " |")
    return lines


def comparisons(runs: Sequence[dict[str, Any]], files: dict[str, list[Question]]) -> list[Difference]:
    """Return every comparison of the study, in and out of distribution."""
    pairs = [*COMPARED, *((arm, "start") for arm in ("sft", "sft-compute", "grpo"))]
    found = []
    for start in dict.fromkeys(run["start"] for run in runs):
        for arm, reference in pairs:
            for split in ("test_in", "test_out"):
                found.append(compare(runs, files[split], (start, arm, reference, split)))
    return [difference for difference in found if difference]


def by_kind(runs: Sequence[dict[str, Any]], questions: Sequence[Question]) -> list[str]:
    """Return GRPO against fine-tuning of equal computing by the kind of question, as lines of Markdown."""
    lines = ["| start | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for start in dict.fromkeys(run["start"] for run in runs):
        cells = []
        for kind in KINDS:
            names = (start, "grpo", "sft-compute", "test_in")
            cells.append(
                str(compare(runs, questions, names, lambda q, kind=kind: q.extra["kind"] == kind) or "")
            )
        lines.append(f"| {start} | " + " | ".join(cells) + " |")
    return lines


def write_report(out: Path) -> None:
    """Write tables, numbers and figure of the runs that are there."""
    runs = read_runs(out)
    files = {split: read_questions(out / "data" / f"{split}.jsonl") for split in ("test_in", "test_out")}
    tested = [run for run in runs if "test_in" in run]
    if not tested:
        raise SystemExit(f"{out} has no test run yet: let study.py go on")
    found = comparisons(tested, files)
    lines = [
        *accuracies(out, tested, files),
        "",
        "| start | comparison | in distribution | better | out | better |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for one in found:
        if one.split == "test_in":
            other = next(
                d
                for d in found
                if (d.start, d.arm, d.reference, d.split) == (one.start, one.arm, one.reference, "test_out")
            )
            name = f"{NAMES[one.arm]} - {NAMES[one.reference]}"
            lines.append(
                f"| {one.start} | {name} | {one} | {one.better} of {one.seeds} | {other} | {other.better} of {other.seeds} |"
            )
    lines += [
        "",
        "GRPO - SFT of equal computing, by kind of question:",
        "",
        *by_kind(tested, files["test_in"]),
    ]
    lines += ["", *(f"Planned: {read_object(path)}" for path in sorted(out.glob("power-*.json")))]
    write_atomically(out / "report.md", "\n".join(lines) + "\n")
    write_json(out / "report.json", {"comparisons": [vars(one) for one in found]})
    draw(found, out / "report.png")
    print("\n".join(lines))


def draw(found: Sequence[Difference], picture: Path) -> None:
    """Draw GRPO's differences from fine-tuning with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [d for d in found if (d.arm, d.reference) in COMPARED]
    rows = list(dict.fromkeys((d.start, d.reference) for d in shown))
    figure, axis = pyplot.subplots(figsize=(7, 0.5 * len(rows) + 1.3))
    for shift, (split, label) in enumerate(
        (("test_in", "in distribution"), ("test_out", "out of distribution"))
    ):
        own = [d for d in shown if d.split == split]
        heights = [rows.index((d.start, d.reference)) + 0.2 * shift - 0.1 for d in own]
        middle = [100 * d.value for d in own]
        bars = [[100 * (d.value - d.low) for d in own], [100 * (d.high - d.value) for d in own]]
        axis.errorbar(middle, heights, xerr=bars, fmt="os"[shift], capsize=3, label=label)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(rows)), [f"{start}: GRPO - {NAMES[reference]}" for start, reference in rows])
    axis.invert_yaxis()
    axis.set_xlabel("accuracy, points")
    axis.grid(axis="x", alpha=0.3)
    axis.legend()
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format="png")
    pyplot.close(figure)
    write_atomically(picture, content.getvalue())


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of study.py")
    write_report(parser.parse_args().out)


if __name__ == "__main__":
    main()
