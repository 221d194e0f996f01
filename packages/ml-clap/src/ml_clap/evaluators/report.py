"""How results are shown and kept: tables on the terminal, figures, and JSON that says what made it.

Files appear whole or not at all, and the folder they go to is made.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audio_common.prefetch import BadFile
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ml_clap.models.ml_clap import MLCLAP

LARGEST_NUMBERED = 24
"""Rows or columns up to which a heat map's cells carry their numbers."""


def describe_run(model: MLCLAP, config: Any) -> dict[str, Any]:
    """What made a result: package version, the model's fingerprint, and the command's settings."""
    return {
        "ml_clap": version("ml-clap"),
        "fingerprint": model.fingerprint(),
        "mode": model.config.audio.mode,
        "settings": to_plain(config),
    }


def to_plain(value: Any) -> Any:
    """A value in JSON's own types: dataclasses become objects, paths text, numbers that are none null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def write_json(path: Path, record: Any) -> None:
    """Write a result as readable JSON."""
    plain = to_plain(record)
    try:
        content = json.dumps(plain, ensure_ascii=False, indent=2, allow_nan=False).encode()
    except UnicodeEncodeError:  # a file's name that is not valid Unicode
        content = json.dumps(plain, indent=2, allow_nan=False).encode()
    write_atomically(path, content + b"\n")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader, and no interruption, sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    """Write a figure; the path's ending says as what."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower().removeprefix("."), dpi=150)
    write_atomically(path, buffer.getvalue())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """A table on standard output; the first column is text, the others are numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # As Text: labels in [brackets] are no markup.
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if place else "left", no_wrap=place > 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    console.print(table)
    if note:
        console.print(Text(note))


def print_bad_files(bad_files: Sequence[BadFile], limit: int = 5) -> None:
    """Say on standard output which files were left out, and why."""
    if bad_files:
        print(f"{len(bad_files):,} sounds left out:")
    for file in bad_files[:limit]:
        print("  " + file.reason.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    if len(bad_files) > limit:
        print(f"  and {len(bad_files) - limit:,} more; --json FILE lists all")


@contextmanager
def show_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; gives the function that is told (done, of how many)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def plot_bars(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    names: Sequence[str],
    errors: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    ylabel: str,
) -> Figure:
    """Groups of bars, one group a name.

    Args:
        panels: title -> series -> one value for each name.
        names: of the groups (languages).
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
        low = [max(0.0, value - each[0]) for value, each in zip(values, intervals, strict=True)]
        high = [max(0.0, each[1] - value) for value, each in zip(values, intervals, strict=True)]
        axes.errorbar(x, values, (low, high), fmt="none", ecolor="black", elinewidth=0.8, capsize=2)


def plot_heat_map(
    values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], title: str, label: str
) -> Figure:
    """Percentages as colours, rows by columns; with their numbers while there are few."""
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
                colour = "black" if value > 60 else "white"
                axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_title(title, fontsize="medium", loc="left")
    figure.colorbar(image, label=label)
    return figure
