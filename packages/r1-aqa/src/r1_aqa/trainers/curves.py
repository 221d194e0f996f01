"""Draw the log of a training: reward, accuracy, divergence, length, loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_common.strict_json import read_records

from r1_aqa.figures import draw_chance, draw_curve, in_style, make_panels, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VALIDATED, ROLLED_OUT = "eval_accuracy", "rewards/accuracy_reward/mean"
SHARES = {VALIDATED, ROLLED_OUT, "rewards/format_reward/mean", "frac_reward_zero_std"}
"""Names of values from 0 to 1, drawn in percent."""
PANELS = (
    ("Accuracy, validation questions", "right answers", VALIDATED),
    ("Accuracy, rollouts", "right answers", ROLLED_OUT),
    ("Reward", "mean of an update", "reward"),
    ("Format, rollouts", "in the format asked for", "rewards/format_reward/mean"),
    ("Groups without difference", "share of the groups", "frac_reward_zero_std"),
    ("KL divergence", "nats a token", "kl"),
    ("Entropy", "nats a token", "entropy"),
    ("Length of a rollout", "tokens", "completions/mean_length"),
    ("Loss", "nats a token", "loss"),
    ("Gradient norm", "before clipping", "grad_norm"),
    ("Learning rate", "", "learning_rate"),
)
"""Titles, units, and names in log.jsonl; those that were not logged, or are always 0, are left out."""


@in_style()
def write_curves(
    logs: Path | Mapping[str, Path], picture: Path, *, chances: Mapping[str, float] | None = None
) -> bool:
    """Draw the curves of a training, or of several by their names; return False if nothing was logged.

    Args:
        logs: log.jsonl, or several by the name that the legend has.
        picture: is replaced.
        chances: what guessing has, by the accuracy's name in the log.
    """
    from matplotlib import rcParams
    from matplotlib.lines import Line2D

    runs = {name: read_log(path) for name, path in ({"": logs} if isinstance(logs, Path) else logs).items()}
    shown = [panel for panel in PANELS if any(row.get(panel[2]) for rows in runs.values() for row in rows)]
    if not shown:
        return False
    # The same look for a run in every panel.
    cycle = list(rcParams["axes.prop_cycle"])
    looks = [cycle[number % len(cycle)] for number in range(len(runs))]
    figure, panels = make_panels(len(shown))
    for axes, (title, unit, name) in zip(panels, shown, strict=True):
        for look, rows in zip(looks, runs.values(), strict=True):
            _draw_run(axes, rows, name, look)
        if chance := (chances or {}).get(name):
            draw_chance(axes, chance)
            axes.legend()
        axes.set(title=title, xlabel="update", ylabel=unit)
    if len(runs) > 1:
        handles = [Line2D([], [], **look) for look in looks]
        figure.legend(handles, list(runs), loc="outside upper center", ncols=len(runs))
    save_figure(figure, picture)
    return True


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the rows of log.jsonl; half a line, left by a kill, is skipped."""
    return read_records(path)


def _draw_run(axes: Axes, rows: Sequence[dict[str, Any]], name: str, look: dict[str, Any]) -> None:
    from matplotlib.ticker import PercentFormatter

    own = [row for row in rows if name in row]
    if not any(row[name] for row in own):  # as GRPO's loss, whose gradient alone says something
        return
    ends = [(row[f"{name}_low"], row[f"{name}_high"]) for row in own if f"{name}_low" in row]
    draw_curve(
        axes, [(row["step"], row[name]) for row in own], intervals=ends, has_band=name == ROLLED_OUT, **look
    )
    if name in SHARES:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
