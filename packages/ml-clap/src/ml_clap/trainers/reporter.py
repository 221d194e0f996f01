"""What a training run tells: its log file, a progress bar or lines, trackers, and curves at its end."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_clap.trainers.run_folder import RunLog

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

_BAR = 10_000  # the bar's length: a run is measured by the share of it that is done


class Reporter:
    """Reports of the main process.

    Args:
        accelerator: Its trackers, if any, get every value.
        path: The log file.
        step: Where the run starts or is continued.
        log_every: Updates between lines on the screen, where there is no progress bar.
    """

    def __init__(self, accelerator: Accelerator, path: Path, *, step: int, log_every: int) -> None:
        self._log = RunLog(path, step=step)
        self._accelerator = accelerator
        self._log_every = log_every
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = _progress_bar()
            self._bar.start()
            self._task = self._bar.add_task("", total=_BAR)

    def update(self, record: dict[str, Any], done: float) -> None:
        """An update's record; `done` is the share of the run that it ends, 0 to 1."""
        self._write(record, ("loss", "lr", "grad_norm", "temperature"))
        line = f"step {record['step']} · loss {record['loss']:.4f} · lr {record['lr']:.2e}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done * _BAR, description=line)
        elif record["step"] % self._log_every == 0 or done >= 1.0:
            logger.info("%3.0f%% · epoch %d · %s", 100 * done, record["epoch"] + 1, line)

    def validation(self, record: dict[str, Any], is_best: bool) -> None:
        """A validation's record: its `score`, and `scores` by name."""
        self._write(record, ("score",))
        self._accelerator.log(
            {f"validation/{k}": v for k, v in record["scores"].items()}, step=record["step"]
        )
        scores = ", ".join(f"{name} {value:.1f}" for name, value in record["scores"].items())
        best = " · the best so far" if is_best else ""
        logger.info("validation at step %d · %.2f (%s)%s", record["step"], record["score"], scores, best)

    def close(self) -> None:
        """Take the bar away and close the log."""
        if self._bar is not None:
            self._bar.stop()
        self._log.close()

    def _write(self, record: dict[str, Any], tracked: tuple[str, ...]) -> None:
        self._log.write(record)
        values = {
            ("validation/" if "scores" in record else "train/") + name: record[name] for name in tracked
        }
        self._accelerator.log(values, step=record["step"])


def plot_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Draw the loss, the learning rate and the validation scores of a log over its updates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    updates = [record for record in records if "loss" in record]
    validations = [record for record in records if "scores" in record]
    figure, axes = pyplot.subplots(
        1, 2 if validations else 1, figsize=(11 if validations else 6, 4), squeeze=False
    )
    _plot_loss(axes[0, 0], updates)
    if validations:
        _plot_scores(axes[0, 1], validations)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _plot_loss(axis: Any, updates: list[dict[str, Any]]) -> None:
    steps = [record["step"] for record in updates]
    axis.plot(steps, [record["loss"] for record in updates], linewidth=1, color="tab:blue")
    axis.set(title="Training", xlabel="update", ylabel="loss")
    rates = axis.twinx()
    rates.plot(steps, [record["lr"] for record in updates], linewidth=1, linestyle="--", color="tab:gray")
    rates.set_ylabel("learning rate (dashed)")
    rates.set_ylim(bottom=0)


def _plot_scores(axis: Any, validations: list[dict[str, Any]]) -> None:
    steps = [record["step"] for record in validations]
    for name in validations[-1]["scores"]:
        axis.plot(steps, [record["scores"][name] for record in validations], marker=".", label=name)
    axis.set(title="Validation", xlabel="update", ylabel=f"{validations[-1]['metric']} (%)")
    axis.legend(fontsize="small")


def _progress_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
