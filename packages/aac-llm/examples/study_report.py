"""Read the runs of `study.py`: one table, one figure, and what difference they could have seen.

    python packages/aac-llm/examples/study_report.py runs/aac-study

Writes `report.md`, `report.json` and `report.png` there. Each arm is compared with the recipe (Whisper's with
the frozen CED, sampled captions once corrected with what they were), clip by clip, in the runs with the same
seed, which heard the same recordings. The score is the F1 of the sound events that
a caption names; CIDEr-D stands beside it.

The intervals are of seeds and field recordings together (pigeonhole bootstrap, arXiv:0712.1111): both are
drawn with replacement, and a clip counts as often as its seed and each of its recordings were drawn. Clips
that share a recording are not taken for independent. They hold for all arms of a table at once (Bonferroni).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from aac_llm.data.manifest import Clip, read_manifest
from aac_llm.figures import BLACK, arms_of, in_style, save_figure
from aac_llm.files import write_atomically, write_json
from aac_llm.metrics import score_captions
from aac_llm.metrics.events import event_scores
from audio_common.strict_json import read_object
from scipy.stats import norm
from study_data import NUM_FOLDS, held_out_pairs, tagged_classes

REFERENCE = "recipe"
REFERENCES = {"whisper-frozen": "encoder-frozen", "sampled-corrected": "sampled"}
"""Arms that are compared with another than the recipe."""
TITLES = {
    "whisper-frozen": "Whisper's encoder - CED, both frozen",
    "encoder-full": "encoder trained whole",
    "decoder-frozen": "decoder frozen",
    "bridge-linear": "projection, no Q-Former",
    "bridge-clip": "Q-Former over the clip",
    "encoder-frozen": "encoder frozen",
}
"""Names of arms in the figure; others have their own."""
DRAWS = 2000
LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Scores:
    """What the runs of one arm and size score, a row for each seed and clip."""

    f1: np.ndarray
    """`(rows,)` event F1."""
    cider_d: np.ndarray
    """`(rows,)`."""
    seeds: np.ndarray
    """`(rows,)`."""
    recordings: list[tuple[str, ...]]
    """Field recordings of each row."""
    kinds: list[str]
    """`single`, `seen pair` or `held-out pair`."""
    is_tagged: np.ndarray
    """`(rows,)` bool: the encoder's pretraining heard all of the clip's classes."""

    def rows(self, seeds: Sequence[int]) -> np.ndarray:
        """Return which rows are of these seeds."""
        return np.isin(self.seeds, seeds)


@dataclass(frozen=True)
class Difference:
    """An arm against its reference."""

    arm: str
    size: str
    seeds: int
    f1: float
    cider_d: float
    difference: float
    """Of event F1, arm - reference."""
    low: float
    high: float
    better: int
    """Seeds in which the arm is better."""


# Statistics


def pigeonhole(
    values: np.ndarray,
    seeds: np.ndarray,
    recordings: Sequence[Sequence[str]],
    level: float,
    draws: int = DRAWS,
) -> tuple[float, float]:
    """Return the interval of a mean over clips that share seeds and field recordings.

    Args:
        values: `(clips,)`.
        seeds: `(clips,)`; one seed is not drawn.
        recordings: of each clip, one or more.
        level: confidence of the interval.
        draws: number of draws.
    """
    rng = np.random.default_rng(0)
    weights = _draw(np.unique(seeds, return_inverse=True)[1], draws, rng)
    names = sorted({name for own in recordings for name in own})
    place = {name: index for index, name in enumerate(names)}
    drawn = _draw(np.arange(len(names)), draws, rng)
    for part in range(max(map(len, recordings))):
        has = np.array([len(own) > part for own in recordings])
        index = np.array([place[own[part]] for own in recordings if len(own) > part])
        weights[:, has] *= drawn[:, index]
    weights = weights[weights.any(axis=1)]  # it may happen that no clip has both its seed and its recordings
    means = (weights * values).sum(1) / weights.sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draw(group: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often the group of each row was drawn, `(draws, rows)`."""
    count = int(group.max()) + 1
    if count == 1:
        return np.ones((draws, len(group)))
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)[:, group].astype(float)


def detectable(standard_error: float, level: float = LEVEL, power: float = POWER) -> float:
    """Return the smallest true difference that a test of this level finds with this power.

    >>> round(detectable(1.0), 2)
    2.8
    """
    return float(standard_error * (norm.ppf((1 + level) / 2) + norm.ppf(power)))


