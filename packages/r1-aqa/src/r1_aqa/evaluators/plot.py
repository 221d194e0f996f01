"""Scores as a picture: accuracy by group, with chance and the first option beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot_scores(scores: dict[str, Any], picture: Path) -> None:
    """Bars of the strict accuracy: all, controls, and each group of each break-down."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [("all", scores["strict"]["value"], scores["strict"])]
    bars += [(name, each["value"], each) for name, each in scores.get("runs", {}).items()]
    for field, groups in scores["by"].items():
        bars += [
            (f"{field.replace('_', ' ')}: {name}", each["strict"], None) for name, each in groups.items()
        ]
    figure, axis = pyplot.subplots(figsize=(7, 1.1 + 0.28 * len(bars)))
    places = range(len(bars))[::-1]
    axis.barh(places, [value for _, value, _ in bars], color="#4c72b0")
    for place, (_, value, interval) in zip(places, bars, strict=True):
        if interval:
            spread = [[value - interval["low"]], [interval["high"] - value]]
            axis.errorbar([value], [place], xerr=spread, color="black", capsize=3)
        end = max(value, interval["high"] if interval else 0.0)
        axis.text(end + 0.015, place, f"{value:.0%}", va="center", fontsize=8)
    axis.axvline(scores["chance"], color="grey", ls=":", label="chance")
    axis.axvline(scores["first_option"], color="grey", ls="--", label="always the first option")
    axis.set_yticks(list(places), [name[:48] for name, _, _ in bars], fontsize=8)
    axis.set_xlim(0, 1.08)  # room for the number beside a full bar
    axis.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20 %", "40 %", "60 %", "80 %", "100 %"])
    axis.set_xlabel("accuracy (strict)")
    axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    figure.tight_layout()
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)
