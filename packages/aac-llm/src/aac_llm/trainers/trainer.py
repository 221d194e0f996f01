"""transformers' Trainer for a captioning model.

What it adds: batches of like length, checkpoints of what is trained alone, validation by generated captions,
the best model kept beside, and a stop before an update that is not finite. What it relies on:
`CaptionModel.forward` divides the sum over caption tokens by `num_items_in_batch`, so that accumulating
gradients over batches of different captions equals one large batch (a mean of means would not).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from audio_common import AudioError
from audio_common.augment import SpecAugment
from audio_common.strict_json import read_object
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from aac_llm.config.train import AugmentConfig, TrainConfig
from aac_llm.data.dataset import CaptionDataset, EpochLoader, News, make_loader
from aac_llm.data.manifest import Clip
from aac_llm.files import replace_folder, write_json
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.trainers.card import training_card
from aac_llm.trainers.checkpoint import separate_steps
from aac_llm.trainers.export import write_plan
from aac_llm.trainers.finite import FiniteUpdate, TrainingError, check_weights
from aac_llm.trainers.gathering import announce_query, root_gathered
from aac_llm.trainers.run_folder import BEST, VALIDATION
from aac_llm.trainers.saved_state import KEY, NothingLeftError, Unlogged
from aac_llm.trainers.sharding import check_sharding, is_sharded, keeps_parts
from aac_llm.trainers.validation import ValidationClip, draw_clips, summarize, validate_clips


class CaptionTrainer(Trainer):
    """Trains a `CaptionModel`.

    Args:
        settings: of the training.
        model: to train.
        args: of transformers; see `aac_llm.trainers.train.training_arguments`.
        train_set: examples.
        validation_set: clips to validate on, in order; None: no validation.
        callbacks: of transformers.
    """

    def __init__(
        self,
        settings: TrainConfig,
        model: CaptionModel,
        args: TrainingArguments,
        train_set: CaptionDataset,
        validation_set: CaptionDataset | None,
        callbacks: list[TrainerCallback],
    ) -> None:
        self.settings = settings
        self.best_folder = settings.out / BEST
        self.spec_augment = make_spec_augment(settings.augment)
        # Trainer takes `config` for one of transformers' and writes into it, while it is set up alone.
        config = model.__dict__.pop("config")
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_set,
            eval_dataset=validation_set,
            callbacks=callbacks,
        )
        model.config = config
        check_sharding(self.accelerator)
        announce_query(model.bridge, self.accelerator)
        self.update = FiniteUpdate(args.device, args.world_size, scaled=args.fp16)
        self.unlogged = Unlogged()
        self.judged = 0  # the update until which `best` is of this run
        self._carried = 0.0

    def fit(self, checkpoint: Path | None) -> None:
        """Train, or go on from a checkpoint; after the last update only a validation can be due.

        Raises:
            TrainingError: a loss, a gradient or the weights are not finite, or many clips in a row cannot be
                decoded.
        """
        try:
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except AudioError as e:
            # Of a worker process it comes with the worker's trace before it.
            raise TrainingError(str(e).rpartition("AudioError: ")[2].strip()) from e
        except NothingLeftError:
            self.is_in_train = False
            self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)

    def get_train_dataloader(self) -> EpochLoader:
        """Return this rank's batches; they are shared out here, so accelerate must not share them again."""
        assert isinstance(self.train_dataset, CaptionDataset)
        return make_loader(
            self.train_dataset,
            self.captioner.tokenize_captions,
            batch_size=self.settings.batch_size,
            shuffle=True,
            seed=self.settings.seed,
            num_workers=self.settings.data.num_workers,
            rank=self.args.process_index,
            world_size=self.args.world_size,
            tokenize_timed=self.captioner.tokenize_timed if self.train_dataset.timestamps else None,
        )

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Compute Trainer's loss and gradients; before the optimizer's step they must be finite."""
        assert isinstance(self.train_dataset, CaptionDataset)
        clips = [self.train_dataset.clips[number].id for number in inputs["news"].clips]
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.update.add(loss, clips)
        if self.accelerator.sync_gradients:
            self.update.check(self.captioner.parameters(), self.state.global_step + 1)
        # Trainer's sum of losses begins anew where training resumes.
        carried, self._carried = self._carried, 0.0
        loss = loss + carried
        self.unlogged.loss = self.unlogged.loss + loss
        return loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute Trainer's loss, with masks on the sound; record what a worker found out about clips."""
        assert isinstance(self.train_dataset, CaptionDataset)
        self.train_dataset.note(inputs.pop("news", News()))
        return super().compute_loss(model, {**inputs, "spec_augment": self.spec_augment}, *args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Make Trainer's optimizer; the bridge's parameters have their own rate if one is set."""
        optimizer = super().create_optimizer(*args, **kwargs)
        rate = self.settings.bridge_learning_rate
        if rate is not None and not any("bridge" in group for group in optimizer.param_groups):
            bridge = {id(parameter) for parameter in self.captioner.bridge.parameters()}
            for group in list(optimizer.param_groups):
                own = [parameter for parameter in group["params"] if id(parameter) in bridge]
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in bridge]
                if own:
                    # The schedule multiplies the rate of every group, so the ratio stays.
                    optimizer.add_param_group({**group, "params": own, "lr": rate, "bridge": True})
        return optimizer

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return `eval_loss` per token and `eval_cider_d`; the best model so far goes to `OUT/best`."""
        dataset = self.eval_dataset
        assert isinstance(dataset, CaptionDataset)
        validation, model = self.settings.validation, self.captioner
        training = model.training
        model.eval()
        # Where weights are shared out, a forward pass needs all ranks: then each validates every clip.
        whole = self.is_sharded
        mine = range(len(dataset)) if whole else self._share(len(dataset))
        with self.accelerator.autocast(), root_gathered(model):
            found = validate_clips(
                model,
                dataset,
                mine,
                captioned=self.captioned,
                num_beams=validation.num_beams,
                batch_size=validation.batch_size,
            )
        model.train(training)
        scores = self.judge(found if whole else gather_object(found), dataset.clips)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self._keep_best(scores)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def judge(self, found: Sequence[ValidationClip], clips: Sequence[Clip]) -> dict[str, float]:
        """Return the scores of a validation, from what all ranks found."""
        return summarize(found, clips)

    @property
    def captioner(self) -> CaptionModel:
        """The model without accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def datasets(self) -> list[CaptionDataset]:
        """Training clips, and validation clips if there are any."""
        return [data for data in (self.train_dataset, self.eval_dataset) if isinstance(data, CaptionDataset)]

    @property
    def is_sharded(self) -> bool:
        """Whether each rank holds only a part of the weights (FSDP, ZeRO-3)."""
        return is_sharded(self.accelerator)

    @property
    def keeps_parts(self) -> bool:
        """Whether checkpoints are in parts, so that no single process can load one before it is set up."""
        return keeps_parts(self.accelerator)

    @cached_property
    def captioned(self) -> frozenset[int]:
        """The validation clips that are captioned, the same at each validation and on every rank."""
        dataset, validation = self.eval_dataset, self.settings.validation
        assert isinstance(dataset, CaptionDataset)
        return frozenset(
            draw_clips(dataset.clips, dataset.durations, validation.max_clips, seed=validation.seed)
        )

    @cached_property
    def updates_per_epoch(self) -> int:
        """Updates in a pass over the training clips."""
        return math.ceil(len(self.get_train_dataloader()) / self.args.gradient_accumulation_steps)

    def save_captioner(self, folder: Path, scores: dict[str, float] | None = None) -> None:
        """Put the model, and scores of it, in the place of a folder; to be called by all ranks."""
        check_weights(self.captioner.parameters(), self.args.device, self.args.world_size)
        state = self.accelerator.get_state_dict(self.model_wrapped) if self.is_sharded else None

        def save(new: Path) -> None:
            card = training_card(
                self.settings, self.captioner.config, self.datasets, self.state.global_step, scores
            )
            self.captioner.save_pretrained(new, state_dict=state, card=card)
            if scores is not None:
                write_json(new / VALIDATION, scores)

        if self.is_world_process_zero():
            replace_folder(folder, save)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as Trainer does; a line with a loss is the mean of those since the last such line."""
        if "loss" in logs:
            self.unlogged = Unlogged(0.0, self.state.global_step)
        super().log(logs, *args, **kwargs)

    def take_over(self, kept: dict[str, Any] | None) -> None:
        """Go on with the losses that were not logged, and the clips that were found bad, before a kill."""
        if kept is None:  # a checkpoint of an earlier version
            return
        self.unlogged = Unlogged(0.0, kept["logged"])
        self._carried, self._globalstep_last_logged = kept["loss"], kept["logged"]
        for dataset, found in zip(self.datasets, kept["clips"], strict=True):
            bad = {int(number): reason for number, reason in found["bad"].items()}
            dataset.take_over(News(bad, set(found["cropped"])))

    def _share(self, count: int) -> range:
        return range(self.args.process_index, count, self.args.world_size)

    def _keep_best(self, scores: dict[str, float]) -> None:
        scores = scores | {"step": self.state.global_step}
        better = [self._is_best(scores)]
        if broadcast_object_list(better)[0]:  # one rank decides for all
            self.save_captioner(self.best_folder, scores)
        self.judged = self.state.global_step

    def _is_best(self, scores: dict[str, float]) -> bool:
        record = self.best_folder / VALIDATION
        if not record.is_file():
            return True
        best, metric = read_object(record), self.settings.validation.metric
        # Of an update that was taken after the checkpoint from which this run resumes, and is taken again.
        if best["step"] > self.judged:
            return True
        if best["step"] == scores["step"]:
            return best != scores
        return rank(scores, metric) > rank(best, metric)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        check_weights(self.captioner.parameters(), self.args.device, self.args.world_size)
        saved: Any = self.state.stateful_callbacks
        saved[KEY] = self.kept()
        if self.keeps_parts and self.args.should_save:
            # Where weights are written in parts, `_save` is not called.
            card = training_card(self.settings, self.captioner.config, self.datasets, self.state.global_step)
            write_plan(
                self.captioner, card, Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            )
        super()._save_checkpoint(model, trial)

    def kept(self) -> dict[str, Any]:
        """Return what `take_over` goes on with; to be called by all ranks."""
        sum_of_losses = torch.tensor(float(self.unlogged.loss), device=self.args.device)
        return {
            "loss": self.accelerator.gather(sum_of_losses).mean().item(),
            "logged": self.unlogged.since,
            "clips": [
                {"bad": found.bad, "cropped": sorted(found.cropped)}
                for found in map(self.found_out, self.datasets)
            ],
        }

    def found_out(self, dataset: CaptionDataset) -> News:
        """Return what all ranks found out about clips; to be called by all of them."""
        found = dataset.found_out()
        for other in gather_object([found]) if self.args.world_size > 1 else ():
            found = News(found.bad | other.bad, found.cropped | other.cropped)
        return found

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Only what was trained; Trainer would write the decoder, too. Transformers 5 calls every rank.
        folder = Path(output_dir or str(self.args.output_dir))
        if self.args.should_save:
            self.captioner.save_pretrained(folder, state_dict=state_dict)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            separate_steps(self.model_wrapped)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        # Whole weights `train` has loaded before they were shared out among ranks.
        if self.keeps_parts:
            super()._load_from_checkpoint(resume_from_checkpoint, model)


def rank(scores: Mapping[str, float], metric: str) -> tuple[float, float]:
    """Return what orders models, the better one last: the metric, and where it ties the lower loss.

    >>> rank({"cider_d": 0.0, "loss": 2.0}, "cider_d") > rank({"cider_d": 0.0, "loss": 3.0}, "cider_d")
    True
    """
    return (-scores["loss"] if metric == "loss" else scores[metric]), -scores["loss"]


def make_spec_augment(config: AugmentConfig) -> SpecAugment | None:
    """Make the masks on the sound; None: there are none."""
    if not config.time_masks and not config.freq_masks:
        return None
    return SpecAugment(
        time_masks=config.time_masks,
        time_width=config.time_mask_frames,
        freq_masks=config.freq_masks,
        freq_width=config.freq_mask_bins,
    )
