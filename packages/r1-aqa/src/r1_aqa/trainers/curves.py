"""Draw the log of a training: reward, accuracy, divergence, length, loss."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_common.strict_json import read_records

from r1_aqa.files import write_atomically

PANELS = (
    ("reward", "reward"),
    ("accuracy on validation questions", "eval_accuracy"),
    ("accuracy of rollouts", "rewards/accuracy_reward/mean"),
    ("format of rollouts", "rewards/format_reward/mean"),
    ("groups without difference", "frac_reward_zero_std"),
    ("KL divergence", "kl"),
    ("entropy", "entropy"),
    ("tokens of a rollout", "completions/mean_length"),
    ("loss", "loss"),
    ("gradient norm", "grad_norm"),
)
"""Titles, and names in log.jsonl; those that were not logged are left out."""


def write_curves(logs: Path | Mapping[str, Path], picture: Path) -> bool:
    """Draw the curves of a training, or of several by their names; return False if nothing was logged."""
    import matplotlib

    matplotlib.use("Agg")  # draws without a screen
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    runs = {name: read_log(path) for name, path in ({"": logs} if isinstance(logs, Path) else logs).items()}
    shown = [(t, n) for t, n in PANELS if any(n in row for rows in runs.values() for row in rows)]
    if not shown:
        return False
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    colors = [f"C{number % 10}" for number in range(len(runs))]  # the same for a run in every panel
    figure, axes = pyplot.subplots(lines, columns, figsize=(3.6 * columns, 2.7 * lines), squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, (title, name) in zip(axes.flat, shown, strict=False):
        for color, rows in zip(colors, runs.values(), strict=True):
            _draw(axis, [(row["step"], row[name]) for row in rows if name in row], color)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("update")
        axis.grid(alpha=0.3)
    figure.tight_layout(rect=(0, 0, 1, 1 if len(runs) == 1 else 0.96))
    if len(runs) > 1:
        handles = [Line2D([], [], color=color) for color in colors]
        figure.legend(handles, list(runs), loc="upper center", ncols=len(runs), frameon=False)
    memory = io.BytesIO()
    figure.savefig(memory, dpi=120)
    write_atomically(picture, memory.getvalue())
    pyplot.close(figure)
    return True


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the rows of log.jsonl; half a line, left by a kill, is skipped."""
    return read_records(path)


def _draw(axis: Any, points: list[tuple[float, float]], color: str) -> None:
    # The values faintly and, where there are many, their running mean.
    if not points:
        return
    steps, values = zip(*points, strict=True)
    width = max(1, len(values) // 20)  # a twentieth of the training
    windows = [values[max(0, i - width + 1) : i + 1] for i in range(len(values))]
    smooth = [sum(window) / len(window) for window in windows]
    axis.plot(steps, smooth, color=color, marker="o" if len(values) < 15 else None, ms=3)
    if width > 1:
        axis.plot(steps, values, color=color, alpha=0.25, lw=0.8)