# Runs


def read_runs(out: Path) -> list[dict]:
    """Read all runs that are there."""
    return [read_object(path) for path in sorted((out / "runs").glob("*.json"))]


def score_runs(runs: Sequence[dict], clips: Callable[[int, str], dict[str, Clip]], key: str) -> Scores:
    """Score the captions `key` of the runs of an arm."""
    tables = []
    for run in sorted(runs, key=lambda run: run["seed"]):
        fold, captions = run["seed"] % NUM_FOLDS, run[key]
        own = clips(fold, run["split"])
        names = sorted(captions)
        texts, references = [captions[name] for name in names], [own[name].captions for name in names]
        f1 = event_scores(texts, references).clips["f1"]
        cider = score_captions(texts, references, metrics=("cider",)).clips["cider_d"]
        tables += [
            (value, other, run["seed"], tuple(own[name].extra["recordings"]), *describe(own[name], fold))
            for name, value, other in zip(names, f1, cider, strict=True)
        ]
    f1, cider, seeds, recordings, kinds, tagged = zip(*tables, strict=True)
    return Scores(
        np.array(f1), np.array(cider), np.array(seeds), list(recordings), list(kinds), np.array(tagged)
    )


def describe(clip: Clip, fold: int) -> tuple[str, bool]:
    """Return a clip's kind, and whether the encoder's pretraining heard all of its classes."""
    events = frozenset(clip.extra["events"])
    kind = (
        "single" if len(events) == 1 else "held-out pair" if events in held_out_pairs(fold) else "seen pair"
    )
    return kind, events <= set(tagged_classes(fold))


