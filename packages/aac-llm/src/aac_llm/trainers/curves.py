"""Loss and validation scores of a training as a picture."""

from __future__ import annotations

import io
from pathlib import Path

from audio_common.strict_json import read_records

from aac_llm.files import write_atomically


def plot_curves(log: Path, picture: Path) -> None:
    """Draw what `log.jsonl` holds, if it holds anything."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_records(log)
    panels = [
        ("reward", ("reward", "eval_reward")),
        ("loss", ("loss", "eval_loss")),
        ("CIDEr-D", ("eval_cider_d",)),
        ("learning rate", ("learning_rate",)),
    ]
    shown = [(title, names) for title, names in panels if any(name in row for row in rows for name in names)]
    if not shown:
        return
    figure, axes = pyplot.subplots(1, len(shown), figsize=(4.5 * len(shown), 3.2), squeeze=False)
    for axis, (title, names) in zip(axes[0], shown, strict=True):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                label = "validation" if name.startswith("eval_") else "training"
                axis.plot(
                    *zip(*points, strict=True), label=label, marker="o" if len(points) < 30 else None, ms=3
                )
        axis.set_xlabel("update")
        axis.set_title(title)
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend()
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format="png")
    pyplot.close(figure)
    write_atomically(picture, content.getvalue())
