"""Callbacks of a training: its log, its progress bar, validation, a save on Ctrl-C."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from r1_aqa.config.train import TrainConfig
from r1_aqa.files import write_atomically, write_json
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.generation import generate_answers
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.output import Progress
from r1_aqa.rewards.verdicts import judge

logger = logging.getLogger(__name__)


class LogFile(TrainerCallback):
    """Writes what is logged to a JSON Lines file, an object a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drop what a killed run logged after the checkpoint from which this one goes on."""
        if state.is_world_process_zero and self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            # It logs these updates once more.
            kept = [line for line in lines if _step_of(line) <= state.global_step]
            write_atomically(self.path, "".join(kept))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Append a line."""
        if state.is_world_process_zero and logs:
            numbers = {name: value for name, value in logs.items() if isinstance(value, int | float)}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step} | numbers) + "\n")


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

    Attributes:
        accuracy: of the best model so far, None before the first validation.
    """

    def __init__(self, config: TrainConfig, llm: AudioLLM, trainer: Trainer, prompts: EncodedPrompts) -> None:
        self.config, self.llm, self.trainer, self.prompts = config, llm, trainer, prompts
        self.questions = prompts.questions
        self.accuracy: float | None = None
        self._last = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Validate the model at the start, or remember the best accuracy of a run that resumes."""
        path = self.config.out / "best" / "validation.json"
        if state.global_step and path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            self.accuracy = found["accuracy"] if found["step"] <= state.global_step else None
        # The start counts as a candidate for the best: a training may only make the model worse.
        elif self.config.eval_steps:
            self._validate(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Validate after each `eval_steps` updates."""
        if self.config.eval_steps and state.global_step % self.config.eval_steps == 0:
            self._validate(state.global_step)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Validate after each epoch, unless `eval_steps` says when."""
        if not self.config.eval_steps:
            self._validate(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Validate once more at the end."""
        self._validate(state.global_step)

    def _validate(self, step: int) -> None:
        # The end of training often is that of an epoch, too: once is enough.
        if not self.questions or step == self._last:
            return
        model, random_state = self.llm.model, torch.random.get_rng_state()
        training = model.training
        model.eval()
        right, truncated = self._count_right()
        model.train(training)
        torch.random.set_rng_state(random_state)  # a training with more validation is the same training
        accuracy = right / len(self.questions)
        self._last = step
        self.trainer.log({"eval_accuracy": accuracy, "eval_truncated": truncated / len(self.questions)})
        if truncated and self.trainer.is_world_process_zero():
            logger.info(
                "%d of %d validation answers were ended after %d tokens (validation.max_new_tokens)",
                truncated,
                len(self.questions),
                self.config.validation.max_new_tokens,
            )
        if self.accuracy is None or accuracy > self.accuracy:
            self.accuracy = accuracy
            save_model(self.trainer, self.llm, self.config.out / "best")
            if self.trainer.is_world_process_zero():
                write_json(self.config.out / "best" / "validation.json", {"step": step, "accuracy": accuracy})

    def _count_right(self) -> tuple[int, int]:
        """Return how many answers are right, and how many the most new tokens ended."""
        settings, right, truncated = self.config.validation, 0, 0
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
                )
                right += getattr(verdict, settings.metric)
                truncated += completion.truncated
        return right, truncated


class SaveOnInterrupt(TrainerCallback):
    """The first Ctrl-C or SIGTERM ends the running update, saves, and stops; the next ends at once."""

    def __init__(self) -> None:
        self.interrupted = False
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
        if args.world_size > 1:
            # A launcher signals all processes, but they are not in the same update then.
            flag = torch.tensor(float(self.interrupted), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.interrupted = bool(flag)
        if self.interrupted:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Give the signals their former meaning."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_: Any) -> None:
        self.interrupted = True
        # Whoever presses Ctrl-C again does not want to wait for the save.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def save_model(trainer: Trainer, llm: AudioLLM, folder: Path) -> None:
    """Save model or adapters with the processor, as `load_audio_llm` reads them."""
    # All processes take part: with FSDP or ZeRO-3 each holds a part of the weights.
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        llm.processor.save_pretrained(folder)


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):  # half a line, left by a kill
        return 2**63
