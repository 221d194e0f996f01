"""Callbacks of a training: its log, its progress bar, validation, a save on Ctrl-C."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from audio_common.strict_json import read_object
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINING_ARGS_NAME

from r1_aqa.config.train import TrainConfig
from r1_aqa.evaluators.scores import clusters_of
from r1_aqa.evaluators.statistics import wilson_interval
from r1_aqa.files import append_line, replace_folder, write_json
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.generation import generate_answers
from r1_aqa.models.licence import CARD_FILE
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.output import Progress
from r1_aqa.rewards.verdicts import judge
from r1_aqa.trainers.card import training_card
from r1_aqa.trainers.curves import read_log
from r1_aqa.trainers.finite import require_finite_weights
from r1_aqa.trainers.resumable import ResumableTrainer
from r1_aqa.trainers.run_folder import BEST_FILE, any_process, write_lines

logger = logging.getLogger(__name__)


class LogFile(TrainerCallback):
    """Writes what is logged to a JSON Lines file, an object a time: updates and validations."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drop what a killed run logged after the checkpoint from which this one goes on."""
        if state.is_world_process_zero:
            # It logs these updates once more.
            write_lines(self.path, logged_until(self.path, state.global_step))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Append a line."""
        # Trainer's summary is about the time since the last resume, and not about the training.
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            numbers = {n: v for n, v in logs.items() if isinstance(v, int | float) and math.isfinite(v)}
            append_line(self.path, {"step": state.global_step} | numbers)


def logged_until(path: Path, step: int) -> list[dict[str, Any]]:
    """Return what was logged up to an update; nothing of a training that begins."""
    rows = read_log(path) if step else []
    return [row for row in rows if isinstance(row.get("step"), int) and row["step"] <= step]


class ShowProgress(TrainerCallback):
    """Shows the updates with the latest reward or loss, as all verbs show what they do."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._note = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin, where a resumed training was."""
        self._progress = Progress(
            "Training", state.max_steps, start=state.global_step, shown=state.is_world_process_zero
        )
        self._progress.__enter__()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Note what was logged."""
        names = ("loss", "reward", "kl", "eval_accuracy")
        shown = [f"{name} {float(logs[name]):.3f}" for name in names if logs and name in logs]
        self._note = ", ".join(shown) or self._note

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count an update."""
        if self._progress is not None:
            self._progress.advance(note=self._note)

    def close(self) -> None:
        """End the bar, after an error too: it would hide the cursor."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None


class Validation(TrainerCallback):
    """Answers the validation questions greedily now and then, and keeps the best model.

    What was validated stands in the log, and how good the best model is beside it: so a training that was
    killed, in a validation or while the best model was written, validates again what it had not finished.

    Attributes:
        accuracy: of the best model so far, None before the first validation.
    """

    def __init__(
        self, config: TrainConfig, llm: AudioLLM, trainer: ResumableTrainer, prompts: EncodedPrompts
    ) -> None:
        self.config, self.llm, self.trainer, self.prompts = config, llm, trainer, prompts
        self.questions = prompts.questions
        self.accuracy: float | None = None
        self._validated: set[int] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Validate the model at the start, or what a run that resumes had not finished."""
        best = self.config.out / "best" / BEST_FILE
        # It may be of a later update than the checkpoint: then it is the better one of all up to there, and
        # stays until this run has come to a better one.
        if best.is_file():
            self.accuracy = float(read_object(best)["accuracy"])
        rows = logged_until(self.config.out / "log.jsonl", state.global_step)
        self._validated = {row["step"] for row in rows if "eval_accuracy" in row}
        # All processes have read the same before the first of them writes.
        PartialState().wait_for_everyone()
        self._validate_if_due(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Validate after each `eval_steps` updates or each epoch, and at the end.

        Before the update's checkpoint is saved: what resumes from there need not ask whether it is due.
        """
        self._validate_if_due(state)

    def _validate_if_due(self, state: Any) -> None:
        step, every = state.global_step, self.config.eval_steps
        # The start counts as a candidate for the best: a training may only make the model worse.
        is_time = step % every == 0 if every else step > 0 and state.epoch == round(state.epoch)
        is_due = (is_time or step >= state.max_steps) and step not in self._validated
        if is_due and self.questions:
            self._validate(step)

    def _validate(self, step: int) -> None:
        model, random_state = self.llm.model, torch.random.get_rng_state()
        training = model.training
        model.eval()
        with self.trainer.whole_weights():
            verdicts, truncated = self._judge()
        model.train(training)
        torch.random.set_rng_state(random_state)  # a training with more validation is the same training
        found = wilson_interval(verdicts, clusters_of(self.questions))
        accuracy = found.value
        if self.accuracy is None or accuracy > self.accuracy:
            self.accuracy = accuracy
            result = {"step": step, "accuracy": accuracy}
            save_model(self.trainer, self.llm, self.config.out / "best", self.card(verdicts), result)
        self._validated.add(step)
        numbers = {
            "eval_accuracy": accuracy,
            "eval_accuracy_low": found.low,
            "eval_accuracy_high": found.high,
        }
        numbers["eval_truncated"] = truncated / len(self.questions)
        control = self.trainer.control
        is_logged = control.should_log
        # Not TRL's, which would put the update's own numbers into this line; and logging anything puts out
        # that the update is to be logged, too.
        Trainer.log(self.trainer, numbers)
        control.should_log = is_logged
        if truncated and self.trainer.is_world_process_zero():
            logger.info(
                "%d of %d validation answers were ended after %d tokens (validation.max_new_tokens)",
                truncated,
                len(self.questions),
                self.config.validation.max_new_tokens,
            )

    def card(self, verdicts: Sequence[float] | None = None) -> str:
        """Return the text of the model's card as it is now, with the verdicts on it if there are any."""
        training, step = self.trainer.prompts.questions, self.trainer.state.global_step
        return training_card(self.config, self.llm, training, self.questions, step, verdicts)

    def _judge(self) -> tuple[list[float], int]:
        """Return the verdict on each answer, 1 or 0, and how many the most new tokens ended."""
        settings, truncated = self.config.validation, 0
        verdicts = [0.0] * len(self.questions)
        for batch in generate_answers(
            self.prompts,
            range(len(self.questions)),
            batch_size=settings.batch_size,
            max_new_tokens=settings.max_new_tokens,
        ):
            for completion in batch:
                question = self.questions[completion.row]
                verdict = judge(
                    completion.text,
                    question.choices,
                    question.answer or "",
                    written=question.written_answer,
                    alternatives=question.alternatives,
                )
                verdicts[completion.row] = float(getattr(verdict, settings.metric))
                truncated += completion.truncated
        return verdicts, truncated


class SaveOnInterrupt(TrainerCallback):
    """The first Ctrl-C or SIGTERM ends the running update, saves, and stops; the next ends at once.

    Args:
        every: updates that learn from the same rollouts, which no checkpoint holds: between them nothing is
            saved.
    """

    def __init__(self, every: int = 1) -> None:
        self.interrupted, self.every = False, every
        self._before: dict[int, Any] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Handle the signals, where that is possible."""
        try:
            self._before = {
                number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
            }
        except ValueError:  # not in the main thread
            self._before = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop when any rank was asked to: all ranks after the same update, for saving needs all."""
        # A launcher signals all processes, but they are not in the same update then.
        self.interrupted = any_process(self.interrupted, args.device)
        if self.interrupted and state.global_step % self.every == 0:
            control.should_save = control.should_training_stop = True

    def close(self) -> None:
        """Give the signals their former meaning."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, *_: Any) -> None:
        self.interrupted = True
        # Whoever presses Ctrl-C again does not want to wait for the save.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class NothingLeft(Exception):  # noqa: N818 - not an error: it ends a training that is at its end
    """The checkpoint is that of the last update."""


class EndAtEnd(TrainerCallback):
    """Ends a training that resumes at its end: Trainer would take one more update before it looks."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Raise NothingLeft, after all callbacks before this one had their turn."""
        if state.global_step >= state.max_steps:
            raise NothingLeft


def save_model(
    trainer: Trainer, llm: AudioLLM, folder: Path, card: str, result: dict[str, Any] | None = None
) -> None:
    """Save model or adapters with the processor, as `load_audio_llm` reads them, whole or not at all.

    Args:
        trainer: of the model.
        llm: its processor.
        folder: is replaced.
        card: text of the model card.
        result: is written beside the weights, as validation.json.

    Raises:
        TrainingError: weights are not finite; the folder stays as it was.
    """
    require_finite_weights(llm.model, trainer.state.global_step)
    # All processes take part: with FSDP or ZeRO-3 each holds a part of the weights.
    if not trainer.is_world_process_zero():
        trainer.save_model(str(folder))
        return

    def save(partial: Path) -> None:
        trainer.save_model(str(partial))
        # A pickle of Trainer's settings, which nobody who loads the model should have to trust.
        (partial / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        llm.processor.save_pretrained(partial)
        (partial / CARD_FILE).write_text(card, encoding="utf-8")  # in place of peft's empty one
        if result is not None:
            write_json(partial / BEST_FILE, result)

    replace_folder(folder, save)
