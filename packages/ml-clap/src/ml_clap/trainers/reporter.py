"""What a training run reports: its log file, progress and trackers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_clap.output import Progress
from ml_clap.trainers.run_folder import RunLog

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from ml_clap.models.ml_clap import MLCLAP

logger = logging.getLogger(__name__)


class Reporter:
    """Reports of the main process.

    Args:
        accelerator: Its trackers, if any, get every value.
        path: The log file.
        step: Where the run starts or is continued.
        validated: Update after which the last validation ran.
        total: Updates of the whole run.
        logging_steps: Updates whose mean loss stands beside the progress.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        path: Path,
        *,
        step: int,
        validated: int,
        total: int,
        logging_steps: int,
    ) -> None:
        self._log = RunLog(path, step=step, validated=validated)
        self._accelerator = accelerator
        self._losses: deque[float] = deque(maxlen=logging_steps)
        self._progress = Progress("Training", total, start=step)
        self._progress.__enter__()  # left by `close`: a run's epochs are no one block

    def update(self, record: dict[str, Any]) -> None:
        """Report an update."""
        self._write(record, ("loss", "lr", "grad_norm", "temperature"))
        self._losses.append(record["loss"])
        # One batch's loss says little: batches differ in how much alike their clips are.
        mean = sum(self._losses) / len(self._losses)
        self._progress.advance(note=f"epoch {record['epoch'] + 1}, loss {mean:.3f}")

    def validation(self, record: dict[str, Any], is_best: bool) -> None:
        """Report a validation: its `score`, and `scores` by name."""
        self._write(record, ("score",))
        self._accelerator.log(
            {f"validation/{k}": v for k, v in record["scores"].items()}, step=record["step"]
        )
        scores = ", ".join(f"{name} {value:.1f}" for name, value in record["scores"].items())
        best = ", the best so far" if is_best else ""
        logger.info("validation after %d updates: %.2f (%s)%s", record["step"], record["score"], scores, best)

    def close(self) -> None:
        """End the progress."""
        self._progress.__exit__(None, None, None)

    def _write(self, record: dict[str, Any], tracked: tuple[str, ...]) -> None:
        self._log.write(record)
        values = {
            ("validation/" if "scores" in record else "train/") + name: record[name] for name in tracked
        }
        self._accelerator.log(values, step=record["step"])


def announce(facts: Sequence[str], notices: Sequence[str], step: int) -> None:
    """Say what will be trained, what of the data is cut or not used, and where the run goes on."""
    for fact in facts:
        logger.info(fact)
    for notice in notices:
        logger.warning(notice)
    if step:
        logger.info("continuing after update %d", step)


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
