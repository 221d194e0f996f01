"""One run of training: what it is made of, its epochs, what it keeps, and how it goes on."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate.utils import gather_object

from ml_clap.config.train import TrainConfig
from ml_clap.data.sources import read_sources, unpack_sounds
from ml_clap.data.training_data import TrainingData
from ml_clap.files import replace_folder, write_json
from ml_clap.models.initialization import is_from_scratch, make_model, measure_mel_statistics
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.best_model import BEST, best_score, save_best
from ml_clap.trainers.card import training_card
from ml_clap.trainers.curves import plot_curves
from ml_clap.trainers.interruption import Interruption
from ml_clap.trainers.learner import Learner
from ml_clap.trainers.learner_state import load_state_dict, parts_of, state_dict
from ml_clap.trainers.named_state import write_parts
from ml_clap.trainers.processes import (
    check_same_run,
    describe_batch,
    make_accelerator,
    model_settings,
    random_seed,
    run_settings,
)
from ml_clap.trainers.reporter import Reporter, announce, describe_model
from ml_clap.trainers.result import (
    FINISHED_FILE,
    TrainResult,
    write_finished,
)
from ml_clap.trainers.run_folder import (
    WRITING,
    find_parts,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    read_log,
    save_checkpoint,
)
from ml_clap.trainers.run_state import RunState
from ml_clap.trainers.validation import Validation, validate

logger = logging.getLogger(__name__)

CURVES_FILE = "curves.png"
NOTICES_FILE = "notices.json"
SHARD_INDEXES = "shard_indexes"
"""Folder for indexes of shards beside which nothing may be written."""
VALIDATION_SOUNDS = "validation_sounds"
"""Folder for the sounds of validation shards, which every validation reads again."""
SHOWN_FAULTS = 5
STATISTICS_CLIPS = 512
"""Number of training clips that the mel statistics are measured on, from scratch."""


class Trainer:
    """One run: everything is made here, `run` goes through the epochs."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.accelerator = make_accelerator(config)
        self.state = RunState()
        self.saved = RunState()
        """As the last checkpoint has it."""
        self.reporter: Reporter | None = None
        """On the main process only."""
        self.interruption = Interruption()
        data = config.data
        language, spare = data.language, config.out / SHARD_INDEXES
        with self.accelerator.main_process_first():  # one process makes the indexes that shards lack
            sources = read_sources(data.train, data.train_splits, language=language, spare=spare)
            validation = read_sources(data.validation, data.validation_splits, language=language, spare=spare)
        self.validation_clips = validation.clips
        if validation.places and self.accelerator.is_main_process:
            self.validation_clips = unpack_sounds(validation, config.out / VALIDATION_SOUNDS)
        # New weights are the same on every process, and in every start of a run.
        torch.manual_seed(random_seed(config.seed))
        with self.accelerator.main_process_first():  # one process fills the cache of downloads
            self.model = make_model(
                model_settings(config), config.init_from, gradient_checkpointing=config.gradient_checkpointing
            )
        self.model.channel = config.data.channel
        self.data = TrainingData(
            config,
            sources.clips,
            self.model.prepare_text,
            places=sources.places,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        self._note_faults(sources.faults | validation.faults)
        # A checkpoint has the statistics among its buffers.
        if is_from_scratch(config.model, config.init_from) and not list_checkpoints(config.out):
            measure_mel_statistics(self.model.audio_encoder, self.data.some_audio(STATISTICS_CLIPS))
        cut = self.model.prepare_text.find_cut([text for text, _ in self.data.texts()])
        self.notices = [*self.data.notices(), *filter(None, [self.model.prepare_text.describe_cut(cut)])]
        """What of the data is cut or not used."""
        self.described = describe_model(self.model)
        self.model.to(self.accelerator.device).train()
        self.learner = Learner(self.model, config, self.data, self.accelerator)

    def run(self) -> TrainResult:
        """Take all updates that are left, then write the last model and the curves."""
        self._resume()
        with self._reporting(), self.interruption:
            # The run was stopped between an update and its validation.
            if self.state.is_validation_due(self.config):
                self._validate()
                self._save()
            while not self.state.is_done(self.config):
                self._epoch()
        return self._finish()

    # Epochs and updates

    def _epoch(self) -> None:
        """Train for the rest of an epoch, validate, and save a checkpoint."""
        state, config = self.state, self.config
        batches, num_batches = self.data.epoch(state.epoch, skip=state.batches)
        while state.batches < num_batches and state.step != config.max_steps:
            size = min(config.gradient_accumulation_steps, num_batches - state.batches)
            before = state.share(config, num_batches)
            state.step, state.batches = state.step + 1, state.batches + size
            after = state.share(config, num_batches)
            # The rate of the middle of the update: at the very beginning and end it is zero.
            middle = (before + after) / 2
            self._report(
                self.learner.update([next(batches) for _ in range(size)], step=state.step, done=middle)
            )
            self._stop_if_interrupted()
            if state.is_validation_due(config):
                self._validate()
            # At the end of an epoch the checkpoint comes after the validation.
            if config.save_steps and state.step % config.save_steps == 0 and state.batches < num_batches:
                self._save()
        if state.batches == num_batches:
            state.epoch, state.batches = state.epoch + 1, 0
        if state.validated < state.step and (config.eval_steps is None or state.is_done(config)):
            self._validate()
        self._save()

    # Validation and reports

    def _validate(self) -> None:
        """Score the model on the main process; the best so far becomes the folder `best`."""
        state = self.state
        self.learner.check_finite(state.step)
        if self.validation_clips:
            with self.learner.as_saved() as model:  # all processes: they may have to gather it
                if self.reporter is not None:
                    self._score(model, self.reporter)
        state.validated = state.step
        self.accelerator.wait_for_everyone()

    def _score(self, model: MLCLAP, reporter: Reporter) -> None:
        state = self.state
        found = validate(model, self.validation_clips, self.config.validation)
        record = {"step": state.step, "epoch": state.epoch, "metric": found.metric}
        record |= {"score": found.score, "scores": found.scores}
        record |= {"interval": found.interval, "chance": found.chance}
        is_best = state.best is None or found.score > state.best
        if is_best:
            save_best(self.config.out, model, record, self._card(model, found))
            state.best = found.score
        self._note_bad(found.bad_files)
        reporter.validation(record, is_best)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Within the block the main process has its reporter; first it says what will be trained."""
        config, num_processes = self.config, self.accelerator.num_processes
        if self.accelerator.is_main_process:
            (config.out / FINISHED_FILE).unlink(missing_ok=True)  # of the shorter run that this one continues
            write_json(config.out / "config.json", config)
            write_json(config.out / NOTICES_FILE, {"notices": self.notices})
            batch = describe_batch(config.batch_size, num_processes)
            announce([self.described, self.data.summary(), batch], self.notices, self.state.step)
            self.reporter = Reporter(
                self.accelerator,
                config.out / "log.jsonl",
                step=self.state.step,
                validated=self.state.validated,
                total=self.state.total(config, self.data.num_batches(self.state.epoch)),
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
            self.reporter.update({**place, **record})

    # What is kept

    def _card(self, model: MLCLAP, found: Validation | None = None) -> str:
        """Return the text of the card of the model as it is now."""
        clips, validation = self.data.clips, self.validation_clips
        return training_card(self.config, model, clips, validation, self.state.step, found)

    def _save(self) -> None:
        self.learner.check_finite(self.state.step)
        self._gather_bad()
        if self.state == self.saved:  # the end of an epoch or run is at a multiple of `save_steps` too
            return
        self.saved = deepcopy(self.state)
        out, parts = self.config.out, parts_of(self.learner)
        if parts is not None:
            write_parts(parts, out / WRITING)
        learnt = state_dict(self.learner)
        if self.reporter is not None:
            state = {
                "state": asdict(self.state),
                "config": run_settings(self.config, self.accelerator.num_processes),
                **learnt,
            }
            keep, has_parts = self.config.keep_checkpoints, parts is not None
            save_checkpoint(out, self.state.step, state, keep=keep, has_parts=has_parts)
        self.accelerator.wait_for_everyone()

    def _note_faults(self, faults: dict[Path, str]) -> None:
        """Name what is wrong with shards before the run, whose result lists it."""
        self.data.loader.bad_files |= faults
        if self.accelerator.is_main_process:
            for reason in list(faults.values())[:SHOWN_FAULTS]:
                logger.warning("not used: %s", reason)
            if len(faults) > SHOWN_FAULTS:
                logger.warning("not used: %d more of the shards' samples", len(faults) - SHOWN_FAULTS)

    def _note_bad(self, found: dict[Path, str]) -> None:
        for path, reason in found.items():
            if str(path) not in self.state.bad_files:
                self.state.bad_files[str(path)] = reason
                logger.warning("skipped in validation: %s", reason)

    def _gather_bad(self) -> None:
        """Note what could not be read in any of the processes."""
        read = {str(path): reason for path, reason in self.data.loader.bad_files.items()}
        for files in gather_object([self.state.bad_files | read]):
            self.state.bad_files |= files

    def _resume(self) -> None:
        """Continue from the last checkpoint, if there is one."""
        out = self.config.out
        found = list_checkpoints(out)
        if not found:
            return
        kept = load_checkpoint(found[-1])
        settings = run_settings(self.config, self.accelerator.num_processes)
        check_same_run(kept["config"], settings, out)
        load_state_dict(self.learner, kept, find_parts(found[-1]))
        self.state = RunState(**kept["state"])
        # It may be of an update after the checkpoint: of the model there is no better judge than its folder.
        self.state.best = best_score(out, self.state.best)
        self.saved = deepcopy(self.state)

    def _finish(self) -> TrainResult:
        out, state = self.config.out, self.state
        self.learner.check_finite(state.step)
        self._gather_bad()
        if state.bad_files:
            logger.warning(
                "%d files could not be read and were skipped: %s",
                len(state.bad_files),
                ", ".join(state.bad_files),
            )
        records = read_log(out / "log.jsonl")
        losses = [record["loss"] for record in records if "loss" in record]
        result = TrainResult(
            out / ("last" if state.best is None else BEST),
            state.step,
            losses[-1] if losses else math.nan,  # somebody took the log away
            state.best,
            {Path(file): reason for file, reason in state.bad_files.items()},
            tuple(self.notices),
            self.accelerator.is_main_process,
        )
        with self.learner.as_saved() as model:
            if self.accelerator.is_main_process:
                card = self._card(model)
                replace_folder(out / "last", lambda folder: model.save_pretrained(folder, card=card))
        if self.accelerator.is_main_process:
            prune_checkpoints(out, keep=self.config.keep_checkpoints)  # a kill may have left one more
            plot_curves(records, out / CURVES_FILE)
            write_finished(self.config, result)
        self.accelerator.wait_for_everyone()
        return result

    def _stop_if_interrupted(self) -> None:
        """After Ctrl-C or SIGTERM in any process, end all of them after the same update."""
        if self.interruption.is_wanted_anywhere(self.accelerator):
            self._save()
            raise KeyboardInterrupt(
                f"The run is saved up to step {self.state.step} in {self.config.out}; "
                "the same command continues it."
            )
