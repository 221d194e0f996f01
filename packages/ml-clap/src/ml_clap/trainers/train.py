"""Training: `ml-clap train --config FILE.yaml`, on one CPU or GPU, on many, or on several machines.

The same command runs in one process, or in many behind `accelerate launch`:

    ml-clap train --config esc10
    accelerate launch --num_processes 8 -m ml_clap train --config audiocaps --batch_size 16

What holds in either case:

- The loss compares every pair with all others of the batch, which the processes share, `batch_size` pairs
  each: two processes with half the batch compute the loss, and take the update, that one would (exactly so
  where nothing is drawn at random: dropout and SpecAugment differ by process).
- `gradient_accumulation_steps` averages the gradients of several such batches before an update. The pairs of
  one batch do not meet those of the next, so there are no more negatives: it only steadies the update.
- All that is random follows from the seed, the update's number and the process's, so a resumed run takes the
  updates that an uninterrupted one would have taken.
- The mel BatchNorm's statistics are fixed (`ml_clap.models.initialization`); what the authors did is not
  known.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object

from ml_clap.config.train import TrainConfig
from ml_clap.data.manifest import read_clips
from ml_clap.data.training_data import TrainingData
from ml_clap.files import recover_folder, replace_folder, write_json
from ml_clap.models.initialization import is_from_scratch, make_model, measure_mel_statistics
from ml_clap.trainers.interruption import Interruption
from ml_clap.trainers.learner import Learner
from ml_clap.trainers.processes import (
    RunState,
    TrainingError,
    check_same_run,
    describe_batch,
    make_accelerator,
    random_seed,
    run_settings,
)
from ml_clap.trainers.reporter import Reporter, describe_model, plot_curves
from ml_clap.trainers.run_folder import (
    list_checkpoints,
    load_checkpoint,
    read_log,
    save_checkpoint,
)
from ml_clap.trainers.validation import validate

logger = logging.getLogger(__name__)

CURVES_FILE = "curves.png"
NOTICES_FILE = "notices.json"
STATISTICS_CLIPS = 512
"""Number of training clips that the mel statistics are measured on, from scratch."""


@dataclass(frozen=True)
class TrainResult:
    """What a run made."""

    model: Path
    """Folder of the best model by validation; without validation, of the last."""
    step: int
    """Updates taken."""
    loss: float
    """Loss of the last update."""
    score: float | None
    """Validation score of the best model, percent."""
    bad_files: dict[Path, str]
    """Files that could not be read, and why."""
    notices: tuple[str, ...] = ()
    """What of the data was cut or not used; also in `notices.json` of the run's folder."""
    is_main_process: bool = True
    """Whether this is the first of the processes, which speaks for all."""


def train(config: TrainConfig) -> TrainResult:
    """Train a model as `config` says, or continue the run in `config.out`.

    Raises:
        TrainingError: The loss or a gradient is not finite, no clip can be read, or `out` holds another run.
        KeyboardInterrupt: Ctrl-C or SIGTERM; its message says what is saved.
    """
    try:
        trainer = Trainer(config)
        try:
            return trainer.run()
        finally:
            trainer.accelerator.end_training()
    finally:
        # accelerate keeps its settings for the process; without this a second run could not have others.
        AcceleratorState._reset_state(reset_partial_state=True)


def train_verb(config: TrainConfig) -> int:
    """Train, say where the model is, and return 1 if files had to be skipped."""
    result = train(config)
    if result.is_main_process:
        score = "" if result.score is None else f" (validation {result.score:.1f} %)"
        print(f"model: {result.model}{score}\ncurves: {config.out / CURVES_FILE}")
    return int(bool(result.bad_files))


