"""What a training run reports: its log file, a progress bar or lines, trackers, and curves at its end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_clap.evaluators.figures import save_figure
from ml_clap.trainers.run_folder import RunLog

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from ml_clap.models.ml_clap import MLCLAP

logger = logging.getLogger(__name__)

_BAR = 10_000  # the bar's length: a run is measured by the share of it that is done


class Reporter:
    """Reports of the main process.

    Args:
        accelerator: Its trackers, if any, get every value.
        path: The log file.
        step: Where the run starts or is continued.
        logging_steps: Updates between lines on the screen, where there is no progress bar.
    """

    def __init__(self, accelerator: Accelerator, path: Path, *, step: int, logging_steps: int) -> None:
        self._log = RunLog(path, step=step)
        self._accelerator = accelerator
        self._logging_steps = logging_steps
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = _progress_bar()
            self._bar.start()
            self._task = self._bar.add_task("", total=_BAR)

    def update(self, record: dict[str, Any], done: float) -> None:
        """Report an update; `done` is the share of the run after it, 0 to 1."""
        self._write(record, ("loss", "lr", "grad_norm", "temperature"))
        line = f"step {record['step']} · loss {record['loss']:.4f} · lr {record['lr']:.2e}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done * _BAR, description=line)
        elif record["step"] % self._logging_steps == 0 or done >= 1.0:
            logger.info("%3.0f%% · epoch %d · %s", 100 * done, record["epoch"] + 1, line)

    def validation(self, record: dict[str, Any], is_best: bool) -> None:
        """Report a validation: its `score`, and `scores` by name."""
        self._write(record, ("score",))
        self._accelerator.log(
            {f"validation/{k}": v for k, v in record["scores"].items()}, step=record["step"]
        )
        scores = ", ".join(f"{name} {value:.1f}" for name, value in record["scores"].items())
        best = " · the best so far" if is_best else ""
        logger.info("validation at step %d · %.2f (%s)%s", record["step"], record["score"], scores, best)

    def close(self) -> None:
        """Remove the bar and close the log."""
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
    from matplotlib.figure import Figure

    updates = [record for record in records if "loss" in record]
    validations = [record for record in records if "scores" in record]
    figure = Figure(figsize=(11 if validations else 6, 4), layout="tight")
    axes = figure.subplots(1, 2 if validations else 1, squeeze=False)
    _plot_loss(axes[0, 0], updates)
    if validations:
        _plot_scores(axes[0, 1], validations)
    save_figure(figure, path)


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


def describe_model(model: MLCLAP) -> str:
    """Say how many parameters each part of a model has, one a line."""
    text = model.text_encoder
    parts = {
        f"audio encoder (CED, {model.config.audio.embed_dim} wide)": (model.audio_encoder,),
        f"text encoder ({text.config.model_type}, {text.dim} wide)": (text,),
        f"heads (to {model.config.embed_dim})": (model.audio_proj, model.text_proj),
    }
    lines = [f"{name}: {_count(modules)}" for name, modules in parts.items()]
    return "\n".join([*lines, f"all: {_count([model])}", f"temperature: {model.temperature.item():.4f}"])


def _count(modules: Sequence[nn.Module]) -> str:
    parameters = [parameter for module in modules for parameter in module.parameters()]
    total = sum(parameter.numel() for parameter in parameters)
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    of_them = "" if trained == total else f", {_number(trained)} of them trained"
    return f"{_number(total)} parameters{of_them}"


def _number(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count:,}"
