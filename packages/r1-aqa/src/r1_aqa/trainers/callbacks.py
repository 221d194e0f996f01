"""What happens beside the updates: a log, answers to validation questions, a save on Ctrl-C."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ProgressCallback

from r1_aqa.config.train import TrainConfig
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.prompt_cache import EncodedPrompts


class LogFile(TrainerCallback):
    """Writes what is logged to a JSON Lines file, each time an object."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drop what a killed run logged after the checkpoint from which this one goes on."""
        if state.is_world_process_zero and self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if _step_of(line) <= state.global_step]
            self.path.write_text("".join(kept), encoding="utf-8")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Append a line."""
        if state.is_world_process_zero and logs:
            numbers = {name: value for name, value in logs.items() if isinstance(value, int | float)}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step} | numbers) + "\n")


class QuietProgress(ProgressCallback):
    """A bar with the latest reward or loss in place of a line for every log."""

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Show what was logged beside the bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            shown = {name: logs[name] for name in ("loss", "reward", "kl", "eval_accuracy") if name in logs}
            self.training_bar.set_postfix({name: f"{float(value):.3f}" for name, value in shown.items()})


class Validation(TrainerCallback):
    """Answers the validation questions greedily now and then, and keeps the best model.

    Attributes:
        accuracy: of the best so far, None before the first.
    """

    def __init__(self, config: TrainConfig, llm: AudioLLM, trainer: Trainer, prompts: EncodedPrompts) -> None:
        self.config, self.llm, self.trainer, self.prompts = config, llm, trainer, prompts
        self.questions = prompts.questions
        self.accuracy: float | None = None
        self._last = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Where a resumed run was."""
        path = self.config.out / "best" / "validation.json"
        if state.global_step and path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            self.accuracy = found["accuracy"] if found["step"] <= state.global_step else None
        elif self.questions and self.config.validate_every:
            self._answer(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Answer, when it is time."""
        every = self.config.validate_every
        if self.questions and every and state.global_step % every == 0:
            self._answer(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Answer once more at the end."""
        if self.questions and self._last != state.global_step:
            self._answer(state.global_step)

    def _answer(self, step: int) -> None:
        from r1_aqa.models.generation import answer_greedily
        from r1_aqa.rewards.verdicts import judge

        model, state = self.llm.model, torch.random.get_rng_state()
        training = model.training
        model.eval()
        outputs = answer_greedily(
            self.prompts,
            range(len(self.questions)),
            batch_size=self.config.validation_batch_size,
            max_new_tokens=self.config.validation_new_tokens,
        )
        model.train(training)
        torch.random.set_rng_state(state)  # a training with more validation is the same training
        right = [
            judge(output, question.choices, question.answer or "").strict
            for output, question in zip(outputs, self.questions, strict=True)
        ]
        accuracy = sum(right) / len(right)
        self._last = step
        self.trainer.log({"eval_accuracy": accuracy})
        if self.accuracy is None or accuracy > self.accuracy:
            self.accuracy = accuracy
            save_model(self.trainer, self.llm, self.config.out / "best")
            if self.trainer.is_world_process_zero():
                write_json(self.config.out / "best" / "validation.json", {"step": step, "accuracy": accuracy})


class SaveOnInterrupt(TrainerCallback):
    """The first Ctrl-C or SIGTERM ends the running update, saves, and stops; the next ends at once."""

    def __init__(self) -> None:
        self.interrupted = False
        self._before: dict[int, Any] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Listen, where a signal can be listened to."""
        try:
            self._before = {each: signal.signal(each, self._note) for each in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread
            self._before = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop when any rank was asked to: all ranks after the same update, for saving needs all."""
        if args.world_size > 1:
            flag = torch.tensor(float(self.interrupted), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.interrupted = bool(flag)
        if self.interrupted:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Signals mean what they meant before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_: Any) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def save_model(trainer: Trainer, llm: AudioLLM, folder: Path) -> None:
    """Model or adapters with the processor, as `load_audio_llm` reads them."""
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        llm.processor.save_pretrained(folder)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: Trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):  # half a line, left by a kill
        return 2**63
