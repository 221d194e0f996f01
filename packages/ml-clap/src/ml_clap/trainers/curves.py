"""Draw the log of a training: loss, validation over updates by language, rates, norms, temperature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_clap.figures import BLACK, GREY, draw_chance, draw_curve, in_style, make_panels, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = (
    ("Loss", "contrastive loss, nats", "loss"),
    ("Learning rate", "", "lr"),
    ("Gradient norm", "before clipping", "grad_norm"),
    ("Temperature", "divides the cosines", "temperature"),
)
"""Titles, units, and names in log.jsonl; those that were not logged are left out."""
NAMED = 5
"""Languages up to which each has a line of its own look and a name; of more the mean stands out."""


@in_style()
def plot_curves(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the records of a log, if it has any; validation, where there was one, beside the loss."""
    updates = [record for record in records if "loss" in record]
    validations = [record for record in records if "scores" in record]
    shown = [panel for panel in PANELS if any(panel[2] in record for record in updates)]
    count = len(shown) + bool(validations)
    if not count:
        return
    figure, panels = make_panels(count)
    if validations:
        _draw_validations(panels.pop(min(1, count - 1)), validations)
    for axes, (title, unit, name) in zip(panels, shown, strict=True):
        draw_curve(axes, [(record["step"], record[name]) for record in updates if name in record])
        axes.set(title=title, xlabel="update", ylabel=unit)
    save_figure(figure, path)


def _draw_validations(axes: Axes, validations: Sequence[dict[str, Any]]) -> None:
    """Draw the score of each validation and of each language, the score's interval, and what guessing has."""
    from matplotlib import rcParams

    languages, looks = validations[-1]["scores"], list(rcParams["axes.prop_cycle"])
    for place, name in enumerate(languages if len(languages) > 1 else ()):
        points = [(record["step"], record["scores"].get(name)) for record in validations]
        if len(languages) <= NAMED:
            draw_curve(axes, points, **looks[place + 1], label=name)
        else:
            axes.plot(*zip(*points, strict=True), color=GREY, linestyle="-", linewidth=0.6)
    if len(languages) > NAMED:
        axes.plot(
            [], [], color=GREY, linestyle="-", linewidth=0.6, label=f"each of {len(languages)} languages"
        )
    mean = "mean" if len(languages) > 1 else next(iter(languages))
    ends = [record["interval"] for record in validations if record.get("interval")]
    points = [(record["step"], record["score"]) for record in validations]
    draw_curve(axes, points, intervals=ends, label=mean)
    best = max(validations, key=lambda record: record["score"])
    axes.plot(
        best["step"],
        best["score"],
        "*",
        color=BLACK,
        markersize=8,
        label=f"best, {best['score']:.1f}",
        zorder=4,
    )
    if (chance := validations[-1].get("chance")) is not None:
        draw_chance(axes, chance)
    metric = validations[-1]["metric"]
    axes.set(title="Validation", xlabel="update", ylabel=f"{metric}, %")
    axes.legend(loc="best")
