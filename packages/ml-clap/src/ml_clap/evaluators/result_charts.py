"""Charts of what evaluations found: retrieval and accuracy by language, what classes are taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml_clap.evaluators.chance import guess
from ml_clap.evaluators.charts import HeatMap, Series, plot_estimates, plot_heat_map, plot_heat_maps
from ml_clap.evaluators.results import DIRECTIONS, Interval, RetrievalReport, ZeroShotReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_retrieval(report: RetrievalReport) -> Figure:
    """Draw R@1 and R@10 of every language with interval and chance, a panel for each direction."""
    results = {**report.languages} | ({"average": report.average} if len(report.languages) > 1 else {})
    chances = _guess_all(report)
    panels = {
        title: {
            label: Series(
                values=[getattr(direction(result), name) for result in results.values()],
                intervals=[direction(result).intervals.get(name) for result in results.values()],
                chances=[chances[code][_field(title)][name] for code in results],
            )
            for label, name in {"R@1": "r1", "R@10": "r10"}.items()
        }
        for title, direction in DIRECTIONS.items()
    }
    title = f"Retrieval by language, {report.num_clips:,} clips"
    return plot_estimates(panels, list(results), "% of the queries", title=title)


def plot_languages(report: RetrievalReport) -> Figure:
    """Draw heat maps: each language's metrics above chance, and the first hits that each two have in common.

    The second is left out where languages cannot be compared caption by caption, or there is only one.
    """
    metrics = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "r50": "R@50", "map10": "mAP@10"}
    results = {**report.languages} | ({"average": report.average} if len(report.languages) > 1 else {})
    values = [
        [getattr(direction(result), name) for direction in DIRECTIONS.values() for name in metrics]
        for result in results.values()
    ]
    chance = _guess_all(report)["average"]
    values.append([chance[_field(title)][name] for title in DIRECTIONS for name in metrics])
    maps = [
        HeatMap(
            values=values,
            rows=[*results, "chance"],
            columns=[*metrics.values(), *metrics.values()],
            title=f"Retrieval by language, {report.num_clips:,} clips",
            groups=tuple(DIRECTIONS),
        )
    ]
    if report.consistency is not None:
        found, names = report.consistency, list(report.languages)
        title = f"First {max(found.overlap)} hits in common, {found.num_queries:,} captions"
        maps.append(HeatMap(values=found.overlap_by_pair, rows=names, columns=names, title=title))
    return plot_heat_maps(maps, "%")


def _field(title: str) -> str:
    return title.lower().replace(" ", "_")


def _guess_all(report: RetrievalReport) -> dict[str, dict[str, dict[str, float]]]:
    """Return what guessing has in each language, and, by the name `average`, in their mean."""
    found = {code: guess(result) for code, result in report.languages.items()}
    some = next(iter(found.values()))
    mean = {
        direction: {name: sum(one[direction][name] for one in found.values()) / len(found) for name in names}
        for direction, names in some.items()
    }
    return found | {"average": mean}


def plot_zero_shot(report: ZeroShotReport) -> Figure:
    """Draw a heat map of the share of each class that was recognized in each language, beside accuracies."""
    columns = list(next(iter(report.languages.values())).recall)
    values = [[result.recall[label] for label in columns] for result in report.languages.values()]
    rows = [
        f"{code}  {_percent(result.accuracy, result.interval)}" for code, result in report.languages.items()
    ]
    if len(rows) > 1 and report.average is not None:
        values.append([sum(column) / len(column) for column in zip(*values, strict=True)])
        rows.append(f"average  {_percent(report.average, report.average_interval)}")
    title = (
        f"Zero-shot accuracy by language and class\n{report.num_clips:,} sounds; {_say_chance(report)}; "
        "in brackets 95 % intervals"
    )
    return plot_heat_map(values, rows, columns, title, "% recognized")


def plot_confusion(report: ZeroShotReport) -> Figure:
    """Draw a heat map of what the sounds of each class are taken for, the mean of all languages."""
    tables = [np.array(result.confusion, float) for result in report.languages.values()]
    counts = tables[0].sum(axis=1)
    there = np.flatnonzero(counts)  # a class without sounds is confused with nothing
    shares = 100.0 * np.mean(tables, axis=0)[there] / counts[there, None]
    several = f", mean of {len(tables)} languages" if len(tables) > 1 else f", {next(iter(report.languages))}"
    found = HeatMap(
        values=shares.tolist(),
        rows=[f"{report.labels[row]} ({counts[row]:.0f})" for row in there],
        columns=report.labels,
        title=f"What each class is taken for{several}\n{report.num_clips:,} sounds; {_say_chance(report)}",
        axes=("taken for", "class (sounds)"),
    )
    return plot_heat_maps([found], "% of the class's sounds")


def _say_chance(report: ZeroShotReport) -> str:
    return f"guessing has {100 / len(report.labels):.1f} %"


def _percent(value: float, interval: Interval | None) -> str:
    return f"{value:.1f} %" if interval is None else f"{value:.1f} % ({interval[0]:.0f}-{interval[1]:.0f})"
