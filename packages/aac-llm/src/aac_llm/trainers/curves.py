"""Loss and validation scores of a training as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_common.strict_json import read_records

from aac_llm.figures import draw_curve, in_style, make_panels, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = (
    ("Loss", "nats a token", ("loss", "eval_loss")),
    ("Loss of timed events", "nats a token", ("eval_timed_loss",)),
    ("Reward", "CIDEr-D of sampled captions", ("reward", "eval_reward")),
    ("CIDEr-D, validation", "score, 95 % interval", ("eval_cider_d",)),
    ("Unfinished captions, validation", "share of the captions", ("eval_unfinished",)),
    ("Gradient norm", "before clipping", ("grad_norm",)),
    ("Learning rate", "", ("learning_rate",)),
)
"""Titles, units, and names in log.jsonl; those that were not logged, or are always 0, are left out."""


@in_style()
def plot_curves(log: Path, picture: Path) -> None:
    """Draw what `log.jsonl` holds, if it holds anything."""
    rows = read_records(log)
    shown = [panel for panel in PANELS if any(row.get(name) for row in rows for name in panel[2])]
    if not shown:
        return
    figure, panels = make_panels(len(shown))
    for axes, (title, unit, names) in zip(panels, shown, strict=True):
        _draw_values(axes, rows, names)
        axes.set(title=title, xlabel="update", ylabel=unit)
        if len(names) > 1:
            axes.legend()
    save_figure(figure, picture)


def _draw_values(axes: Axes, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Draw what was logged under each name, with its interval where there is one."""
    for name in names:
        own = [row for row in rows if name in row]
        ends = [(row[f"{name}_low"], row[f"{name}_high"]) for row in own if f"{name}_low" in row]
        is_validated = name.startswith("eval_")
        draw_curve(
            axes,
            [(row["step"], row[name]) for row in own],
            intervals=ends,
            label="validation" if is_validated else "training",
            color="C1" if is_validated and len(names) > 1 else "C0",
            linestyle="--" if is_validated and len(names) > 1 else "-",
        )
