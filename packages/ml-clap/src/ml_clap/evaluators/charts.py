"""Charts of results: estimates with intervals and chance, heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_clap.evaluators.results import Interval
from ml_clap.figures import GREY, arms_of, in_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

LARGEST_NUMBERED = 24
"""Columns up to which a heat map's cells carry their numbers."""
MARKERS = "osD^vP"
"""Of series, which a print in grey tells apart by them."""


def check_figure_path(path: Path | None, name: str = "plot") -> None:
    """Refuse a kind of figure that cannot be written, before the work and not after it.

    Args:
        path: of the figure; None: there is none.
        name: of the option, for the message.

    Raises:
        ValueError: listing the kinds there are.
    """
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in kinds:
        raise ValueError(f"{name}: {path} should end in one of {', '.join('.' + kind for kind in kinds)}")


@dataclass(frozen=True, kw_only=True)
class Series:
    """One figure for each name (language), as R@1."""

    values: Sequence[float]
    intervals: Sequence[Interval | None] = ()
    """95 %, one for each value; none if empty."""
    chances: Sequence[float] = ()
    """What guessing has, one for each value; none if empty."""


@in_style()
def plot_estimates(
    panels: Mapping[str, Mapping[str, Series]], names: Sequence[str], label: str, *, title: str = ""
) -> Figure:
    """Draw a row for each name: a dot for each series' value, its interval, and what guessing has.

    Args:
        panels: title -> name of a series -> its values, one for each of `names`.
        names: of the rows (languages), from top to bottom.
        label: what the values are, with their unit.
        title: of all panels.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    num_rows = sum(map(len, panels.values())) / len(panels) * len(names)
    figure = Figure(figsize=(max(6.0, 1.2 + 3.6 * len(panels)), 1.5 + 0.2 * num_rows))
    columns = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (heading, series) in zip(columns, panels.items(), strict=True):
        for place, (name, one) in enumerate(series.items()):
            _draw_series(axes, one, place, len(series), name)
        axes.set(title=heading, xlabel=label)
        axes.grid(visible=False, axis="y")
    columns[0].set_yticks(range(len(names)), names)
    columns[0].set_ylim(len(names) - 0.5, -0.5)
    figure.suptitle(title, x=0.01, ha="left")
    handles, labels = columns[0].get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    if "chance" in found:  # in the legend of no series' colour
        found["chance"] = Line2D([], [], color=GREY, linestyle=":", linewidth=2)
    if len(found) > 1:
        figure.legend(found.values(), found, loc="outside lower center", ncols=len(found))
    return figure


def _draw_series(axes: Axes, series: Series, place: int, count: int, name: str) -> None:
    step = 0.7 / count
    rows = [row + (place - (count - 1) / 2) * step for row in range(len(series.values))]
    arms = arms_of(series.values, series.intervals) if series.intervals else None
    color, marker = f"C{place}", MARKERS[place % len(MARKERS)]
    axes.errorbar(series.values, rows, xerr=arms, fmt=marker, color=color, elinewidth=1.2, label=name)
    if series.chances:
        ends = [(row - step / 2, row + step / 2) for row in rows]
        lower, upper = zip(*ends, strict=True)
        # Of each series in its own colour, and once in the legend.
        axes.vlines(series.chances, lower, upper, color=color, linestyle=":", linewidth=2, label="chance")


@in_style()
def plot_heat_map(
    values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], title: str, label: str
) -> Figure:
    """Draw percentages as colors, rows by columns; with their numbers while there are few columns."""
    return plot_heat_maps([HeatMap(values=values, rows=rows, columns=columns, title=title)], label)


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One heat map of a figure."""

    values: Sequence[Sequence[float]]
    """Percent, rows by columns."""
    rows: Sequence[str]
    columns: Sequence[str]
    title: str
    axes: tuple[str, str] = ("", "")
    """What columns and rows are."""
    groups: tuple[str, ...] = ()
    """Headings of the columns, each of as many; gaps are drawn between them."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        cell = 0.5 if len(self.columns) <= LARGEST_NUMBERED else 0.2
        return 1.3 + cell * len(self.columns), 1.9 + 0.3 * len(self.rows)


@in_style()
def plot_heat_maps(maps: Sequence[HeatMap], label: str) -> Figure:
    """Draw heat maps side by side, with one scale from 0 to 100 %."""
    from matplotlib.figure import Figure

    widths, heights = zip(*(one.size for one in maps), strict=True)
    figure = Figure(figsize=(max(4.5, 1.3 + sum(widths)), max(heights)))
    panels = figure.subplots(1, len(maps), squeeze=False, width_ratios=widths)[0]
    images = [_draw_heat_map(axes, one) for axes, one in zip(panels, maps, strict=True)]
    figure.colorbar(images[-1], ax=list(panels), label=label, aspect=30)
    return figure


def _draw_heat_map(axes: Axes, one: HeatMap) -> AxesImage:
    image = axes.imshow(one.values, vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(one.columns)), one.columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(one.rows)), one.rows)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xlabel=one.axes[0], ylabel=one.axes[1])
    axes.set_title(one.title, pad=20 if one.groups else None)
    width = len(one.columns) // max(1, len(one.groups))
    for place, group in enumerate(one.groups):
        axes.text((place + 0.5) * width - 0.5, -0.6, group, ha="center", va="bottom")
        axes.axvline(place * width - 0.5, color="white", linewidth=5)
    if len(one.columns) <= LARGEST_NUMBERED:
        for y, row in enumerate(one.values):
            for x, value in enumerate(row):
                color = "black" if value > 50 else "white"
                number = f"{value:.1f}" if 0.05 < value < 0.95 else f"{value:.0f}"
                axes.text(x, y, number, ha="center", va="center", fontsize=8, color=color)
    return image
