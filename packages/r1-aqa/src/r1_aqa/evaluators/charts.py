"""Draw scores: accuracies of all questions, of the controls and by task, with intervals and chance."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1_aqa.figures import BLACK, Interval, arms_of, in_style, save_figure
from r1_aqa.output import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

MOST_GROUPS = 40
"""Groups of a field that are drawn, those with the most questions: more could not be read."""
ROW, EDGE, BELOW = 0.24, 0.4, 0.8
"""Inches of a bar, of a panel's title, and of scale and legend below the last one."""


@dataclass(frozen=True)
class Bar:
    """One accuracy of the picture; all its numbers are from 0 to 1."""

    name: str
    value: float
    interval: Interval
    chance: float


@in_style()
def plot_scores(scores: dict[str, Any], picture: Path) -> None:
    """Draw the strict accuracy of all questions and controls, and a panel for each field that groups them.

    Args:
        scores: see `score_outputs`.
        picture: is replaced.
    """
    from matplotlib.figure import Figure

    panels = {f"Strict accuracy, {scores['num_questions']:,} questions": _bars_of_all(scores)}
    for field, groups in scores["by"].items():
        if len(groups) > 1 or next(iter(groups.values()))["total"] < scores["num_questions"]:
            panels |= _panel_of(field.replace("_", " "), groups)
    heights = [EDGE + ROW * len(bars) for bars in panels.values()]
    figure = Figure(figsize=(7, BELOW + sum(heights)))
    column = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, bars) in zip(column, panels.items(), strict=True):
        _draw_bars(axes, bars)
        axes.set_title(printable(title))
    first = column[0].axvline(scores["first_option"], color=BLACK, linestyle="--", linewidth=0.9)
    chance = column[0].collections[-1]
    labels = ["chance", f"always the first option, {scores['first_option']:.0%}"]
    figure.legend([chance, first], labels, loc="outside lower right", ncols=2)
    column[-1].set_xlim(0, 1.09)  # room for the number beside a full bar
    column[-1].set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20", "40", "60", "80", "100"])
    column[-1].set_xlabel("right answers, % (bars: 95 % interval)")
    save_figure(figure, picture)


def _bars_of_all(scores: dict[str, Any]) -> list[Bar]:
    shuffled = scores.get("shuffled", {})
    rows = {"as asked": scores["strict"]} | scores.get("runs", {})
    if shuffled:
        rows[f"mean of {shuffled['orders']} orders"] = shuffled["mean"]
    names = {"silent": "with silence"}
    return [
        Bar(names.get(name, name), found["value"], (found["low"], found["high"]), scores["chance"])
        for name, found in rows.items()
    ]


def _panel_of(field: str, groups: dict[str, dict[str, Any]]) -> dict[str, list[Bar]]:
    """Return the panel of a field, by its title."""
    shown = sorted(groups, key=lambda name: -groups[name]["total"])[:MOST_GROUPS]
    title = f"By {field}"
    if len(shown) < len(groups):
        title += f", the {len(shown)} largest of {len(groups):,} groups"
        logger.warning("the picture shows %d of %d groups by %s", len(shown), len(groups), field)
    return {title: [_bar_of(name, group) for name, group in groups.items() if name in set(shown)]}


def _bar_of(name: str, group: dict[str, Any]) -> Bar:
    label = f"{printable(name)[:40]} ({group['total']:,})"
    return Bar(label, group["strict"], (group["low"], group["high"]), group["chance"])


def _draw_bars(axes: Axes, bars: list[Bar]) -> None:
    places = range(len(bars))[::-1]
    values = [bar.value for bar in bars]
    axes.barh(places, values, height=0.72, color="C3")
    axes.errorbar(
        values, places, xerr=arms_of(values, [bar.interval for bar in bars]), fmt="none", ecolor=BLACK, lw=1
    )
    for place, bar in zip(places, bars, strict=True):
        # Behind the interval, not on it.
        axes.text(max(bar.value, bar.interval[1]) + 0.012, place, f"{bar.value:.0%}", va="center", fontsize=8)
    axes.set_yticks(places, [bar.name for bar in bars])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.grid(visible=False, axis="y")
    # A question with two options is guessed more often than one with four: every group has its own.
    ends = [(place - 0.42, place + 0.42) for place in places]
    lower, upper = zip(*ends, strict=True)
    axes.vlines([bar.chance for bar in bars], lower, upper, color="C4", linestyle=":", linewidth=2, zorder=4)