def compare(arm: str, size: str, own: Scores, reference: Scores, level: float) -> Difference:
    """Compare an arm with its reference on the seeds that both have."""
    seeds = sorted(set(own.seeds) & set(reference.seeds))
    mine, theirs = own.rows(seeds), reference.rows(seeds)
    differences = own.f1[mine] - reference.f1[theirs]
    recordings = [names for names, chosen in zip(own.recordings, mine, strict=True) if chosen]
    low, high = pigeonhole(differences, own.seeds[mine], recordings, level)
    by_seed = [differences[own.seeds[mine] == seed].mean() for seed in seeds]
    return Difference(
        arm=arm,
        size=size,
        seeds=len(seeds),
        f1=float(own.f1[mine].mean()),
        cider_d=float(own.cider_d[mine].mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        better=int(sum(difference > 0 for difference in by_seed)),
    )


def plan(
    runs: Sequence[dict], clips: Callable[[int, str], dict[str, Clip]], seeds: int, level: float
) -> float:
    """Return the difference that so many seeds can see, by pilots that differ in their seed alone."""
    pilots = [run for run in runs if run["arm"] == REFERENCE and run["split"] == "validation"]
    rates = {run["rate"] for run in pilots if run["seed"] > min(one["seed"] for one in pilots)}
    scores = [score_runs([run], clips, "captions") for run in pilots if run["rate"] in rates]
    errors = []
    for number, one in enumerate(scores):
        for other in scores[:number]:
            low, high = pigeonhole(one.f1 - other.f1, np.zeros(len(one.f1)), one.recordings, 0.6827)
            spread = float((one.f1 - other.f1).mean())
            errors.append(np.hypot((high - low) / 2, spread))
    return detectable(float(np.sqrt(np.mean(np.square(errors)) / seeds)), level) if errors else float("nan")


# Report


def write_report(out: Path) -> None:
    """Write table, numbers and figure of the runs that are there."""
    runs = read_runs(out)
    manifests: dict[int, list[Clip]] = {}

    def clips(fold: int, split: str) -> dict[str, Clip]:
        if fold not in manifests:
            manifests[fold] = read_manifest(out / "data" / f"fold-{fold}" / "manifest.jsonl")
        return {clip.id: clip for clip in manifests[fold] if clip.split == split}

    tested = [run for run in runs if run["split"] == "test"]
    if not any(run["arm"] == REFERENCE for run in tested):
        raise SystemExit(f"{out} has no test run of the recipe yet: let study.py go on")
    found = {
        (arm, size): score_runs(own, clips, "captions")
        for arm, size in sorted({(run["arm"], run["size"]) for run in tested})
        if (own := [run for run in tested if (run["arm"], run["size"]) == (arm, size)])
    }
    corrections = [read_object(path) for path in sorted((out / "corrections").glob("*.json"))]
    if corrections:
        found["sampled", "all"] = score_runs([run for run in tested if "sampled" in run], clips, "sampled")
        found["sampled-corrected", "all"] = score_runs(corrections, clips, "corrected")
    level = 1 - (1 - LEVEL) / max(1, len({arm for arm, _ in found} - {REFERENCE}))
    rows = [
        compare(arm, size, scores, found[REFERENCES.get(arm, REFERENCE), size], level)
        for (arm, size), scores in sorted(found.items(), key=lambda one: (one[0][1], one[0][0] != REFERENCE))
        if (REFERENCES.get(arm, REFERENCE), size) in found
    ]
    seeds = max(row.seeds for row in rows)
    least = plan(runs, clips, seeds, level)
    text = "\n".join(
        [
            *table(rows, runs),
            "",
            *kinds_table(found),
            "",
            f"Planned, by the runs that chose the learning rates: {seeds} seeds can see a difference of "
            f"{least:.3f} with a probability of {POWER}.",
        ]
    )
    write_atomically(out / "report.md", text + "\n")
    write_json(
        out / "report.json", {"rows": [asdict(row) for row in rows], "detectable": least, "level": level}
    )
    draw([row for row in rows if row.arm != REFERENCE], out / "report.png")
    print(text)


def table(rows: Sequence[Difference], runs: Sequence[dict]) -> list[str]:
    """Return the comparison as lines of Markdown."""
    lines = [
        "| training clips | arm | learning rate | updates | seeds | event F1 | CIDEr-D "
        "| F1 against the reference | better |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        named = REFERENCE if row.arm.startswith("sampled") else row.arm
        run = next(r for r in runs if (r["arm"], r["size"], r["split"]) == (named, row.size, "test"))
        difference = (
            "" if row.arm == REFERENCE else f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        )
        better = "" if row.arm == REFERENCE else f"{row.better} of {row.seeds}"
        lines.append(
            f"| {row.size} | {row.arm} | {run['rate']:g} | {run['updates']} | {row.seeds} | {row.f1:.3f} "
            f"| {row.cider_d:.3f} | {difference} | {better} |"
        )
    return lines


def kinds_table(found: dict[tuple[str, str], Scores]) -> list[str]:
    """Return event F1 by the kind of clip, as lines of Markdown."""
    kinds = ("single", "seen pair", "held-out pair")
    lines = [
        "| training clips | arm | single | seen pair | held-out pair | classes of the tagger | others |",
        "|---|---|---|---|---|---|---|",
    ]
    for (arm, size), scores in sorted(found.items(), key=lambda one: (one[0][1], one[0][0] != REFERENCE)):
        values = [scores.f1[[own == kind for own in scores.kinds]].mean() for kind in kinds]
        values += [scores.f1[scores.is_tagged].mean(), scores.f1[~scores.is_tagged].mean()]
        lines.append(f"| {size} | {arm} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return lines


@in_style()
def draw(rows: Sequence[Difference], picture: Path) -> None:
    """Draw each arm's difference from the recipe with its interval."""
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(row.arm for row in rows))
    figure = Figure(figsize=(7, 0.42 * len(arms) + 1.4))
    axis = figure.subplots()
    for shift, size in enumerate(dict.fromkeys(row.size for row in rows)):
        own = [row for row in rows if row.size == size]
        heights = [arms.index(row.arm) + 0.2 * shift - 0.1 for row in own]
        middle = [row.difference for row in own]
        ends = arms_of(middle, [(row.low, row.high) for row in own])
        label = {"all": "all training clips", "quarter": "a quarter of the recordings"}[size]
        axis.errorbar(middle, heights, xerr=ends, fmt="os"[shift], label=label)
    axis.axvline(0, color=BLACK, linewidth=0.9)
    axis.set_yticks(range(len(arms)), [TITLES.get(arm, arm) for arm in arms])
    axis.set_ylim(len(arms) - 0.4, -0.6)
    axis.set_title("Difference in event F1, simultaneous 95 % intervals (0: no difference)")
    axis.set_xlabel("event F1, right: better than the reference")
    axis.grid(visible=False, axis="y")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save_figure(figure, picture)


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of study.py")
    write_report(parser.parse_args().out)


if __name__ == "__main__":
    main()
