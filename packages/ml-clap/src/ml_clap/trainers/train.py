"""Training: `ml-clap train --config FILE.yaml`, on one CPU or GPU, on many, or on several machines.

The same command runs in one process, or in many behind `accelerate launch`:

    ml-clap train --config esc10
    accelerate launch --num_processes 8 -m ml_clap train --config audiocaps

What holds in either case:

- The loss compares every pair with all others of `batch_size` pairs, which the processes share: two processes
  compute the loss, and take the update, that one would (exactly so where nothing is drawn at random: dropout
  and SpecAugment differ by process).
- `accumulation_steps` averages the gradients of several such batches before an update. The pairs of one batch
  do not meet those of the next, so there are no more negatives: it steadies the update, and that is all.
- All that is random follows from the seed, the update's number and the process's, so a resumed run takes the
  updates that an uninterrupted one would have taken.
- The mel BatchNorm's statistics are fixed (`ml_clap.models.initialization`); what the authors did is not
  known.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from audio_common.augment import SpecAugment
from torch import Tensor, nn

from ml_clap.config.train import AugmentConfig, TrainConfig
from ml_clap.data.batches import Batch
from ml_clap.data.training_data import TextTable, TrainingData, read_clips
from ml_clap.models.initialization import is_from_scratch, make_model, measure_mel_statistics
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.augmentation import augment_waveforms
from ml_clap.trainers.loss import contrastive_loss, embedding_regularizer, gather_with_gradients
from ml_clap.trainers.optimizer import MovingAverage, learning_rate, make_optimizer, set_learning_rate
from ml_clap.trainers.processes import (
    Interruption,
    RunState,
    TrainingError,
    check_same_run,
    make_accelerator,
    plain,
    random_seed,
)
from ml_clap.trainers.reporter import Reporter, plot_curves
from ml_clap.trainers.run_folder import (
    list_checkpoints,
    load_checkpoint,
    read_log,
    recover_model_folder,
    save_checkpoint,
    save_model_folder,
    write_json,
)
from ml_clap.trainers.validation import validate

logger = logging.getLogger(__name__)

STATISTICS_CLIPS = 512
"""Training clips of which the mel statistics are measured, from scratch."""


@dataclass(frozen=True)
class TrainResult:
    """What a run made."""

    model: Path
    """Folder of the best model by validation; without validation, of the last."""
    step: int
    """Updates taken."""
    loss: float
    """Of the last update."""
    score: float | None
    """Of the best model by validation, percent."""
    bad_files: dict[Path, str]
    """Files that could not be read, and why."""


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


class Towers(nn.Module):
    """The model as one forward pass, which is what DistributedDataParallel needs."""

    def __init__(self, model: MLCLAP, augment: AugmentConfig) -> None:
        super().__init__()
        self.model = model
        self.spec_augment = SpecAugment(
            time_masks=augment.time_masks,
            time_width=augment.time_mask_frames,
            freq_masks=augment.freq_masks,
            freq_width=augment.freq_mask_bins,
        )

    def forward(
        self, waveforms: Tensor, lengths: Tensor, ids: Tensor, mask: Tensor, text_features: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Audio and text embeddings `(batch, embed_dim)`, and the temperature."""
        audio = self.model.encode_audio(waveforms, lengths, self.spec_augment)
        if text_features is None:
            return audio, self.model.encode_tokens(ids, mask), self.model.temperature
        return audio, self.model.project_text(text_features), self.model.temperature


