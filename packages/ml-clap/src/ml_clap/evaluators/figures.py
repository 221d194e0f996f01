"""Figures of results: bars by language, heat maps."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_clap.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LARGEST_NUMBERED = 24
"""Rows or columns up to which a heat map's cells carry their numbers."""


def check_figure_path(path: Path | None) -> None:
    """Refuse a kind of figure that cannot be written, before the work and not after it.

    Raises:
        ValueError: listing the kinds there are.
    """
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in kinds:
        raise ValueError(f"plot: {path} should end in one of {', '.join('.' + kind for kind in kinds)}")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the path's ending says in which format."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower().removeprefix("."), dpi=150)
    write_atomically(path, buffer.getvalue())


def plot_bars(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    names: Sequence[str],
    errors: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    ylabel: str,
) -> Figure:
    """Draw groups of bars, one group a name.

    Args:
        panels: title -> series -> one value for each name.
        names: names of the groups (languages).
        errors: title -> series -> (low, high) for each name; may lack any.
        ylabel: what the values are.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + len(panels) * (1.2 + 0.7 * len(names)), 3.8), layout="constrained")
    for axes, (title, series) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        for place, (label, values) in enumerate(series.items()):
            _draw_bars(axes, values, errors.get(title, {}).get(label), place, len(series), label)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_title(title)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend(fontsize="small")
    figure.axes[0].set_ylabel(ylabel)
    return figure


def _draw_bars(
    axes: Axes,
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]] | None,
    place: int,
    count: int,
    label: str,
) -> None:
    width = 0.8 / count
    x = [group + (place - (count - 1) / 2) * width for group in range(len(values))]
    axes.bar(x, values, width, label=label)
    if intervals:
        # An interval of few clips may lie beside the estimate: an arm is never negative.
        low = [max(0.0, value - low) for value, (low, _) in zip(values, intervals, strict=True)]
        high = [max(0.0, high - value) for value, (_, high) in zip(values, intervals, strict=True)]
        axes.errorbar(x, values, (low, high), fmt="none", ecolor="black", elinewidth=0.8, capsize=2)


def plot_heat_map(
    values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], title: str, label: str
) -> Figure:
    """Draw percentages as colors, rows by columns; with their numbers while there are few."""
    from matplotlib.figure import Figure

    size = (2.4 + 0.55 * len(columns), 1.8 + 0.42 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    if max(len(rows), len(columns)) <= LARGEST_NUMBERED:
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                color = "black" if value > 60 else "white"
                axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_title(title, fontsize="medium", loc="left")
    figure.colorbar(image, label=label)
    return figure
