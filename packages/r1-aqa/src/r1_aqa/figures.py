"""Figures in one look, `figures.mplstyle`: panels that are all used, intervals, chance, texts of any script.

The same file is in ml-clap, aac-llm and r1-aqa; a test compares them.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1_aqa.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

STYLE = Path(__file__).with_name("figures.mplstyle")
FONT = "DejaVu Sans"
"""The style's font, which comes with matplotlib."""
BLACK, GREY = "#1b1b1b", "#707070"
"""Colours of intervals, and of chance and thresholds: of no series."""
MANY = 40
"""Values from which a curve is drawn as a running mean of them, and they themselves faintly."""
FEW = 15
"""Values up to which a curve has a dot at each."""
UNDATED: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""Without the date and version that matplotlib writes: the same numbers give the same file."""

Interval = tuple[float, float]


@contextmanager
def in_style() -> Iterator[None]:
    """Draw within the block, or the decorated function, in our look, whatever the user's settings are."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all; the path's ending says in which format."""
    kind = path.suffix.lower().removeprefix(".")
    buffer = io.BytesIO()
    with in_style(), warnings.catch_warnings():
        if missing := choose_fonts(figure):
            logger.warning(
                "no font on this computer has %s, which %s should show: install one that has, as Debian's "
                "fonts-noto-core and fonts-noto-cjk",
                ", ".join(missing[:5]) + (" ..." if missing[5:] else ""),
                path,
            )
            warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format=kind, metadata=UNDATED.get(kind))
    write_atomically(path, buffer.getvalue())


def make_panels(count: int, *, size: tuple[float, float] = (3.6, 2.6)) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels, at most four a row, and its panels; no place in it is empty.

    Args:
        count: panels, at least one.
        size: width and height of a panel in inches; those of a row with fewer of them are wider.
    """
    from matplotlib.figure import Figure

    num_rows = -(-count // 4)
    rows = [count // num_rows + (row < count % num_rows) for row in range(num_rows)]
    figure = Figure(figsize=(size[0] * max(rows), size[1] * num_rows))
    columns = math.lcm(*rows)
    grid = figure.add_gridspec(num_rows, columns)
    spans = [(row, columns // number, place) for row, number in enumerate(rows) for place in range(number)]
    return figure, [
        figure.add_subplot(grid[row, width * place : width * (place + 1)]) for row, width, place in spans
    ]


def draw_curve(
    axes: Axes,
    points: Iterable[tuple[float, float | None]],
    *,
    intervals: Sequence[Interval] = (),
    has_band: bool = False,
    color: str = "C0",
    linestyle: str = "-",
    label: str | None = None,
) -> None:
    """Draw values over steps: many of them as means over a twentieth, and they themselves faintly.

    Args:
        axes: to draw in.
        points: step and value; a value that is None or not finite is left out.
        intervals: (low, high) of each value, drawn as a band; none if empty.
        has_band: draw the running mean's own 95 % interval, by how the values scatter around it.
        color: of line and band.
        linestyle: of the line.
        label: for the legend.
    """
    known = [(step, value) for step, value in points if value is not None and math.isfinite(value)]
    if not known:
        return
    steps, values = zip(*known, strict=True)
    reach = len(values) // 40 if len(values) >= MANY else 0
    windows = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    means = [sum(window) / len(window) for window in windows]
    marker = "o" if len(values) < FEW else None
    axes.plot(steps, means, color=color, linestyle=linestyle, marker=marker, label=label, zorder=3)
    if reach:
        axes.plot(steps, values, color=color, linestyle="-", alpha=0.3, linewidth=0.7)
    if reach and has_band:
        variance = sum((value - mean) ** 2 for value, mean in zip(values, means, strict=True)) / len(values)
        # A mean of so few values lies nearer to each of them than the true one does: hence the 1 less.
        errors = [1.96 * math.sqrt(variance / (len(window) - 1)) for window in windows]
        intervals = [(mean - error, mean + error) for mean, error in zip(means, errors, strict=True)]
    if len(intervals) == len(values):
        low, high = zip(*intervals, strict=True)
        axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)


def draw_chance(axes: Axes, chance: float, *, label: str = "chance", is_upright: bool = False) -> None:
    """Draw what guessing has as a dotted line across the axes, upright where the values run to the right."""
    line = axes.axvline if is_upright else axes.axhline
    line(chance, color=GREY, linestyle=":", linewidth=1.4, label=label, zorder=1)


def arms_of(values: Sequence[float], intervals: Sequence[Interval | None]) -> tuple[list[float], list[float]]:
    """Return the lengths of an interval's arms below and above each value, for `errorbar`.

    >>> arms_of([2.0, 5.0, 1.0], [(1.5, 4.0), (6.0, 7.0), None])
    ([0.5, 0.0, 0.0], [2.0, 2.0, 0.0])
    """
    ends = [(value, value) if ends is None else ends for value, ends in zip(values, intervals, strict=True)]
    # An interval of few clips may lie beside its value, and an arm is never negative.
    below = [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)]
    return below, above


def choose_fonts(figure: Figure) -> list[str]:
    """Give a figure's texts fonts for the scripts that the style's font lacks, where some are installed.

    Returns:
        The characters that no font has.
    """
    from matplotlib.font_manager import findfont, fontManager, get_font
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.get_xticklabels(), axes.get_yticklabels()  # makes them, so that they are found
    texts: list[Any] = figure.findobj(Text)
    wanted = {ord(sign) for text in texts for sign in text.get_text() if not sign.isspace()}
    wanted -= set(get_font(findfont(FONT)).get_charmap())
    families = [FONT]
    for font in fontManager.ttflist:
        if not wanted:
            break
        # matplotlib's own font of last resort has a box for everything.
        if font.style != "normal" or font.weight != 400 or font.name.startswith("Last Resort"):
            continue
        if found := wanted & set(get_font(font.fname).get_charmap()):
            families.append(font.name)
            wanted -= found
    for text in texts if len(families) > 1 else ():
        text.set_fontfamily(families)
    return [chr(sign) for sign in sorted(wanted)]
