"""What happens beside the updates of a training: progress, the log, the last validation, saving on Ctrl-C."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from aac_llm.files import append_line, to_json, write_atomically
from aac_llm.output import Progress
from aac_llm.trainers.finite import on_any
from aac_llm.trainers.validation import describe_scores

logger = logging.getLogger(__name__)


class ShowProgress(TrainerCallback):
    """Show updates, loss and validation scores in the look of all our verbs; transformers' own is off."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._loss = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Begin at the update at which a resumed training begins."""
        self._progress = Progress(
            "Training", state.max_steps, start=state.global_step, shown=state.is_world_process_zero
        )
        self._progress.__enter__()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count an update."""
        if self._progress:
            self._progress.advance(state.global_step - self._progress.done, self._loss)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Keep the loss for the next update's note; tell the scores of a validation at once."""
        values = {
            name: float(value) for name, value in (logs or {}).items() if isinstance(value, int | float)
        }
        # Of training by rewards the loss says nothing.
        for name in ("loss", "reward"):
            if name in values:
                self._loss = f"{name} {values[name]:.3f}"
        scores = {
            name.removeprefix("eval_"): value for name, value in values.items() if name.startswith("eval_")
        }
        # Every rank logs; one tells.
        if scores and state.is_world_process_zero:
            logger.info("validation after %d updates: %s", state.global_step, describe_scores(scores))

    def close(self) -> None:
        """Take the bar away, also after an error: it would swallow the line that says what went wrong."""
        if self._progress:
            self._progress.__exit__(None, None, None)
            self._progress = None


class LogFile(TrainerCallback):
    """Write what is logged to a JSON Lines file, an object each time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write anew what the checkpoint knows: later updates will be made, and logged, again."""
        if state.is_world_process_zero:
            rows = [to_json(log_row(int(row["step"]), row)) + b"\n" for row in state.log_history]
            write_atomically(self.path, b"".join(rows))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Append a line; Trainer's summary at the end is of the time since it was started last."""
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            append_line(self.path, log_row(state.global_step, logs))


def log_row(step: int, logs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the log: its update, and all numbers, sorted by name as a checkpoint keeps them."""
    return {"step": step} | {
        name: logs[name] for name in sorted(logs) if name != "step" and isinstance(logs[name], int | float)
    }


class ValidateAtEnd(TrainerCallback):
    """Validate after the last update also where validation is by number of updates."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a validation after the last update; by epochs Trainer does so itself."""
        if args.eval_strategy == IntervalStrategy.STEPS and state.global_step >= state.max_steps:
            control.should_evaluate = True


class SaveOnInterrupt(TrainerCallback):
    """The first Ctrl-C or SIGTERM ends the running update, saves, and stops; the next ends at once."""

    def __init__(self) -> None:
        self.interrupted = False
        self.stopped = False
        self._before: dict[int, Any] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Listen to signals, where that is possible."""
        try:
            self._before = {
                number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
            }
        except ValueError:  # not in the main thread
            self._before = {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop when any rank was asked to: all ranks after the same update, for saving needs all."""
        # A launcher signals its processes one by one; saving needs all of them after the same update.
        self.interrupted = on_any(self.interrupted, args.device, args.world_size)
        if self.interrupted:
            self.stopped = True
            control.should_save = control.should_training_stop = True
            # Whoever interrupts wants to wait for no validation.
            control.should_evaluate = False

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Do nothing more: leaving the loop looks to Trainer like an epoch's end, which may be amid one."""
        if self.stopped:
            control.should_save = control.should_evaluate = False

    def close(self) -> None:
        """Put back what signals did before, also after an error."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_: Any) -> None:
        self.interrupted = True
        # Who asks twice does not want to wait for the save.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