class Trainer:
    """One run: everything is made here, `run` goes through the epochs."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.accelerator = make_accelerator(config)
        self.state = RunState()
        self.reporter: Reporter | None = None
        """On the main process only."""
        self.interruption = Interruption()
        data = config.data
        clips = read_clips(data.train, data.train_splits, language=data.language)
        self.validation_clips = read_clips(data.validation, data.validation_splits, language=data.language)
        # New weights are the same on every process, and in every start of a run.
        torch.manual_seed(random_seed(config.seed))
        with self.accelerator.main_process_first():  # one process fills the cache of downloads
            self.model = make_model(
                config.model, config.init_from, gradient_checkpointing=config.gradient_checkpointing
            )
        self.model.channel = config.data.channel
        self.data = TrainingData(
            config,
            clips,
            self.model.prepare_text,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        # A checkpoint has the statistics among its buffers.
        if is_from_scratch(config.model, config.init_from) and not list_checkpoints(config.out):
            measure_mel_statistics(self.model.audio_encoder, self.data.some_audio(STATISTICS_CLIPS))
        cut = self.model.prepare_text.find_cut([text for text, _ in self.data.texts()])
        self.notices = [*self.data.notices(), *filter(None, [self.model.prepare_text.describe_cut(cut)])]
        """What of the data is cut or not used."""
        self.model.to(self.accelerator.device).train()
        self.learner = Learner(self.model, config, self.data, self.accelerator)

    def run(self) -> TrainResult:
        """Take all updates that are left, then write the last model and the curves."""
        self._resume()
        with self._reporting(), self.interruption:
            if self._is_validation_due():  # a signal came between the last update and its validation
                self._validate()
                self._save()
            while not self._is_done():
                self._epoch()
        return self._finish()

    # Epochs and updates

    def _epoch(self) -> None:
        """Train for the rest of an epoch, validate, and save a checkpoint."""
        state, config = self.state, self.config
        batches, num_batches = self.data.epoch(state.epoch, skip=state.batches)
        while state.batches < num_batches and state.step != config.max_steps:
            size = min(config.gradient_accumulation_steps, num_batches - state.batches)
            before = self._done(num_batches)
            state.step, state.batches = state.step + 1, state.batches + size
            after = self._done(num_batches)
            # The rate of the middle of the update: at the very beginning and end it is zero.
            middle = (before + after) / 2
            self._report(
                self.learner.update([next(batches) for _ in range(size)], step=state.step, done=middle)
            )
            self._stop_if_interrupted()
            if self._is_validation_due():
                self._validate()
            # At the end of an epoch the checkpoint comes after the validation.
            if config.save_steps and state.step % config.save_steps == 0 and state.batches < num_batches:
                self._save()
        if state.batches == num_batches:
            state.epoch, state.batches = state.epoch + 1, 0
        if state.validated < state.step and (config.eval_steps is None or self._is_done()):
            self._validate()
        self._save()

    def _is_done(self) -> bool:
        """Tell whether no update is left."""
        if self.config.max_steps is not None:
            return self.state.step >= self.config.max_steps
        return self.state.epoch >= self.config.epochs

    def _done(self, num_batches: int) -> float:
        """Return the share of the run that is done, 0 to 1."""
        if self.config.max_steps is not None:
            return self.state.step / self.config.max_steps
        return (self.state.epoch + self.state.batches / num_batches) / self.config.epochs

    def _total(self) -> int:
        """Return how many updates the whole run has: with further languages epochs differ a little."""
        state, config = self.state, self.config
        if config.max_steps is not None:
            return config.max_steps
        num_batches = self.data.num_batches(state.epoch)
        per_epoch = math.ceil(num_batches / config.gradient_accumulation_steps)
        done_of_epoch = math.ceil(state.batches / config.gradient_accumulation_steps)
        return state.step - done_of_epoch + (config.epochs - state.epoch) * per_epoch

    # Validation and reports

    def _is_validation_due(self) -> bool:
        """Tell whether this update still needs a validation, by `eval_steps` or as the last one."""
        every, step = self.config.eval_steps, self.state.step
        is_wanted = self._is_done() or (every is not None and step % every == 0)
        return is_wanted and step > self.state.validated

    def _validate(self) -> None:
        """Score the model on the main process; the best so far becomes the folder `best`."""
        self.state.validated = self.state.step
        if not self.validation_clips:
            return
        if self.reporter is not None:
            with self.learner.as_saved() as model:
                result = validate(model, self.validation_clips, self.config.validation)
                is_best = self.state.best is None or result.score > self.state.best
                if is_best:
                    self.state.best = result.score
                    replace_folder(self.config.out / "best", model.save_pretrained)
            place = {"step": self.state.step, "epoch": self.state.epoch, "metric": result.metric}
            self.reporter.validation({**place, "score": result.score, "scores": result.scores}, is_best)
        self.accelerator.wait_for_everyone()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Within the block the main process has its reporter; first it says what will be trained."""
        config, num_processes = self.config, self.accelerator.num_processes
        if self.accelerator.is_main_process:
            write_json(config.out / "config.json", config)
            logger.info("%s\n%s", describe_model(self.model), self.data.summary())
            logger.info(describe_batch(config.batch_size, num_processes))
            write_json(config.out / NOTICES_FILE, {"notices": self.notices})
            for notice in self.notices:
                logger.warning(notice)
            if self.state.step:
                logger.info("continuing after update %d", self.state.step)
            self.reporter = Reporter(
                self.accelerator,
                config.out / "log.jsonl",
                step=self.state.step,
                total=self._total(),
                logging_steps=config.logging_steps,
            )
        try:
            yield
        finally:
            if self.reporter is not None:
                self.reporter.close()

    def _report(self, record: dict[str, float]) -> None:
        if self.reporter is not None:
            place = {"step": self.state.step, "epoch": self.state.epoch}
            self.reporter.update({**place, **record, "temperature": self.model.temperature.item()})

    # What is kept

    def _save(self) -> None:
        if self.reporter is not None:
            state = {
                "state": asdict(self.state),
                "config": run_settings(self.config, self.accelerator.num_processes),
                **self.learner.state_dict(),
            }
            save_checkpoint(self.config.out, self.state.step, state, keep=self.config.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        """Continue from the last checkpoint, if there is one."""
        out = self.config.out
        if self.accelerator.is_main_process:
            recover_folder(out / "best")
        found = list_checkpoints(out)
        if not found:
            return
        if self.config.resume == "never":
            raise TrainingError(f"{out} holds a run; resume: auto continues it, or choose another --out")
        kept = load_checkpoint(found[-1])
        check_same_run(kept["config"], run_settings(self.config, self.accelerator.num_processes), out)
        self.learner.load_state_dict(kept)
        self.state = RunState(**kept["state"])

    def _finish(self) -> TrainResult:
        out = self.config.out
        records = read_log(out / "log.jsonl")
        if self.accelerator.is_main_process:
            with self.learner.as_saved() as model:
                replace_folder(out / "last", model.save_pretrained)
            plot_curves(records, out / CURVES_FILE)
        self.accelerator.wait_for_everyone()
        found = gather_object([self.data.loader.bad_files])
        bad = {path: reason for files in found for path, reason in files.items()}
        if bad:
            logger.warning(
                "%d files could not be read and were skipped: %s", len(bad), ", ".join(map(str, bad))
            )
        losses = [record["loss"] for record in records if "loss" in record]
        best = out / ("last" if self.state.best is None else "best")
        return TrainResult(
            best,
            self.state.step,
            losses[-1],
            self.state.best,
            bad,
            tuple(self.notices),
            self.accelerator.is_main_process,
        )

    def _stop_if_interrupted(self) -> None:
        """After Ctrl-C or SIGTERM in any process, end all of them after the same update."""
        stop = self.interruption.is_wanted
        if self.accelerator.num_processes > 1:
            # A signal may reach the processes in different updates: one more each would never meet.
            flag = torch.tensor(float(stop), device=self.accelerator.device)
            stop = bool(self.accelerator.reduce(flag, reduction="sum").item())
        if stop:
            self._save()
            raise KeyboardInterrupt(
                f"The run is saved up to step {self.state.step} in {self.config.out}; "
                "the same command continues it."
            )