class Trainer:
    """One run: everything is made here, `run` goes through the epochs."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.accelerator = make_accelerator(config)
        self.state = RunState()
        self.reporter: Reporter | None = None
        """Of the main process."""
        self.interruption = Interruption()
        clips = read_clips(config.data.train, config.data.train_splits)
        self.validation = read_clips(config.data.validation, config.data.validation_splits)
        torch.manual_seed(random_seed(config.seed))
        with self.accelerator.main_process_first():  # one process fills the cache of downloads
            self.model = make_model(config.model, config.init_from)
        self.data = TrainingData(config, clips, self.model.prepare_text, self.accelerator)
        if is_from_scratch(config.model, config.init_from) and not list_checkpoints(self.checkpoints):
            measure_mel_statistics(self.model.audio_encoder, self.data.some_sounds(STATISTICS_CLIPS))
        self.model.to(self.accelerator.device).train()
        self.text_table = TextTable(self.model, self.data.texts()) if config.precompute_text else None
        self.average = None if config.ema_decay is None else MovingAverage(self.model, config.ema_decay)
        self.towers, self.optimizer = self.accelerator.prepare(
            Towers(self.model, config.augment), make_optimizer(self.model, config.optimizer)
        )

    @property
    def checkpoints(self) -> Path:
        """Folder of the training states."""
        return self.config.out / "checkpoints"

    def run(self) -> TrainResult:
        """Take all updates that are left, then write the final model and the curves."""
        self._resume()
        with self._reporting(), self.interruption:
            while not self._is_done():
                self._epoch()
        return self._finish()

    # ------------------------------------------------------------------------------------ epochs and updates

    def _epoch(self) -> None:
        """The rest of an epoch, its validation, and a checkpoint."""
        state, config = self.state, self.config
        batches, num_batches = self.data.epoch(state.epoch, skip=state.batches)
        while state.batches < num_batches and state.step != config.max_steps:
            size = min(config.accumulation_steps, num_batches - state.batches)
            before = self._done(num_batches)
            state.step, state.batches = state.step + 1, state.batches + size
            after = self._done(num_batches)
            # The rate of the middle of the update: at the very beginning and end it is zero.
            record = self._update([next(batches) for _ in range(size)], (before + after) / 2)
            self._report(record, after)
            self._stop_if_interrupted()
            # At the end of an epoch the checkpoint comes after the validation.
            if state.step % config.checkpoint_every == 0 and state.batches < num_batches:
                self._save()
        if state.batches == num_batches:
            state.epoch, state.batches = state.epoch + 1, 0
        if self._is_done() or state.epoch % config.validate_every == 0:
            self._validate()
        self._save()

    def _is_done(self) -> bool:
        """Whether no update is left."""
        if self.config.max_steps is not None:
            return self.state.step >= self.config.max_steps
        return self.state.epoch >= self.config.epochs

    def _done(self, num_batches: int) -> float:
        """Share of the run that is done, 0 to 1."""
        if self.config.max_steps is not None:
            return self.state.step / self.config.max_steps
        return (self.state.epoch + self.state.batches / num_batches) / self.config.epochs

    def _update(self, batches: list[Batch], done: float) -> dict[str, float]:
        """One update of the weights from the mean gradient of some batches."""
        torch.manual_seed(random_seed(self.config.seed, self.state.step, self.accelerator.process_index))
        rate = learning_rate(done, self.config.optimizer)
        set_learning_rate(self.optimizer, rate)
        losses = []
        for batch in batches:
            is_last = batch is batches[-1]
            with nullcontext() if is_last else self.accelerator.no_sync(self.towers):
                loss = self._loss(batch)
                self.accelerator.backward(loss / len(batches))
            losses.append(loss.item())
        norm = self._clip_gradients(batches)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.model)
        return {"loss": sum(losses) / len(losses), "lr": rate, "grad_norm": norm}

    def _loss(self, batch: Batch) -> Tensor:
        """Loss of a batch that all processes share: the same number in each."""
        waveforms = self._augment(batch)
        ids, mask = batch.text_ids, batch.text_mask
        features = None if self.text_table is None else self.text_table(ids, mask)
        audio, text, temperature = self.towers(waveforms, batch.lengths, ids, mask, features)
        rows = self.data.positives(batch.clip_ids).to(audio.device)
        own = (audio, text, batch)
        audio, text, rows = (gather_with_gradients(each) for each in (audio, text, rows))
        loss = contrastive_loss(audio, text, temperature, None if self.config.positives == "none" else rows)
        if self.config.embedding_regularization:
            loss = loss + embedding_regularizer(audio, text)
        if not math.isfinite(loss.item()):
            raise self._not_finite("the loss", loss.item(), *own)
        return loss

    def _augment(self, batch: Batch) -> Tensor:
        augment = self.config.augment
        if not augment.gain_db and not augment.time_shift:
            return batch.waveforms
        seeds = [
            random_seed(self.config.seed, self.state.step, clip, repeat)
            for clip, repeat in zip(batch.clip_ids.tolist(), batch.repeats.tolist(), strict=True)
        ]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return augment_waveforms(
            batch.waveforms,
            batch.lengths,
            gain_db=augment.gain_db,
            time_shift=augment.time_shift,
            generators=generators,
        )

    def _clip_gradients(self, batches: list[Batch]) -> float:
        limit = self.config.optimizer.clip_grad_norm
        parameters = [each for each in self.towers.parameters() if each.requires_grad]
        norm = float(self.accelerator.clip_grad_norm_(parameters, math.inf if limit is None else limit))
        # In fp16 an overflow is expected now and then: the loss scaler leaves the update out.
        if not math.isfinite(norm) and self.config.precision != "fp16":
            raise self._not_finite("the norm of the gradient", norm, None, None, batches[-1])
        return norm

    def _not_finite(
        self, what: str, value: float, audio: Tensor | None, text: Tensor | None, batch: Batch
    ) -> TrainingError:
        """The error that names the clips to blame: those with such embeddings, else the whole batch."""
        clips = batch.clip_ids
        if audio is not None and text is not None:
            bad = ~(audio.isfinite().all(dim=1) & text.isfinite().all(dim=1)).cpu()
            clips = clips[bad] if bad.any() else clips
        names = gather_object([self.data.clips[clip].id for clip in clips.tolist()])
        listed = ", ".join(sorted(set(names))[:8]) + (", ..." if len(set(names)) > 8 else "")
        return TrainingError(
            f"{what} is {value} at step {self.state.step}, with clips {listed}; the weights have not taken "
            "this update. Look at these clips, lower optimizer.lr or optimizer.clip_grad_norm, or use bf16 "
            "or fp32 instead of fp16; the same command continues from the last checkpoint"
        )

    # ------------------------------------------------------------------------------------ what is kept

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Within the block the main process has its reporter; first it tells what will be trained."""
        config = self.config
        if self.accelerator.is_main_process:
            config.out.mkdir(parents=True, exist_ok=True)
            write_json(config.out / "config.json", plain(config))
            logger.info("%s\n%s", self.model.summary(), self.data.summary())
            if self.accelerator.num_processes > 1:
                logger.info("%d processes share each batch", self.accelerator.num_processes)
            if self.state.step:
                logger.info("continuing after step %d", self.state.step)
            self.reporter = Reporter(
                self.accelerator, config.out / "log.jsonl", step=self.state.step, log_every=config.log_every
            )
        try:
            yield
        finally:
            if self.reporter is not None:
                self.reporter.close()

    def _report(self, record: dict[str, float], done: float) -> None:
        if self.reporter is not None:
            place = {"step": self.state.step, "epoch": self.state.epoch}
            self.reporter.update({**place, **record, "temperature": self.model.temperature.item()}, done)

    def _validate(self) -> None:
        """Score the model on the main process; the best so far becomes the folder `best`."""
        if not self.validation:
            return
        if self.reporter is not None:
            with self._as_saved():
                languages = self.config.data.validation_languages
                result = validate(self.model, self.validation, languages, self.config.validate_by)
                is_best = self.state.best is None or result.score > self.state.best
                if is_best:
                    self.state.best = result.score
                    save_model_folder(self.config.out / "best", self.model.save_pretrained)
            place = {"step": self.state.step, "epoch": self.state.epoch, "metric": result.metric}
            self.reporter.validation({**place, "score": result.score, "scores": result.scores}, is_best)
        self.accelerator.wait_for_everyone()

    @contextmanager
    def _as_saved(self) -> Iterator[None]:
        """Within the block the model is as it is validated and saved: averaged, in evaluation mode."""
        averaged = nullcontext() if self.average is None else self.average.applied_to(self.model)
        with averaged:
            self.model.eval()
            yield
        self.model.train()

    def _save(self) -> None:
        if self.reporter is not None:
            state = {
                "state": asdict(self.state),
                "config": plain(self.config),
                "model": self._changing_weights(),
                "optimizer": self.optimizer.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            }
            save_checkpoint(self.checkpoints, self.state.step, state, keep=self.config.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _changing_weights(self) -> dict[str, Tensor]:
        """All but the frozen parameters, which come from where they came from."""
        frozen = {name for name, each in self.model.named_parameters() if not each.requires_grad}
        return {name: each for name, each in self.model.state_dict().items() if name not in frozen}

    def _resume(self) -> None:
        """Continue from the last checkpoint, if there is one."""
        if self.accelerator.is_main_process:
            recover_model_folder(self.config.out / "best")
        found = list_checkpoints(self.checkpoints)
        if not found:
            return
        if self.config.resume == "never":
            raise TrainingError(
                f"{self.config.out} holds a run; resume: auto continues it, or choose another --out"
            )
        kept = load_checkpoint(found[-1])
        check_same_run(kept["config"], plain(self.config), self.config.out)
        self.model.load_state_dict(kept["model"], strict=False)  # the frozen ones are as they were made
        self.optimizer.load_state_dict(kept["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(kept["average"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(kept["scaler"])
        self.state = RunState(**kept["state"])

    def _finish(self) -> TrainResult:
        out = self.config.out
        records = read_log(out / "log.jsonl")
        if self.accelerator.is_main_process:
            with self._as_saved():
                save_model_folder(out / "final", self.model.save_pretrained)
            plot_curves(records, out / "curves.png")
        self.accelerator.wait_for_everyone()
        found = gather_object([self.data.loader.bad_files])
        bad = {path: reason for each in found for path, reason in each.items()}
        if bad:
            logger.warning(
                "%d files could not be read and were left out: %s", len(bad), ", ".join(map(str, bad))
            )
        losses = [record["loss"] for record in records if "loss" in record]
        best = out / ("final" if self.state.best is None else "best")
        return TrainResult(best, self.state.step, losses[-1], self.state.best, bad)

    def _stop_if_interrupted(self) -> None:
        """After Ctrl-C or SIGTERM in any process, all of them end after the same update."""
        stop = self.interruption.is_wanted
        if self.accelerator.num_processes > 1:
            flag = torch.tensor(float(stop), device=self.accelerator.device)
            stop = bool(self.accelerator.reduce(flag, reduction="sum").item())
        if stop:
            self._save()
            raise KeyboardInterrupt(
                f"The run is saved up to step {self.state.step} in {self.config.out}; "
                "the same command continues it."
            )
